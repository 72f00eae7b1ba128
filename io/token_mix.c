#include "io/token_mix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/documents.h"
#include "src/base/digest.h"
#include "src/base/memory.h"
#include "src/base/rng.h"

/* ---- FILE:WEIGHT,FILE:WEIGHT ---- */

/* The first `sign` of the text that has no backslash before it, or the end. */
static const char *find_sign(const char *text, char sign)
{
    for (; *text && *text != sign; text++)
        if (*text == '\\' && text[1]) text++;
    return text;
}

/* `length` bytes of the text without the backslashes that protect a sign; the caller frees it. */
static char *plain_name(const char *text, size_t length)
{
    char *name = checked_calloc(length + 1, 1), *to = name;
    for (size_t i = 0; i < length; i++) {
        bool protects = text[i] == '\\' && i + 1 < length && strchr(",:\\", text[i + 1]);
        *to++ = text[protects ? ++i : i];
    }
    return name;
}

static bool read_weight(const char *text, size_t length, double *weight, Message *problem)
{
    char word[64], *end;
    snprintf(word, sizeof word, "%.*s", (int)length, text);
    *weight = strtod(word, &end);
    if (length > 0 && length < sizeof word && !*end && *weight > 0 && isfinite(*weight)) return true;
    return fail(problem,
                "data.train: '%.*s' is no weight. Write FILE:WEIGHT,FILE:WEIGHT with positive numbers, and a backslash "
                "before a comma or colon of a file's name",
                (int)length, text);
}

static bool add_file(TokenMix *mix, const char *name, Message *problem)
{
    if (mix->count == MIX_MAX_FILES)
        return fail(problem, "data.train names more than %d files. Join some of them", MIX_MAX_FILES);
    for (int i = 0; i < mix->count; i++)
        if (disk_same_file(name, mix->files[i]->path))
            return fail(problem, "data.train: '%s' and '%s' are one file. Name it once, with the sum of the weights",
                        mix->files[i]->path, name);
    TokenFile *file = token_file_open(name, problem);
    if (!file) return false;
    mix->files[mix->count++] = file;
    const TokenFile *first = mix->files[0];
    bool same = file->vocab_size == first->vocab_size && tokenizer_same(&file->tokenizer, &first->tokenizer);
    char of_first[TOKENIZER_TEXT_SIZE], of_file[TOKENIZER_TEXT_SIZE];
    return same ||
           fail(problem,
                "data.train: '%.300s' has %lld tokens of %s, '%.300s' %lld of %s or other pieces. Use files made with "
                "the same tokenizer",
                first->path, (long long)first->vocab_size, tokenizer_describe(&first->tokenizer, of_first), file->path,
                (long long)file->vocab_size, tokenizer_describe(&file->tokenizer, of_file));
}

/* One FILE or FILE:WEIGHT. */
static bool add_item(TokenMix *mix, const char *text, size_t length, double *weight, Message *problem)
{
    const char *colon = find_sign(text, ':');
    bool weighted = colon < text + length;
    size_t name_length = weighted ? (size_t)(colon - text) : length;
    if (name_length == 0) return fail(problem, "data.train has an empty name. Write FILE:WEIGHT,FILE:WEIGHT");
    *weight = 1;
    if (weighted && !read_weight(colon + 1, length - name_length - 1, weight, problem)) return false;
    char *name = plain_name(text, name_length);
    bool good = add_file(mix, name, problem);
    free(name);
    return good;
}

/* Whole numbers next to the shares: rounded down, and one more for those that lost most. */
static bool set_quotas(TokenMix *mix, const double *weights /* (count) */, Message *problem)
{
    double total = 0, lost[MIX_MAX_FILES];
    int left = MIX_BLOCK;
    for (int i = 0; i < mix->count; i++) total += weights[i];
    for (int i = 0; i < mix->count; i++) {
        double share = weights[i] / total * MIX_BLOCK;
        mix->quotas[i] = (int)(share + 1e-9 * MIX_BLOCK); /* a share that is whole but for rounding stays so */
        lost[i] = share - mix->quotas[i];
        left -= mix->quotas[i];
    }
    for (; left > 0; left--) {
        int most = 0;
        for (int i = 1; i < mix->count; i++)
            if (lost[i] > lost[most]) most = i;
        mix->quotas[most]++;
        lost[most] -= 1;
    }
    for (int i = 0; i < mix->count; i++)
        if (mix->quotas[i] == 0)
            return fail(problem,
                        "data.train: the weight of '%s' is less than 1/%d of all. Leave it out, or give it more",
                        mix->files[i]->path, MIX_BLOCK);
    return true;
}

static bool read_items(TokenMix *mix, const char *text, Message *problem)
{
    double weights[MIX_MAX_FILES];
    if (access(text, F_OK) == 0) {
        weights[0] = 1;
        return add_file(mix, text, problem) && set_quotas(mix, weights, problem);
    }
    for (;; text++) {
        const char *comma = find_sign(text, ',');
        double weight = 1;
        if (!add_item(mix, text, (size_t)(comma - text), &weight, problem)) return false;
        weights[mix->count - 1] = weight;
        text = comma;
        if (!*text) return set_quotas(mix, weights, problem);
    }
}

TokenMix *token_mix_open(const char *text, Message *problem)
{
    TokenMix *mix = checked_calloc(1, sizeof *mix);
    if (read_items(mix, text, problem)) return mix;
    token_mix_close(mix);
    return NULL;
}

void token_mix_close(TokenMix *mix)
{
    if (!mix) return;
    for (int i = 0; i < mix->count; i++) token_file_close(mix->files[i]);
    free(mix);
}

/* ---- in use ---- */

size_t token_mix_tokens(const TokenMix *mix)
{
    size_t tokens = 0;
    for (int i = 0; i < mix->count; i++) tokens += mix->files[i]->count;
    return tokens;
}

/* Where documents start is part of what is learned from, where that matters. */
static bool file_digest(TokenFile *file, uint64_t *digest, Message *problem)
{
    if (!token_file_digest(file, digest, problem)) return false;
    const Documents *documents = file->documents;
    if (!documents) return true;
    uint64_t both[2] = {*digest, digest_bytes(documents->starts, documents->count * sizeof *documents->starts)};
    *digest = digest_bytes(both, sizeof both);
    return true;
}

bool token_mix_digest(TokenMix *mix, uint64_t *digest, Message *problem)
{
    if (!file_digest(mix->files[0], digest, problem)) return false;
    for (int i = 1; i < mix->count; i++) {
        uint64_t chain[4] = {*digest, (uint64_t)mix->quotas[i - 1], 0, (uint64_t)mix->quotas[i]};
        if (!file_digest(mix->files[i], &chain[2], problem)) return false;
        *digest = digest_bytes(chain, sizeof chain);
    }
    return true;
}

/* A permutation of the places of a block puts the files at random places; the first quota of its images is the first file's, and
   so on. */
MixPlace token_mix_place(const TokenMix *mix, uint64_t seed, uint64_t number)
{
    if (mix->count == 1) return (MixPlace){0, number};
    uint64_t block = number / MIX_BLOCK, place = number % MIX_BLOCK;
    int image = (int)rng_permute(rng_stream(seed, "data mix", block), MIX_BLOCK, place), file = 0;
    while (image >= mix->quotas[file]) image -= mix->quotas[file++];
    uint64_t before = block * (uint64_t)mix->quotas[file];
    return (MixPlace){file, before + (uint64_t)image};
}
