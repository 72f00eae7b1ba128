#include "src/text/sentencepiece.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/digest.h"
#include "src/base/memory.h"

/* A model is a message of Protocol Buffers whose first field has number 1 and a length: the first piece. */
static bool recognise(const uint8_t *file, size_t bytes) { return bytes > 2 && file[0] == 0x0A && file[1] < 0x80; }

#ifdef HAVE_SENTENCEPIECE

#include "src/text/sentencepiece_calls.h"

bool sentencepiece_is_built_in(void) { return true; }

typedef struct Rules {
    SentencePieceModel *model;
    Pieces pieces;
    uint64_t digest;
} Rules;

static void destroy(void *opaque)
{
    Rules *rules = opaque;
    if (rules->model) sentencepiece_close(rules->model);
    pieces_free(&rules->pieces);
    free(rules);
}

/* U+2581 becomes a space; `text` has room for `length`. */
static size_t with_spaces(const char *piece, size_t length, char *text)
{
    static const char mark[] = "\xe2\x96\x81";
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        bool space = length - i >= 3 && memcmp(piece + i, mark, 3) == 0;
        text[used++] = space ? ' ' : piece[i];
        i += space ? 3 : 1;
    }
    return used;
}

static bool gather_pieces(Rules *rules)
{
    int count = sentencepiece_count(rules->model), id = 0;
    if (count < 0) return false;
    size_t capacity = 0, room = 0, length;
    char *text = NULL;
    rules->pieces.ends = checked_calloc((size_t)count + 1, sizeof *rules->pieces.ends);
    for (; id < count; id++) {
        int plain, byte;
        const char *piece = sentencepiece_piece(rules->model, id, &length, &plain, &byte);
        if (!piece) break;
        text = checked_room(text, length + 1, &room, 1);
        if (byte) { /* <0xNN> */
            text[0] = (char)strtol(piece + 1, NULL, 16);
            length = 1;
        } else if (plain)
            length = with_spaces(piece, length, text);
        else
            memcpy(text, piece, length);
        pieces_append(&rules->pieces, text, length, &capacity);
    }
    free(text);
    return id == count;
}

static void *read(const uint8_t *file, size_t bytes, Message *remark, Message *problem)
{
    char cause[SENTENCEPIECE_CAUSE];
    (void)remark;
    Rules *rules = checked_calloc(1, sizeof *rules);
    rules->model = sentencepiece_open(file, bytes, cause);
    if (!rules->model || !gather_pieces(rules)) {
        fail(problem, "SentencePiece says '%.250s'. Copy the file again", rules->model ? "no such piece" : cause);
        destroy(rules);
        return NULL;
    }
    rules->digest = digest_bytes(file, bytes);
    return rules;
}

static const Pieces *pieces(const void *rules) { return &((const Rules *)rules)->pieces; }

static uint64_t digest(const void *rules) { return ((const Rules *)rules)->digest; }

/* A worker has nothing of its own: it is the rules. */
static void *worker_create(const void *rules) { return (void *)rules; }

static void worker_destroy(void *worker) { (void)worker; }

static bool encode(void *worker, const char *text, size_t length, TokenList *tokens, Message *problem)
{
    char cause[SENTENCEPIECE_CAUSE];
    const Rules *rules = worker;
    size_t count = 0;
    int32_t *ids = sentencepiece_encode(rules->model, text, length, &count, cause);
    if (!ids) return fail(problem, "SentencePiece says '%.250s'. Divide the text", cause);
    token_list_append(tokens, ids, count);
    free(ids);
    return true;
}

const CutterKind cutter_sentencepiece = {
    .file_name = "tokenizer.model",
    .title = "SentencePiece",
    .recognise = recognise,
    .read = read,
    .destroy = destroy,
    .pieces = pieces,
    .digest = digest,
    .worker_create = worker_create,
    .encode = encode,
    .worker_destroy = worker_destroy,
};

#else

bool sentencepiece_is_built_in(void) { return false; }

static void *read(const uint8_t *file, size_t bytes, Message *remark, Message *problem)
{
    (void)file, (void)bytes, (void)remark;
    fail(problem,
         "it is a model of SentencePiece, and this program was built without that library. Install it (Debian: "
         "libsentencepiece-dev, g++) and build again");
    return NULL;
}

/* The rest works on rules, and there are none. */
const CutterKind cutter_sentencepiece = {
    .file_name = "tokenizer.model", .title = "SentencePiece", .recognise = recognise, .read = read};

#endif
