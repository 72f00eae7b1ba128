#include "io/tokenizer_json.h"

#include <string.h>

#include "io/json_file.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"

/* ---- writing ---- */

/* UTF-8 of one character for each byte; `text` has room for 2 `length`. */
static json_t *piece_as_text(const uint8_t *piece, size_t length, char *text)
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) used += utf8_encode_short(piece[i], text + used);
    return json_stringn(text, used);
}

void pieces_json_print(FILE *stream, const Tokenizer *tokenizer, int64_t end_of_document)
{
    json_t *table = json_object(), *name = json_string(tokenizer->name), *pieces = json_array();
    char *text = NULL;
    size_t room = 0;
    for (int64_t id = 0; id < tokenizer->vocab_size; id++) {
        size_t length;
        const uint8_t *piece = tokenizer_piece(tokenizer, id, &length);
        text = checked_room(text, 2 * length + 1, &room, 1);
        json_array_append_new(pieces, piece_as_text(piece, length, text));
    }
    free(text);
    json_object_set_new(table, "name", name ? name : json_string("unknown")); /* a name that is no UTF-8 */
    if (end_of_document >= 0) json_object_set_new(table, "end_of_document", json_integer((json_int_t)end_of_document));
    json_object_set_new(table, "pieces", pieces);
    json_file_print(stream, table, JSON_ENSURE_ASCII);
}

/* The class that reads each form ("": the table of pieces), and the file of huggingface/ that has it ("": transformers has). */
static const struct {
    const char *file_name, *class_name, *module;
} classes[] = {
    {"", "PolysketchTokenizer", "tokenization_polysketch"},
    {"tokenizer.json", "PreTrainedTokenizerFast", ""},
    {"tokenizer.model", "PolysketchSentencePiece", "tokenization_polysketch_sentencepiece"},
};

/* transformers 4 has an option in place of what a ByteLevel alone says. */
static void add_prefix_space(json_t *config, const TokenizerFile *file)
{
    json_t *json = json_loadb((const char *)file->bytes, file->count, 0, NULL);
    json_t *space = json_object_get(json_object_get(json, "pre_tokenizer"), "add_prefix_space");
    if (space) json_object_set(config, "add_prefix_space", space);
    json_decref(json);
}

void tokenizer_config_print(FILE *stream, const Tokenizer *tokenizer, int64_t end_of_document)
{
    const TokenizerFile *file = &tokenizer->file;
    json_t *config = json_object();
    int row = 0;
    while (file->kind && strcmp(classes[row].file_name, file->kind->file_name) != 0) row++;
    json_object_set_new(config, "tokenizer_class", json_string(classes[row].class_name));
    if (classes[row].module[0]) {
        char name[80];
        snprintf(name, sizeof name, "%s.%s", classes[row].module, classes[row].class_name);
        json_object_set_new(config, "auto_map", json_pack("{s:[s, n]}", "AutoTokenizer", name));
    } else
        add_prefix_space(config, file);
    json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
    if (file->kind && end_of_document >= 0) {
        size_t length;
        const char *name = (const char *)tokenizer_piece(tokenizer, end_of_document, &length);
        json_object_set_new(config, "eos_token", json_stringn(name, length));
    }
    json_file_print(stream, config, 0);
}

/* ---- reading ---- */

/* Adds the bytes of a piece to those of the tokenizer, which has room for them. */
static bool add_piece(Tokenizer *tokenizer, uint64_t *used, const json_t *piece)
{
    const uint8_t *text = (const uint8_t *)json_string_value(piece);
    size_t length = json_string_length(piece);
    for (size_t i = 0; i < length; i++) {
        uint8_t lead = text[i];
        if (lead > 0xC3) return false; /* beyond U+00FF */
        tokenizer->bytes[(*used)++] = lead < 0x80 ? lead : (uint8_t)(lead << 6 | (text[++i] & 0x3F));
    }
    tokenizer->ends[tokenizer->vocab_size++] = *used;
    return true;
}

static bool read_pieces(const json_t *table, Tokenizer *tokenizer, Message *cause)
{
    const char *name = json_string_value(json_object_get(table, "name"));
    const json_t *pieces = json_object_get(table, "pieces"), *piece;
    uint64_t room = 0, used = 0;
    size_t i;
    if (!name || strlen(name) >= sizeof tokenizer->name || json_array_size(pieces) == 0)
        return fail(cause, "it has no name of at most %zu bytes with a list of pieces", sizeof tokenizer->name - 1);
    strcpy(tokenizer->name, name);
    json_array_foreach(pieces, i, piece) room += json_string_length(piece);
    tokenizer->bytes = checked_calloc(room, 1);
    tokenizer->ends = checked_calloc(json_array_size(pieces), sizeof *tokenizer->ends);
    json_array_foreach(pieces, i, piece)
    {
        if (!json_is_string(piece) || !add_piece(tokenizer, &used, piece))
            return fail(cause, "piece %zu is no string of characters up to U+00FF, one for each byte", i);
    }
    return true;
}

bool pieces_json_read(const char *path, Tokenizer *tokenizer, Message *problem)
{
    Message cause;
    *tokenizer = (Tokenizer){0};
    json_t *table = json_file_read(path, problem);
    if (!table) return false;
    bool good = read_pieces(table, tokenizer, &cause);
    json_decref(table);
    return good || fail(problem, "'%.400s' is no table of pieces: %.300s. Export the model again, or remove the file",
                        path, cause.text);
}
