#include "src/text/byte_bpe.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/digest.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"
#include "src/text/byte_bpe_parts.h"
#include "src/text/normal_form.h"

/* ---- reading ---- */

static bool recognise(const uint8_t *file, size_t bytes)
{
    size_t place = 0;
    while (place < bytes && memchr(" \t\r\n", file[place], 4)) place++;
    return place < bytes && file[place] == '{';
}

const char *byte_bpe_type(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type ? type : "none";
}

void byte_bpe_mix(ByteBpe *rules, const void *bytes, size_t count)
{
    uint64_t chain[2] = {rules->digest, digest_bytes(bytes, count)};
    rules->digest = digest_bytes(chain, sizeof chain);
}

static void destroy(void *rules)
{
    ByteBpe *bpe = rules;
    pieces_free(&bpe->pieces);
    pieces_free(&bpe->words);
    added_tokens_free(&bpe->before);
    added_tokens_free(&bpe->behind);
    for (int i = 0; i < bpe->stage_count; i++) pattern_destroy(bpe->stages[i].pattern);
    bpe_destroy(bpe->bpe);
    free(bpe);
}

static bool read_parts(ByteBpe *rules, const json_t *json, Message *remark, Message *problem)
{
    const json_t *model = json_object_get(json, "model");
    const char *after = byte_bpe_type(json_object_get(json, "post_processor"));
    if (!json_is_object(model))
        return fail(problem, "it has no \"model\": a tokenizer.json of Hugging Face's tokenizers is wanted, as "
                             "save_pretrained() writes it");
    if (strcmp(after, "none") != 0 && strcmp(after, "ByteLevel") != 0)
        fail(remark,
             "its post_processor %.60s, which puts tokens around texts, is left out: tokens are those without special "
             "ones",
             after);
    return byte_bpe_read_normalizer(rules, json_object_get(json, "normalizer"), problem) &&
           byte_bpe_read_stages(rules, json_object_get(json, "pre_tokenizer"), problem) &&
           byte_bpe_read_model(rules, model, json_object_get(json, "added_tokens"), problem);
}

static void *read(const uint8_t *file, size_t bytes, Message *remark, Message *problem)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)file, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json) {
        fail(problem, "it is no JSON, at line %d: %.200s. Copy it again", error.line, error.text);
        return NULL;
    }
    ByteBpe *rules = checked_calloc(1, sizeof *rules);
    bool good = read_parts(rules, json, remark, problem);
    json_decref(json);
    if (good) return rules;
    destroy(rules);
    return NULL;
}

static const Pieces *pieces(const void *rules) { return &((const ByteBpe *)rules)->pieces; }

static uint64_t digest(const void *rules) { return ((const ByteBpe *)rules)->digest; }

/* ---- normalisation ---- */

static bool is_ascii(const uint8_t *text, size_t length)
{
    uint8_t all = 0;
    for (size_t i = 0; i < length; i++) all |= text[i];
    return all < 0x80;
}

uint8_t *byte_bpe_normalise(const ByteBpe *rules, const uint8_t *text, size_t length, size_t *normal_length)
{
    uint8_t *normal = NULL;
    *normal_length = length;
    if (is_ascii(text, length)) return NULL;
    for (int i = 0; i < rules->normal_form_count; i++) {
        uint8_t *next = normal_form(normal ? normal : text, *normal_length, rules->normal_forms[i], normal_length);
        free(normal);
        normal = next;
    }
    return normal;
}

/* ---- cutting ---- */

typedef struct Worker {
    const ByteBpe *rules;
    BpeWorker *bpe;
    PatternScratch *scratch;
    bool goes_on; /* what comes is no beginning, and gets no space */
    TokenList *tokens;
    Message *problem;
} Worker;

static bool cut(Worker *worker, int number, const uint8_t *text, size_t length);

static bool cut_with_space(Worker *worker, int number, const uint8_t *text, size_t length)
{
    bool has_space = text[0] == ' ' || worker->goes_on;
    worker->goes_on = false;
    if (has_space) return cut(worker, number + 1, text, length);
    uint8_t *spaced = checked_calloc(length + 1, 1);
    spaced[0] = ' ';
    memcpy(spaced + 1, text, length);
    bool good = cut(worker, number + 1, spaced, length + 1);
    free(spaced);
    return good;
}

