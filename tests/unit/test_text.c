/* Tokenizers of other programs: byte-level BPE beside the tokens of Hugging Face's package and beside merges done the slow way;
   what is refused; models of SentencePiece made here byte by byte; tokenizers kept in files. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/tokenizer.h"
#include "io/token_file.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/text/bpe.h"
#include "src/text/onig_pattern.h"
#include "src/text/sentencepiece.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

static const char kept_path[] = "tests/data/tokenizer.json", texts_path[] = "tests/data/tokenizer_texts.jsonl";

static Tokenizer read_kept(void)
{
    Tokenizer tokenizer;
    Message remark, problem = {""};
    check_true(tokenizer_read(kept_path, &tokenizer, &remark, &problem), "%s", problem.text);
    check_true(!remark.text[0], "nothing to say: %s", remark.text);
    return tokenizer;
}

/* ---- beside Hugging Face's tokenizers ---- */

static void check_line(Tokenizer *tokenizer, const json_t *line)
{
    const json_t *text = json_object_get(line, "text"), *ids = json_object_get(line, "ids");
    const char *bytes = json_string_value(text);
    TokenList got = {0};
    Message problem = {""};
    check_true(tokenizer_encode(tokenizer, bytes, json_string_length(text), &got, &problem), "%s", problem.text);
    size_t same = 0;
    while (same < got.count && same < json_array_size(ids) &&
           got.ids[same] == json_integer_value(json_array_get(ids, same)))
        same++;
    check_true(same == got.count && same == json_array_size(ids), "'%.40s': token %zu of %zu, the package has %zu",
               bytes, same, got.count, json_array_size(ids));
    free(got.ids);
}

static void test_kept_tokens(void)
{
    Tokenizer tokenizer = read_kept();
    FILE *file = fopen(texts_path, "r");
    int lines = 0;
    check_true(file != NULL, "%s", texts_path);
    for (json_t *line; file && (line = json_loadf(file, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)); lines++) {
        check_line(&tokenizer, line);
        json_decref(line);
    }
    check_true(lines == 9, "%d texts", lines);
    if (file) fclose(file);
    int found;
    check_true(strcmp(tokenizer.name, "data") == 0, "named '%s', as its folder", tokenizer.name);
    check_true(tokenizer.vocab_size == 404 && tokenizer_find_end(&tokenizer, &found) == 0, "sizes");
    tokenizer_destroy(&tokenizer);
}

/* Bytes that are no UTF-8 stay, and texts around them are cut as if alone. */
static void test_any_bytes(void)
{
    static const char *const parts[] = {"the alpha", "\xff", " <|endoftext|>don't", "\xc3", "\x80\xed\xa0\x80", "beta"};
    enum { PARTS = sizeof parts / sizeof *parts };
    Tokenizer tokenizer = read_kept();
    char whole[128] = "", back[128] = "";
    TokenList all = {0}, one = {0}, joined = {0};
    Message problem = {""};
    for (int i = 0; i < PARTS; i++) {
        strcat(whole, parts[i]);
        bool broken = parts[i][0] & 0x80;
        for (const char *place = parts[i]; *place; place += broken ? 1 : strlen(place)) {
            check_true(tokenizer_encode(&tokenizer, place, broken ? 1 : strlen(place), &one, &problem), "%s",
                       problem.text);
            token_list_append(&joined, one.ids, one.count);
        }
    }
    check_true(tokenizer_encode(&tokenizer, whole, strlen(whole), &all, &problem), "%s", problem.text);
    check_true(all.count == joined.count && memcmp(all.ids, joined.ids, all.count * sizeof *all.ids) == 0,
               "%zu tokens, of the parts %zu", all.count, joined.count);
    for (size_t i = 0; i < all.count; i++) {
        size_t length;
        const uint8_t *piece = tokenizer_piece(&tokenizer, all.ids[i], &length);
        strncat(back, (const char *)piece, length);
    }
    check_true(strcmp(whole, back) == 0, "what was cut is whole again");
    free(all.ids), free(one.ids), free(joined.ids);
    tokenizer_destroy(&tokenizer);
}

