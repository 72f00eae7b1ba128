/* The vocabulary, the merges and the added tokens of tokenizer.json (src/text/byte_bpe.h). */
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/text/byte_alphabet.h"
#include "src/text/byte_bpe_parts.h"

enum { MOST_PIECES = 1 << 24 }; /* as token files have them */

/* A token and what it is called. */
typedef struct Entry {
    const char *name; /* NULL: the number has no token */
    bool added;       /* its name is its text; else it is in the alphabet of bytes */
} Entry;

typedef struct Vocabulary {
    Entry *entries; /* (count) */
    size_t count, capacity;
} Vocabulary;

/* ---- what is refused ---- */

static bool is_set(const json_t *value)
{
    return json_is_string(value)   ? json_string_length(value) > 0
           : json_is_number(value) ? json_number_value(value) != 0
                                   : json_is_true(value);
}

static bool check_kind(const json_t *model, Message *problem)
{
    static const char *const unknown[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = byte_bpe_type(model);
    if (strcmp(type, "BPE") != 0 && (strcmp(type, "none") != 0 || !json_object_get(model, "merges")))
        return fail(problem,
                    "its model %.60s is not known here (BPE is). Give its tokenizer.model if there is one, or token "
                    "numbers of its own program with --ids",
                    type);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (is_set(json_object_get(model, unknown[i])))
            return fail(problem,
                        "\"%s\" of its model is not known here. Prepare token numbers with its own program, and give "
                        "them with --ids",
                        unknown[i]);
    return true;
}

/* ---- the vocabulary ---- */

/* A number that is a token's. */
static bool read_id(const json_t *value, const char *name, int64_t *id, Message *problem)
{
    *id = json_is_integer(value) ? json_integer_value(value) : -1;
    return (*id >= 0 && *id < MOST_PIECES) ||
           fail(problem, "the token '%.60s' has no number in 0 .. 2^24 - 1. Copy the file again", name);
}

static bool add_entry(Vocabulary *vocabulary, const char *name, const json_t *value, bool added, Message *problem)
{
    int64_t id;
    if (!read_id(value, name, &id, problem)) return false;
    size_t needed = (size_t)id + 1, room = vocabulary->capacity;
    vocabulary->entries = checked_room(vocabulary->entries, needed, &vocabulary->capacity, sizeof(Entry));
    if (vocabulary->capacity > room)
        memset(vocabulary->entries + room, 0, (vocabulary->capacity - room) * sizeof(Entry));
    if (vocabulary->count < needed) vocabulary->count = needed;
    Entry *entry = &vocabulary->entries[id];
    if (entry->name && strcmp(entry->name, name) != 0)
        return fail(problem, "the tokens '%.60s' and '%.60s' have the number %lld both. Copy the file again",
                    entry->name, name, (long long)id);
    *entry = (Entry){name, added};
    return true;
}

static bool read_vocabulary(Vocabulary *vocabulary, const json_t *model, Message *problem)
{
    json_t *names = json_object_get(model, "vocab"), *id;
    const char *name;
    if (json_object_size(names) == 0) return fail(problem, "its model has no \"vocab\". Copy the file again");
    json_object_foreach(names, name, id) if (!add_entry(vocabulary, name, id, false, problem)) return false;
    return true;
}

/* Into `pieces`: those of the model, and with `added` those too. A name that has other characters than the alphabet then stands
   for itself, as it does where the package turns tokens into text; no word is called so, which are in the alphabet. */
static void gather_pieces(Pieces *pieces, const Vocabulary *vocabulary, bool added)
{
    size_t capacity = 0, room = 0;
    uint8_t *bytes = NULL;
    pieces->ends = checked_calloc(vocabulary->count, sizeof *pieces->ends);
    for (size_t i = 0; i < vocabulary->count; i++) {
        const Entry *entry = &vocabulary->entries[i];
        size_t length = entry->name && (added || !entry->added) ? strlen(entry->name) : 0, count;
        bytes = checked_room(bytes, length + 1, &room, 1);
        if (!entry->added && length > 0 && byte_alphabet_decode(entry->name, length, bytes, &count))
            pieces_append(pieces, bytes, count, &capacity);
        else
            pieces_append(pieces, entry->name, added ? length : 0, &capacity);
    }
    free(bytes);
}

/* ---- merges ---- */

static bool find_id(const json_t *names, const char *name, int32_t *id, Message *problem)
{
    const json_t *value = json_object_get(names, name);
    if (!value) return fail(problem, "its merges have '%.60s', which is no token. Copy the file again", name);
    *id = (int32_t)json_integer_value(value);
    return true;
}

/* "left right", or ["left", "right"]. */
static bool split_merge(const json_t *merge, const char **left, size_t *left_length, const char **right)
{
    if (json_is_array(merge)) {
        *left = json_string_value(json_array_get(merge, 0));
        *right = json_string_value(json_array_get(merge, 1));
        *left_length = *left ? strlen(*left) : 0;
        return *left && *right && json_array_size(merge) == 2;
    }
    *left = json_string_value(merge);
    const char *blank = *left ? strchr(*left, ' ') : NULL;
    if (!blank) return false;
    *left_length = (size_t)(blank - *left);
    *right = blank + 1;
    return true;
}

/* `text` is memory of the caller, which grows. */
static bool read_merge(const json_t *names, const json_t *json, BpeMerge *merge, char **text, size_t *room,
                       Message *problem)
{
    const char *left, *right;
    size_t left_length;
    if (!split_merge(json, &left, &left_length, &right))
        return fail(problem, "its merges have an element that is no pair of tokens. Copy the file again");
    *text = checked_room(*text, left_length + strlen(right) + 1, room, 1);
    memcpy(*text, left, left_length);
    (*text)[left_length] = 0;
    if (!find_id(names, *text, &merge->left, problem) || !find_id(names, right, &merge->right, problem)) return false;
    strcpy(*text + left_length, right);
    return find_id(names, *text, &merge->merged, problem);
}

static bool read_merges(const json_t *model, BpeMerge **merges, size_t *count, Message *problem)
{
    const json_t *names = json_object_get(model, "vocab"), *list = json_object_get(model, "merges"), *merge;
    char *text = NULL;
    size_t room = 0, i;
    bool good = json_is_array(list) || fail(problem, "its model has no \"merges\". Copy the file again");
    *count = json_array_size(list);
    *merges = checked_calloc(*count + 1, sizeof **merges);
    json_array_foreach(list, i, merge)
    {
        if (!(good = good && read_merge(names, merge, &(*merges)[i], &text, &room, problem))) break;
    }
    free(text);
    return good;
}

/* ---- bytes ---- */

/* The token of each byte, which is that of its character in the alphabet. */
static bool find_bytes(ByteBpe *rules, const json_t *model, const Vocabulary *vocabulary, Message *problem)
{
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));
    const json_t *unknown_id = unknown ? json_object_get(json_object_get(model, "vocab"), unknown) : NULL;
    int missing = 256;
    for (int i = 0; i < 256; i++) rules->settings.byte_ids[i] = -1;
    for (size_t i = 0; i < vocabulary->count; i++) {
        const Entry *entry = &vocabulary->entries[i];
        uint8_t bytes[4];
        size_t length = entry->name ? strlen(entry->name) : 0, count;
        if (length == 0 || length > sizeof bytes) continue;
        if (!byte_alphabet_decode(entry->name, length, bytes, &count) || count != 1) continue;
        if (!json_object_get(json_object_get(model, "vocab"), entry->name)) continue; /* an added token */
        rules->settings.byte_ids[bytes[0]] = (int32_t)i;
        missing--;
    }
    rules->settings.unknown = unknown_id ? (int32_t)json_integer_value(unknown_id) : -1;
    rules->settings.fuse_unknown = is_set(json_object_get(model, "fuse_unk"));
    rules->settings.whole_words = is_set(json_object_get(model, "ignore_merges"));
    return missing == 0 || !is_set(json_object_get(model, "byte_fallback")) ||
           fail(problem,
                "it has \"byte_fallback\", but %d bytes have no token of their own, which is not known here. Train it "
                "with all of pre_tokenizers.ByteLevel.alphabet()",
                missing);
}