static bool cut_by_pattern(Worker *worker, int number, const uint8_t *text, size_t length)
{
    const CutStage *stage = &worker->rules->stages[number];
    for (size_t done = 0, from = 0, start, end; done < length;) {
        if (!pattern_find(stage->pattern, worker->scratch, (const char *)text, length, from, &start, &end,
                          worker->problem))
            return false;
        bool found = start < length;
        if (!found) start = end = length;
        if (stage->keep_gaps && start > done && !cut(worker, number + 1, text + done, start - done)) return false;
        if (stage->keep_matches && end > start && !cut(worker, number + 1, text + start, end - start)) return false;
        done = from = end;
        if (found && end == start) from += utf8_length(text + end, length - end); /* an empty match only divides */
    }
    return true;
}

/* Stages `number` and those behind it, then merges; `length` > 0. */
static bool cut(Worker *worker, int number, const uint8_t *text, size_t length)
{
    if (number == worker->rules->stage_count)
        return bpe_encode(worker->bpe, text, length, worker->tokens, worker->problem);
    return worker->rules->stages[number].pattern ? cut_by_pattern(worker, number, text, length)
                                                 : cut_with_space(worker, number, text, length);
}

static bool cut_words(Worker *worker, const uint8_t *text, size_t length) { return cut(worker, 0, text, length); }

/* Appends the tokens that stand in the text under their names, and hands on what is between them. */
static bool take_added(Worker *worker, const AddedTokens *added, const uint8_t *text, size_t length,
                       bool (*hand_on)(Worker *worker, const uint8_t *text, size_t length))
{
    for (size_t done = 0, from = 0; from < length;) { /* what a match has stripped may be a token too */
        AddedMatch match = added_tokens_find(added, text, length, from, done);
        if (match.start > done && !hand_on(worker, text + done, match.start - done)) return false;
        if (match.token) token_list_append(worker->tokens, &match.token->id, 1);
        if (match.token) worker->goes_on = false;
        done = match.end;
        from = match.next;
    }
    return true;
}

static bool cut_normalised(Worker *worker, const uint8_t *text, size_t length)
{
    size_t normal_length;
    uint8_t *normal = byte_bpe_normalise(worker->rules, text, length, &normal_length);
    bool good = take_added(worker, &worker->rules->behind, normal ? normal : text, normal_length, cut_words);
    free(normal);
    return good;
}

static bool encode(void *opaque, const char *text, size_t length, TokenList *tokens, Message *problem)
{
    Worker *worker = opaque;
    const uint8_t *bytes = (const uint8_t *)text;
    worker->tokens = tokens;
    worker->problem = problem;
    worker->goes_on = false;
    for (size_t place = 0; place < length;) {
        size_t valid = utf8_first_error(bytes + place, length - place), broken = 0;
        if (valid > 0 && !take_added(worker, &worker->rules->before, bytes + place, valid, cut_normalised))
            return false;
        place += valid;
        while (place + broken < length && utf8_length(bytes + place + broken, length - place - broken) == 0) broken++;
        if (broken > 0 && !bpe_encode(worker->bpe, bytes + place, broken, tokens, problem)) return false;
        place += broken;
        worker->goes_on = true;
    }
    return true;
}

static void *worker_create(const void *rules)
{
    Worker *worker = checked_calloc(1, sizeof *worker);
    worker->rules = rules;
    worker->bpe = bpe_worker_create(worker->rules->bpe);
    worker->scratch = pattern_scratch_create();
    return worker;
}

static void worker_destroy(void *opaque)
{
    Worker *worker = opaque;
    bpe_worker_destroy(worker->bpe);
    pattern_scratch_destroy(worker->scratch);
    free(worker);
}

const CutterKind cutter_byte_bpe = {
    .file_name = "tokenizer.json",
    .title = "byte-level BPE of Hugging Face's tokenizers",
    .recognise = recognise,
    .read = read,
    .destroy = destroy,
    .pieces = pieces,
    .digest = digest,
    .worker_create = worker_create,
    .encode = encode,
    .worker_destroy = worker_destroy,
};