/* ---- merges ---- */

enum { LETTERS = 3, MERGES = 60, LONGEST = 40 };

static int rank_of(const BpeMerge *merges, int32_t left, int32_t right)
{
    int rank = MERGES;
    while (rank-- > 0)
        if (merges[rank].left == left && merges[rank].right == right) break;
    return rank;
}

/* The definition: look through the whole word for the pair of the lowest rank, merge it, and again. */
static size_t merge_slowly(const BpeMerge *merges, int32_t *ids, size_t count)
{
    for (;;) {
        int best = MERGES;
        size_t place = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            int rank = rank_of(merges, ids[i], ids[i + 1]);
            if (rank >= 0 && rank < best) best = rank, place = i;
        }
        if (best == MERGES) return count;
        ids[place] = merges[best].merged;
        memmove(ids + place + 1, ids + place + 2, (count - place - 2) * sizeof *ids);
        count--;
    }
}

static void test_merges(void)
{
    BpeMerge merges[MERGES];
    BpeSettings settings = {.unknown = -1};
    RngStream stream = rng_stream(1, "test", 0);
    uint64_t draws = 0;
    for (int i = 0; i < 256; i++) settings.byte_ids[i] = i < LETTERS ? i : -1;
    for (int i = 0; i < MERGES; i++) /* each pair once: words whose parts can become one in several ways */
        do {
            int known = LETTERS + i;
            merges[i] = (BpeMerge){(int32_t)(rng_uniform(stream, draws) * known),
                                   (int32_t)(rng_uniform(stream, draws + 1) * known), LETTERS + i};
            draws += 2;
        } while (rank_of(merges, merges[i].left, merges[i].right) != i);
    Bpe *bpe = bpe_create(&settings, merges, MERGES, NULL);
    BpeWorker *worker = bpe_worker_create(bpe);
    TokenList got = {0};
    Message problem = {""};
    for (int word = 0; word < 2000; word++) {
        uint8_t bytes[LONGEST];
        int32_t ids[LONGEST];
        size_t length = 1 + (size_t)(rng_uniform(stream, draws++) * (word % 2 ? 6 : LONGEST));
        for (size_t i = 0; i < length; i++) ids[i] = bytes[i] = (uint8_t)(rng_uniform(stream, draws++) * LETTERS);
        size_t count = merge_slowly(merges, ids, length);
        got.count = 0;
        check_true(bpe_encode(worker, bytes, length, &got, &problem), "%s", problem.text);
        check_true(got.count == count && memcmp(got.ids, ids, count * sizeof *ids) == 0, "word %d of %zu bytes", word,
                   length);
    }
    check_true(!bpe_encode(worker, (const uint8_t *)"\x07", 1, &got, &problem) && strstr(problem.text, "0x07"), "%s",
               problem.text);
    free(got.ids);
    bpe_worker_destroy(worker);
    bpe_destroy(bpe);
}

/* ---- what is refused ---- */

/* The kept tokenizer with `json` in the place of what it has at `path`, names between dots. NULL: nothing there. */
static void write_edited(const char *path, const char *json)
{
    json_t *whole = json_load_file(kept_path, 0, NULL), *place = whole;
    char names[128], *rest = NULL, *name = strtok_r(strcpy(names, path), ".", &rest);
    for (char *next; (next = strtok_r(NULL, ".", &rest)); name = next)
        place = json_is_array(place) ? json_array_get(place, (size_t)atoi(name)) : json_object_get(place, name);
    json_t *value = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;
    if (json_is_array(place))
        json_array_set_new(place, (size_t)atoi(name), value);
    else if (value)
        json_object_set_new(place, name, value);
    else
        json_object_del(place, name);
    char *text = json_dumps(whole, 0);
    scratch_write("edited.json", text, strlen(text));
    free(text);
    json_decref(whole);
}

