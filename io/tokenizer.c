#include "io/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "src/base/digest.h"
#include "src/base/memory.h"

static const char bytes_with_end[] = "bytes+end";

Tokenizer tokenizer_bytes(void)
{
    Tokenizer tokenizer = {.name = "bytes", .vocab_size = 256};
    tokenizer.bytes = checked_calloc(256, sizeof *tokenizer.bytes);
    tokenizer.ends = checked_calloc(256, sizeof *tokenizer.ends);
    for (size_t i = 0; i < 256; i++) {
        tokenizer.bytes[i] = (uint8_t)i;
        tokenizer.ends[i] = i + 1;
    }
    return tokenizer;
}

Tokenizer tokenizer_bytes_with_end(void)
{
    Tokenizer tokenizer = tokenizer_bytes();
    strcpy(tokenizer.name, bytes_with_end);
    tokenizer.ends = realloc(tokenizer.ends, 257 * sizeof *tokenizer.ends);
    CHECK(tokenizer.ends, "cannot allocate a vocabulary of 257 tokens");
    tokenizer.ends[tokenizer.vocab_size++] = 256;
    return tokenizer;
}

bool tokenizer_has_pieces(const Tokenizer *tokenizer) { return tokenizer->ends != NULL; }

static Pieces pieces_of(const Tokenizer *tokenizer)
{
    return (Pieces){tokenizer->bytes, tokenizer->ends, tokenizer->vocab_size};
}

const uint8_t *tokenizer_piece(const Tokenizer *tokenizer, int64_t id, size_t *length)
{
    ASSERT(id >= 0 && id < tokenizer->vocab_size);
    *length = 0;
    if (!tokenizer_has_pieces(tokenizer)) return NULL;
    Pieces pieces = pieces_of(tokenizer);
    return pieces_get(&pieces, id, length);
}

const char *const tokenizer_end_names[TOKENIZER_END_NAMES] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"};

static bool names_an_end(const uint8_t *piece, size_t length)
{
    for (int i = 0; i < TOKENIZER_END_NAMES; i++)
        if (length == strlen(tokenizer_end_names[i]) && memcmp(piece, tokenizer_end_names[i], length) == 0) return true;
    return false;
}

int64_t tokenizer_find_end(const Tokenizer *tokenizer, int *found)
{
    int64_t end = -1;
    *found = 0;
    for (int64_t id = 0; id < tokenizer->vocab_size && tokenizer_has_pieces(tokenizer); id++) {
        size_t length;
        const uint8_t *piece = tokenizer_piece(tokenizer, id, &length);
        bool last_of_bytes = id == 256 && !tokenizer->file.kind && strcmp(tokenizer->name, bytes_with_end) == 0;
        if (!last_of_bytes && !names_an_end(piece, length)) continue;
        end = id;
        ++*found;
    }
    return *found == 1 ? end : -1;
}

static Cutter *new_cutter(const Tokenizer *tokenizer, Message *problem)
{
    const TokenizerFile *file = &tokenizer->file;
    return cutter_create(file->kind, file->bytes, file->count, tokenizer->name, NULL, problem);
}

static bool same_file(const Tokenizer *a, const Tokenizer *b)
{
    Message problem;
    if (a->file.kind != b->file.kind) return false;
    if (a->file.count == b->file.count && memcmp(a->file.bytes, b->file.bytes, a->file.count) == 0) return true;
    Cutter *cutter = new_cutter(a, &problem), *other = cutter ? new_cutter(b, &problem) : NULL;
    bool same = other && cutter_same(cutter, other);
    cutter_destroy(cutter);
    cutter_destroy(other);
    return same;
}

bool tokenizer_same(const Tokenizer *a, const Tokenizer *b)
{
    if (a->file.kind && b->file.kind) return same_file(a, b);
    bool pieces = tokenizer_has_pieces(a) && tokenizer_has_pieces(b), files = a->file.kind || b->file.kind;
    if (!(files && pieces) && strcmp(a->name, b->name) != 0) return false;
    if (!pieces) return true;
    size_t count = (size_t)a->vocab_size;
    if (a->vocab_size != b->vocab_size || memcmp(a->ends, b->ends, count * sizeof *a->ends) != 0) return false;
    return count == 0 || memcmp(a->bytes, b->bytes, a->ends[count - 1]) == 0;
}

const char *tokenizer_describe(const Tokenizer *tokenizer, char text[TOKENIZER_TEXT_SIZE])
{
    char digest[DIGEST_TEXT_SIZE];
    int length = snprintf(text, TOKENIZER_TEXT_SIZE, "'%s'", tokenizer->name);
    if (!tokenizer->file.kind) return text;
    digest_format(digest_bytes(tokenizer->file.bytes, tokenizer->file.count), digest);
    snprintf(text + length, TOKENIZER_TEXT_SIZE - (size_t)length, " (%s, xxh3 %s)", tokenizer->file.kind->file_name,
             digest);
    return text;
}