/* ---- added tokens ---- */

static bool read_added(ByteBpe *rules, Vocabulary *vocabulary, const json_t *model, const json_t *json,
                       Message *problem)
{
    const char *name = json_string_value(json_object_get(json, "content"));
    const json_t *id = json_object_get(json, "id"), *known;
    if (!name) return fail(problem, "its added_tokens have one without \"content\". Copy the file again");
    known = json_object_get(json_object_get(model, "vocab"), name);
    if (known && !json_equal(known, id))
        return fail(problem, "the token '%.60s' has two numbers. Copy the file again", name);
    if (is_set(json_object_get(json, "single_word")))
        return fail(
            problem,
            "the added token '%.60s' with \"single_word\" is not known here. Prepare token numbers with its own "
            "program, and give them with --ids",
            name);
    if (!add_entry(vocabulary, name, id, true, problem)) return false;
    bool behind = is_set(json_object_get(json, "normalized"));
    AddedToken token = {(int32_t)json_integer_value(id), is_set(json_object_get(json, "lstrip")),
                        is_set(json_object_get(json, "rstrip"))};
    size_t length;
    uint8_t *normal = behind ? byte_bpe_normalise(rules, (const uint8_t *)name, strlen(name), &length) : NULL;
    added_tokens_add(behind ? &rules->behind : &rules->before, normal ? (const char *)normal : name,
                     normal ? length : strlen(name), token);
    free(normal);
    byte_bpe_mix(rules, name, strlen(name));
    byte_bpe_mix(rules, (int32_t[]){token.id, token.strip_left, token.strip_right, behind}, 4 * sizeof(int32_t));
    return true;
}