static const struct {
    const char *path, *json, *words;
} refused[] = {
    {"normalizer", "{\"type\":\"Lowercase\"}", "normalizer Lowercase"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Prepend\"}]}", "Prepend"},
    {"pre_tokenizer", "null", "pre_tokenizer none"},
    {"pre_tokenizer", "{\"type\":\"Metaspace\"}", "pre_tokenizer Metaspace"},
    {"pre_tokenizer", "{\"type\":\"Digits\"}", "no ByteLevel"},
    {"pre_tokenizer.pretokenizers.0", "{\"type\":\"ByteLevel\"}", "ByteLevel behind ByteLevel"},
    {"pre_tokenizer.pretokenizers.0.behavior", "\"MergedWithNext\"", "MergedWithNext"},
    {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"[a[bc]]\"", "[b in its regular expressions"},
    {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"a(b\"", "closing parenthesis"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{}", "no pattern"},
    {"model.type", "\"WordPiece\"", "model WordPiece"},
    {"model.dropout", "0.1", "\"dropout\""},
    {"model.continuing_subword_prefix", "\"##\"", "\"continuing_subword_prefix\""},
    {"model.end_of_word_suffix", "\"</w>\"", "\"end_of_word_suffix\""},
    {"model.vocab", NULL, "no \"vocab\""},
    {"model.vocab.!", "-1", "'!' has no number"},
    {"model.vocab.!", "2", "the number 2 both"},
    {"model.merges", NULL, "no \"merges\""},
    {"model.merges.0", "\"qqq z\"", "'qqq', which is no token"},
    {"model.merges.0", "\"qqq\"", "no pair"},
    {"model.merges.0", "[\"t\"]", "no pair"},
    {"model", NULL, "no \"model\""},
    {"added_tokens.0.single_word", "true", "single_word"},
    {"added_tokens.0.id", "7", "two numbers"},
    {"added_tokens.0.content", NULL, "without \"content\""},
};

static void refuse(const char *name, const char *words)
{
    Tokenizer tokenizer;
    Message remark, problem = {""};
    check_true(!tokenizer_read(scratch_path(name), &tokenizer, &remark, &problem) && strstr(problem.text, words),
               "'%s' must say: %s", problem.text, words);
    tokenizer_destroy(&tokenizer);
}

static void test_refused(void)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        write_edited(refused[i].path, refused[i].json);
        refuse("edited.json", refused[i].words);
    }
    scratch_write("cut.json", "{\"model\": {", 11);
    refuse("cut.json", "no JSON, at line 1");
    scratch_write("table.txt", "the\nof\n", 7);
    refuse("table.txt", "goes with --pieces");
    refuse("missing.json", "No such file");
}

/* A byte without a token: the unknown token, or a refusal; with byte_fallback a refusal at once. */
static void test_missing_byte(void)
{
    Tokenizer tokenizer;
    TokenList tokens = {0};
    Message remark, problem = {""};
    write_edited("model.vocab.!", NULL);
    check_true(tokenizer_read(scratch_path("edited.json"), &tokenizer, &remark, &problem), "%s", problem.text);
    check_true(!tokenizer_encode(&tokenizer, "a!", 2, &tokens, &problem) && strstr(problem.text, "byte 0x21"), "%s",
               problem.text);
    tokenizer_destroy(&tokenizer);
    write_edited("model", "{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":10},\"merges\":[]}");
    refuse("edited.json", "\"byte_fallback\", but 255 bytes");
    write_edited(
        "model",
        "{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,\"vocab\":{\"a\":10,\"?\":11},\"merges\":[]}");
    check_true(tokenizer_read(scratch_path("edited.json"), &tokenizer, &remark, &problem), "%s", problem.text);
    check_true(tokenizer_encode(&tokenizer, "xyaz", 4, &tokens, &problem), "%s", problem.text);
    check_true(tokens.count == 3 && tokens.ids[0] == 11 && tokens.ids[1] == 10 && tokens.ids[2] == 11, "%zu tokens",
               tokens.count);
    free(tokens.ids);
    tokenizer_destroy(&tokenizer);
}

