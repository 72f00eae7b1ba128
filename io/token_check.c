/* Token files (io/token_file.h) read whole, once, before they are used. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/h5.h"
#include "io/token_file.h"
#include "io/token_verdict.h"
#include "src/base/memory.h"

/* Tokens as they are stored, in place: little-endian numbers of 1, 2 or 4 bytes. */
static void narrow(int32_t *tokens, size_t count, int bytes)
{
    uint8_t *narrow1 = (uint8_t *)tokens;
    uint16_t *narrow2 = (uint16_t *)tokens;
    for (size_t i = 0; i < count && bytes < 4; i++) {
        uint16_t token = (uint16_t)tokens[i];
        if (bytes == 1)
            narrow1[i] = (uint8_t)token;
        else
            memcpy(&narrow2[i], &token, sizeof token);
    }
}

static bool check_tokens(TokenFile *file, XXH3_state_t *state, Message *problem)
{
    const size_t chunk = 1 << 20;
    int32_t *tokens = checked_calloc(chunk, sizeof *tokens);
    bool good = true;
    for (size_t first = 0; first < file->count && good; first += chunk) {
        size_t count = file->count - first < chunk ? file->count - first : chunk;
        good = token_file_read(file, first, count, tokens, problem);
        if (good) narrow(tokens, count, file->token_bytes);
        if (good) XXH3_64bits_update(state, tokens, count * (size_t)file->token_bytes);
    }
    free(tokens);
    return good;
}

static bool check_documents(TokenFile *file, XXH3_state_t *state, Message *problem)
{
    const size_t chunk = 1 << 17;
    int64_t *starts = checked_calloc(chunk, sizeof *starts);
    bool good = true;
    for (size_t first = 0; first < file->document_count && good; first += chunk) {
        size_t count = file->document_count - first < chunk ? file->document_count - first : chunk;
        good = token_file_documents(file, first, count, starts, problem);
        if (good) XXH3_64bits_update(state, starts, count * sizeof *starts);
    }
    free(starts);
    return good;
}

typedef bool CheckValues(TokenFile *file, XXH3_state_t *state, Message *problem);

/* Reads all values of a dataset with `check`, and compares their digest with the stored one. */
static bool check_dataset(TokenFile *file, hid_t dataset, const char *what, CheckValues *check, uint64_t *digest,
                          Message *problem)
{
    XXH3_state_t *state = XXH3_createState();
    CHECK(state && XXH3_64bits_reset(state) == XXH_OK, "cannot start a digest: no memory is left");
    bool good = check(file, state, problem);
    *digest = XXH3_64bits_digest(state);
    if (good && !h5_digest_agrees(dataset, *digest))
        good = fail(problem, "'%s': the %s are not those that were written. Copy it again, or make it again",
                    file->path, what);
    XXH3_freeState(state);
    return good;
}

bool token_file_examine(TokenFile *file, Message *problem)
{
    uint64_t digest, unused;
    TokenFileState state;
    bool known = token_verdict_state(file->path, &state); /* before, so that a change meanwhile shows */
    bool good = check_dataset(file, file->tokens, "tokens", check_tokens, &digest, problem) &&
                (file->document_count == 0 ||
                 check_dataset(file, file->starts, "starts of documents", check_documents, &unused, problem));
    if (good && known) token_verdict_write(file->path, &state, digest);
    return good;
}

bool token_file_check(TokenFile *file, Message *problem)
{
    uint64_t digest;
    TokenFileState state;
    bool checked = token_verdict_state(file->path, &state) && token_verdict_read(file->path, &state, &digest) &&
                   h5_digest_agrees(file->tokens, digest);
    return checked || token_file_examine(file, problem);
}