void tokenizer_destroy(Tokenizer *tokenizer)
{
    free(tokenizer->bytes);
    free(tokenizer->ends);
    free(tokenizer->order);
    free(tokenizer->file.bytes);
    cutter_worker_destroy(tokenizer->worker);
    cutter_destroy(tokenizer->cutter);
    *tokenizer = (Tokenizer){0};
}

/* ---- from a file ---- */

/* The name of the file, or that of its folder where all files of this form have that name. */
static void name_after(Tokenizer *tokenizer, const char *path)
{
    char folder[DISK_PATH_SIZE];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    disk_folder_of(path, folder);
    if (strcmp(name, tokenizer->file.kind->file_name) == 0 && slash) {
        const char *last = strrchr(folder, '/');
        const char *above = last ? last + 1 : folder;
        if (*above && strcmp(above, ".") != 0 && strcmp(above, "..") != 0) name = above;
    }
    snprintf(tokenizer->name, sizeof tokenizer->name, "%.*s", (int)sizeof tokenizer->name - 1, name);
}

static void copy_pieces(Tokenizer *tokenizer, const Pieces *pieces)
{
    size_t count = (size_t)pieces->count, bytes = count > 0 ? pieces->ends[count - 1] : 0;
    tokenizer->vocab_size = pieces->count;
    tokenizer->bytes = checked_calloc(bytes + 1, 1);
    tokenizer->ends = checked_calloc(count + 1, sizeof *tokenizer->ends);
    memcpy(tokenizer->bytes, pieces->bytes, bytes);
    memcpy(tokenizer->ends, pieces->ends, count * sizeof *tokenizer->ends);
}

bool tokenizer_read(const char *path, Tokenizer *tokenizer, Message *remark, Message *problem)
{
    const size_t most = (size_t)1 << 30;
    Message cause;
    TokenizerFile *file = &tokenizer->file;
    *tokenizer = (Tokenizer){0};
    file->bytes = (uint8_t *)disk_read_all(path, most, &file->count, &cause);
    if (!file->bytes) return fail(problem, "cannot read the tokenizer '%.400s': %.200s", path, cause.text);
    file->kind = cutter_recognise(file->bytes, file->count);
    if (!file->kind)
        return fail(
            problem,
            "'%.400s' is no tokenizer that is known here: a tokenizer.json of Hugging Face's tokenizers, or the "
            ".model of SentencePiece. A list of pieces goes with --pieces",
            path);
    name_after(tokenizer, path);
    tokenizer->cutter = cutter_create(file->kind, file->bytes, file->count, path, remark, problem);
    if (!tokenizer->cutter) return false;
    copy_pieces(tokenizer, cutter_pieces(tokenizer->cutter));
    return true;
}

/* ---- texts ---- */

const Cutter *tokenizer_cutter(Tokenizer *tokenizer, Message *problem)
{
    if (tokenizer->cutter) return tokenizer->cutter;
    Cutter *cutter = new_cutter(tokenizer, problem);
    if (cutter && cutter_pieces(cutter)->count != tokenizer->vocab_size) {
        fail(problem,
             "the tokenizer '%.60s' has %lld pieces, but the file that is kept of it %lld. Copy the data again",
             tokenizer->name, (long long)tokenizer->vocab_size, (long long)cutter_pieces(cutter)->count);
        cutter_destroy(cutter);
        return NULL;
    }
    return tokenizer->cutter = cutter;
}

static bool encode_with_file(Tokenizer *tokenizer, const char *text, size_t length, TokenList *tokens, Message *problem)
{
    const Cutter *cutter = tokenizer_cutter(tokenizer, problem);
    if (!cutter) return false;
    if (!tokenizer->worker) tokenizer->worker = cutter_worker_create(cutter);
    return cutter_encode(tokenizer->worker, text, length, tokens, problem);
}

bool tokenizer_encode(Tokenizer *tokenizer, const char *text, size_t length, TokenList *tokens, Message *problem)
{
    tokens->count = 0;
    if (tokenizer->file.kind) return encode_with_file(tokenizer, text, length, tokens, problem);
    if (!tokenizer_has_pieces(tokenizer))
        return fail(problem,
                    "tokenizer '%s' has no table of pieces, so text cannot be turned into tokens. Prepare the data "
                    "with --pieces or --tokenizer, or give token numbers",
                    tokenizer->name);
    Pieces pieces = pieces_of(tokenizer);
    if (!tokenizer->order) tokenizer->order = pieces_sort(&pieces);
    const uint8_t *bytes = (const uint8_t *)text;
    size_t start = 0, taken = 0;
    for (; start < length; start += taken) {
        int32_t id = pieces_longest(&pieces, tokenizer->order, bytes + start, length - start, &taken);
        if (id < 0) break;
        token_list_append(tokens, &id, 1);
    }
    return start == length || fail(problem,
                                   "no token of tokenizer '%s' fits the text at byte %zu (value 0x%02x). Leave this "
                                   "character out",
                                   tokenizer->name, start, bytes[start]);
}