static const struct {
    const char *pattern, *translated; /* NULL: refused */
} patterns[] = {
    {"\\s+(?!\\S)|[^\\s\\p{L}]", "\\p{White_Space}+(?!\\P{White_Space})|[^\\p{White_Space}\\p{L}]"},
    {"(?i:'s)|\\p{N}{1,3}|\\pL?+", "(?i:'s)|\\p{N}{1,3}|\\pL?+"},
    {"\\p{Han}\\P{^Lu}\\u00e9\\x{3000}+", "\\p{sc:Han}\\P{^Lu}\\x{00e9}\\x{3000}+"},
    {"[\\]\\[]\\(\\[a", "[\\]\\[]\\(\\[a"},
    {"[a[b]]", NULL},
    {"[a&&b]", NULL},
    {"\\w", NULL},
    {"[\\h]", NULL},
    {"a{,3}", NULL},
    {"a{1,3}+", NULL},
    {"(?m:a)", NULL},
    {"\\x41", NULL},
    {"[]a]", NULL},
    {"\\", NULL},
};

static void test_patterns(void)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        Message problem = {""};
        char *got = onig_pattern_translate(patterns[i].pattern, &problem);
        bool right = patterns[i].translated ? got && strcmp(got, patterns[i].translated) == 0
                                            : !got && strstr(problem.text, "is not known here");
        check_true(right, "%s: %s%s", patterns[i].pattern, got ? got : "", problem.text);
        free(got);
    }
}

/* ---- which are the same ---- */

static void test_same(void)
{
    static const struct {
        const char *path, *json;
        bool same; /* are tokens of all texts the same? */
    } edits[] = {
        {"decoder", "null", true},
        {"post_processor", "{\"type\":\"TemplateProcessing\"}", true},
        {"normalizer", "null", false},
        {"added_tokens.1.lstrip", "false", false},
        {"model.ignore_merges", "true", false},
        {"model.merges.0", "[\"h\", \"e\"]", false},
    };
    Tokenizer kept = read_kept(), other, table = kept;
    Message remark, problem = {""};
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        write_edited(edits[i].path, edits[i].json);
        check_true(tokenizer_read(scratch_path("edited.json"), &other, &remark, &problem), "%s", problem.text);
        check_true(tokenizer_same(&kept, &other) == edits[i].same && tokenizer_same(&other, &other), "%s",
                   edits[i].path);
        check_true((remark.text[0] != 0) == (i == 1), "remark: %s", remark.text);
        tokenizer_destroy(&other);
    }
    table.file.kind = NULL; /* the pieces alone, under another name */
    strcpy(table.name, "table");
    check_true(tokenizer_same(&kept, &table) && tokenizer_same(&table, &kept), "pieces and file");
    tokenizer_destroy(&kept);
}

/* ---- kept in token files ---- */

static void test_in_token_file(void)
{
    Tokenizer kept = read_kept();
    Message problem = {""};
    TokenWriter *writer = token_file_create(scratch_path("kept.h5"), &kept, 3, &problem);
    check_true(writer && token_file_append(writer, (int32_t[]){1, 403, 2}, 3, &problem) &&
                   token_file_finish(&writer, 1, NULL, &problem),
               "%s", problem.text);
    TokenFile *file = token_file_open(scratch_path("kept.h5"), &problem);
    check_true(file != NULL, "%s", problem.text);
    if (file) {
        const TokenizerFile *back = &file->tokenizer.file;
        check_true(back->kind == kept.file.kind && back->count == kept.file.count &&
                       memcmp(back->bytes, kept.file.bytes, back->count) == 0,
                   "the file comes back");
        check_true(tokenizer_same(&kept, &file->tokenizer), "as the same tokenizer");
        token_file_close(file);
    }
    tokenizer_destroy(&kept);
}

/* ---- SentencePiece ---- */

typedef struct Proto {
    char bytes[512];
    size_t length;
} Proto;

static void put_field(Proto *proto, int field, const void *bytes, size_t length)
{
    proto->bytes[proto->length++] = (char)(field << 3 | 2);
    proto->bytes[proto->length++] = (char)length;
    memcpy(proto->bytes + proto->length, bytes, length);
    proto->length += length;
}