/* ---- all of it ---- */

static void mix_pieces(ByteBpe *rules)
{
    size_t count = (size_t)rules->pieces.count;
    byte_bpe_mix(rules, rules->pieces.ends, count * sizeof *rules->pieces.ends);
    byte_bpe_mix(rules, rules->pieces.bytes, count > 0 ? rules->pieces.ends[count - 1] : 0);
    byte_bpe_mix(rules, rules->settings.byte_ids, sizeof rules->settings.byte_ids);
    byte_bpe_mix(rules, (int32_t[]){rules->settings.unknown, rules->settings.fuse_unknown, rules->settings.whole_words},
                 3 * sizeof(int32_t));
}

static bool read_all(ByteBpe *rules, Vocabulary *vocabulary, const json_t *model, const json_t *added, Message *problem)
{
    const json_t *token;
    BpeMerge *merges = NULL;
    size_t count = 0, i;
    if (!check_kind(model, problem) || !read_vocabulary(vocabulary, model, problem)) return false;
    json_array_foreach(added, i, token) if (!read_added(rules, vocabulary, model, token, problem)) return false;
    bool good = find_bytes(rules, model, vocabulary, problem) && read_merges(model, &merges, &count, problem);
    if (good) {
        gather_pieces(&rules->pieces, vocabulary, true);
        gather_pieces(&rules->words, vocabulary, false);
        mix_pieces(rules);
        byte_bpe_mix(rules, merges, count * sizeof *merges);
        added_tokens_finish(&rules->before);
        added_tokens_finish(&rules->behind);
        rules->bpe = bpe_create(&rules->settings, merges, count, rules->settings.whole_words ? &rules->words : NULL);
    }
    free(merges);
    return good;
}

bool byte_bpe_read_model(ByteBpe *rules, const json_t *model, const json_t *added, Message *problem)
{
    Vocabulary vocabulary = {0};
    bool good = read_all(rules, &vocabulary, model, added, problem);
    free(vocabulary.entries);
    return good;
}
