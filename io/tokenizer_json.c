#include "io/tokenizer_json.h"

#include <string.h>

#include "io/json_file.h"
#include "src/base/memory.h"

/* ---- writing ---- */

/* UTF-8 of one character for each byte; `text` has room for 2 `length`. */
static json_t *piece_as_text(const uint8_t *piece, size_t length, char *text)
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        if (piece[i] >= 0x80) text[used++] = (char)(0xC0 | piece[i] >> 6);
        text[used++] = (char)(piece[i] < 0x80 ? piece[i] : 0x80 | (piece[i] & 0x3F));
    }
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
        while (room < 2 * length + 1) text = checked_grow(text, room, &room, 1);
        json_array_append_new(pieces, piece_as_text(piece, length, text));
    }
    free(text);
    json_object_set_new(table, "name", name ? name : json_string("unknown")); /* a name that is no UTF-8 */
    if (end_of_document >= 0) json_object_set_new(table, "end_of_document", json_integer((json_int_t)end_of_document));
    json_object_set_new(table, "pieces", pieces);
    json_file_print(stream, table, JSON_ENSURE_ASCII);
}

void tokenizer_config_print(FILE *stream)
{
    json_t *config =
        json_pack("{s:s, s:{s:[s, n]}, s:b}", "tokenizer_class", "PolysketchTokenizer", "auto_map", "AutoTokenizer",
                  "tokenization_polysketch.PolysketchTokenizer", "clean_up_tokenization_spaces", false);
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