static void put_number(Proto *proto, int field, int value)
{
    proto->bytes[proto->length++] = (char)(field << 3);
    proto->bytes[proto->length++] = (char)value;
}

/* ModelProto.SentencePiece: piece, score, type (1 normal, 2 unknown, 3 control, 6 byte). */
static void put_piece(Proto *model, const char *text, float score, int type)
{
    Proto piece = {.length = 0};
    put_field(&piece, 1, text, strlen(text));
    piece.bytes[piece.length++] = 2 << 3 | 5;
    memcpy(piece.bytes + piece.length, &score, sizeof score);
    piece.length += sizeof score;
    put_number(&piece, 3, type);
    put_field(model, 1, piece.bytes, piece.length);
}

#define SPACE "\xe2\x96\x81"

/* A unigram model of few pieces, without normalisation. */
static Proto unigram_model(void)
{
    Proto model = {.length = 0}, trainer = {.length = 0}, normalizer = {.length = 0};
    put_piece(&model, "<unk>", 0, 2);
    put_piece(&model, "<s>", 0, 3);
    put_piece(&model, "</s>", 0, 3);
    put_piece(&model, SPACE "a", -1, 1);
    put_piece(&model, "ab", -1.5f, 1);
    put_piece(&model, "a", -2, 1);
    put_piece(&model, "b", -2, 1);
    put_piece(&model, SPACE, -3, 1);
    put_number(&trainer, 3, 1);
    put_field(&normalizer, 1, "identity", 8);
    put_field(&model, 2, trainer.bytes, trainer.length);
    put_field(&model, 3, normalizer.bytes, normalizer.length);
    return model;
}

static void check_unigram(Tokenizer *tokenizer)
{
    TokenList tokens = {0};
    Message problem = {""};
    size_t length;
    int found;
    /* "_aba": _a b a costs 5, _ ab a 6.5; "?" is unknown */
    static const int32_t expected[] = {3, 6, 5, 7, 0};
    check_true(tokenizer_encode(tokenizer, "aba ?", 5, &tokens, &problem), "%s", problem.text);
    check_true(tokens.count == 5 && memcmp(tokens.ids, expected, sizeof expected) == 0, "%zu tokens", tokens.count);
    check_true(tokenizer_encode(tokenizer, "", 0, &tokens, &problem) && tokens.count == 0, "no text, no token");
    check_true(tokenizer->vocab_size == 8 && memcmp(tokenizer_piece(tokenizer, 3, &length), " a", 2) == 0 &&
                   length == 2,
               "pieces have spaces");
    check_true(tokenizer_find_end(tokenizer, &found) == 2, "</s> ends documents");
    free(tokens.ids);
}

static void test_sentencepiece(void)
{
    Proto model = unigram_model();
    Tokenizer tokenizer;
    Message remark, problem = {""};
    scratch_write("m.model", model.bytes, model.length);
    bool good = tokenizer_read(scratch_path("m.model"), &tokenizer, &remark, &problem);
    if (sentencepiece_is_built_in()) {
        check_true(good, "%s", problem.text);
        if (good) check_unigram(&tokenizer);
        scratch_write("cut.model", model.bytes, 100);
        refuse("cut.model", "SentencePiece says");
    } else
        check_true(!good && strstr(problem.text, "libsentencepiece-dev"), "%s", problem.text);
    tokenizer_destroy(&tokenizer);
}

static const TestCase tests[] = {{"tokens of the package", test_kept_tokens},
                                 {"bytes that are no UTF-8", test_any_bytes},
                                 {"merges", test_merges},
                                 {"refused", test_refused},
                                 {"a byte without a token", test_missing_byte},
                                 {"patterns", test_patterns},
                                 {"which are the same", test_same},
                                 {"kept in a token file", test_in_token_file},
                                 {"SentencePiece", test_sentencepiece}};
static const Suite suites[] = {{"text", tests, sizeof tests / sizeof *tests}};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_text", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
