/* Tokenizers of other programs: byte-level BPE beside the tokens of Hugging Face's package; what is refused; models of
   SentencePiece made here byte by byte; tokenizers kept in files. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/tokenizer.h"
#include "io/token_file.h"
#include "mpi/world.h"
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

/* Tokens of a text by a tokenizer that was edited, written with blanks between them. */
static void check_tokens(const char *text, const char *expected)
{
    Tokenizer tokenizer;
    TokenList tokens = {0};
    Message remark, problem = {""};
    char got[128] = "";
    check_true(tokenizer_read(scratch_path("edited.json"), &tokenizer, &remark, &problem), "%s", problem.text);
    check_true(tokenizer_encode(&tokenizer, text, strlen(text), &tokens, &problem), "%s", problem.text);
    for (size_t i = 0; i < tokens.count && i < 16; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), " %d", (int)tokens.ids[i]);
    check_true(strcmp(got, expected) == 0, "'%s': tokens%s, not%s", text, got, expected);
    free(tokens.ids);
    tokenizer_destroy(&tokenizer);
}

/* White space that a token strips may be a token itself, also at the end; by the package too. */
static void test_stripped(void)
{
    write_edited("added_tokens", "[{\"id\":500,\"content\":\"<a>\",\"rstrip\":true},{\"id\":501,\"content\":\"\\n\"}]");
    check_tokens("<a>\n", " 500 501");
    check_tokens("<a>\n<a>", " 500 501 500");
    check_tokens("<a>  ", " 500");
}

/* Words that are pieces as a whole, without merges; a piece that is no text of the alphabet is no word. */
static void test_whole_words(void)
{
    write_edited("model", "{\"type\":\"BPE\",\"ignore_merges\":true,\"unk_token\":\"?\",\"merges\":[],"
                          "\"vocab\":{\"a\":10,\"b\":11,\"ab\":12,\"?\":13,\"\u65e5\":14}}");
    check_tokens("ab", " 12");
    check_tokens("aba", " 10 11 10");
    check_tokens("\u65e5", " 13 13 13");
}

/* ---- which are the same ---- */

static void test_same(void)
{
    /* the expression of the kept one as a text that is looked for */
    static const char by_text[] =
        "{\"String\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}";
    static const struct {
        const char *path, *json;
        bool same; /* are tokens of all texts the same? */
    } edits[] = {
        {"decoder", "null", true},
        {"post_processor", "{\"type\":\"TemplateProcessing\"}", true},
        {"normalizer", "null", false},
        {"pre_tokenizer.pretokenizers.0.pattern", by_text, false},
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

/* Pieces and file that do not belong together: no token may be greater than the vocabulary. */
static void test_other_pieces(void)
{
    Tokenizer kept = read_kept();
    TokenList tokens = {0};
    Message problem = {""};
    cutter_destroy(kept.cutter);
    kept.cutter = NULL;
    kept.vocab_size--;
    check_true(!tokenizer_encode(&kept, "a", 1, &tokens, &problem) && strstr(problem.text, "403 pieces") &&
                   strstr(problem.text, "404"),
               "%s", problem.text);
    free(tokens.ids);
    tokenizer_destroy(&kept);
}

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
                                 {"refused", test_refused},
                                 {"a byte without a token", test_missing_byte},
                                 {"which are the same", test_same},
                                 {"tokens that are stripped", test_stripped},
                                 {"words that are pieces", test_whole_words},
                                 {"pieces of another file", test_other_pieces},
                                 {"kept in a token file", test_in_token_file},
                                 {"SentencePiece", test_sentencepiece}};
static const Suite suites[] = {SUITE("text", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_text", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
