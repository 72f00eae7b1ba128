#include "src/programs/split.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/base/rng.h"

enum { LEAST_TOKENS = 2 };

/* A tenth of the wish is near enough. */
static bool is_near(double taken, double wish) { return fabs(taken - wish) <= 0.1 * wish; }

static double tokens_of(const Corpus *corpus, size_t document)
{
    return (double)corpus_document_tokens(&corpus->documents[document]);
}

/* Each document that still fits into the wish; returns how many tokens they have. */
static double take_fitting(Split *split, const Corpus *corpus, double wish, int64_t seed)
{
    RngStream stream = rng_stream((uint64_t)seed, "validation documents", 0);
    double taken = 0;
    for (size_t i = 0; i < corpus->count; i++) {
        size_t place = rng_permute(stream, corpus->count, i);
        if (taken + tokens_of(corpus, place) > wish) continue;
        split->validation[place] = true;
        taken += tokens_of(corpus, place);
    }
    return taken;
}

/* Takes the document that brings validation near to the wish; false when none does, or none would be left for training. */
static bool take_nearest(Split *split, const Corpus *corpus, double taken, double wish)
{
    size_t best = 0, left = 0;
    double distance = INFINITY;
    for (size_t i = 0; i < corpus->count; i++) {
        if (split->validation[i]) continue;
        left++;
        double other = fabs(taken + tokens_of(corpus, i) - wish);
        if (other < distance) distance = other, best = i;
    }
    if (left < 2 || !is_near(taken + tokens_of(corpus, best), wish)) return false;
    split->validation[best] = true;
    return true;
}

static size_t longest_left(const Split *split, const Corpus *corpus)
{
    size_t best = corpus->count;
    for (size_t i = 0; i < corpus->count; i++)
        if (!split->validation[i] && (best == corpus->count || tokens_of(corpus, i) > tokens_of(corpus, best)))
            best = i;
    return best;
}

/* Where the last `tail` numbers of a document begin; in a text perhaps some bytes later, where a character does. */
static bool place_of_cut(Corpus *corpus, const Document *document, size_t tail, size_t *place, Message *problem)
{
    int32_t bytes[4];
    size_t count = tail < 4 ? tail : 4;
    *place = document->length - tail;
    if (!corpus->sources[document->source].text) return true;
    if (!corpus_read(corpus, document->source, document->start + *place, count, bytes, problem)) return false;
    size_t inside = 0;
    while (inside < count && (bytes[inside] & 0xC0) == 0x80) inside++;
    if (inside < count) *place += inside; /* otherwise it is no UTF-8 */
    return true;
}

/* The last tokens of a document become the next document, for validation. */
static bool cut(Split *split, Corpus *corpus, size_t number, size_t tail, Message *problem)
{
    size_t place;
    Document whole = corpus->documents[number];
    if (!place_of_cut(corpus, &whole, tail, &place, problem)) return false;
    corpus->documents = checked_grow(corpus->documents, corpus->count, &corpus->capacity, sizeof whole);
    size_t room = corpus->count; /* of `validation` */
    split->validation = checked_grow(split->validation, corpus->count, &room, sizeof *split->validation);
    size_t later = corpus->count++ - number;
    Document *documents = corpus->documents + number;
    memmove(documents + 1, documents, later * sizeof *documents);
    memmove(split->validation + number + 1, split->validation + number, later * sizeof *split->validation);
    documents[0] = (Document){whole.start, place, whole.source, false};
    documents[1] = (Document){whole.start + place, whole.length - place, whole.source, whole.gets_end};
    split->validation[number + 1] = true;
    split->cut = true;
    split->cut_document = number;
    split->cut_tokens = whole.length - place;
    return true;
}

/* What is missing of the wish, from the end of the longest document left, as long as one token of it stays. */
static bool cut_longest(Split *split, Corpus *corpus, double missing, Message *problem)
{
    size_t number = longest_left(split, corpus);
    if (number == corpus->count) return true;
    const Document *document = &corpus->documents[number];
    size_t tail = (size_t)missing;
    tail -= tail > 1 && document->gets_end;
    if (tail >= document->length) tail = document->length - 1;
    return tail == 0 || cut(split, corpus, number, tail, problem);
}

static bool count_parts(Split *split, const Corpus *corpus, double fraction, Message *problem)
{
    for (size_t i = 0; i < corpus->count; i++) {
        split->documents[split->validation[i]]++;
        split->tokens[split->validation[i]] += corpus_document_tokens(&corpus->documents[i]);
    }
    bool enough = split->tokens[0] >= LEAST_TOKENS && (fraction == 0 || split->tokens[1] >= LEAST_TOKENS);
    return enough || fail(problem, "%zu tokens are too few: training%s needs %d of its own. Give a longer text%s",
                          split->tokens[0] + split->tokens[1], fraction == 0 ? "" : ", and validation too,",
                          LEAST_TOKENS, fraction == 0 ? "" : ", or --validation_fraction=0");
}

bool split_corpus(Split *split, Corpus *corpus, double fraction, int64_t seed, Message *problem)
{
    *split = (Split){.validation = checked_calloc(corpus->count, sizeof *split->validation)};
    if (fraction > 0) {
        double wish = fmax(fraction * (double)corpus_total_tokens(corpus), LEAST_TOKENS);
        double taken = take_fitting(split, corpus, wish, seed);
        bool good = is_near(taken, wish) || take_nearest(split, corpus, taken, wish) ||
                    cut_longest(split, corpus, wish - taken, problem);
        if (!good) return false;
    }
    return count_parts(split, corpus, fraction, problem);
}

void split_print(const Split *split, const Corpus *corpus)
{
    double share = 100.0 * (double)split->tokens[1] / (double)(split->tokens[0] + split->tokens[1]);
    if (split->documents[1] == 0) {
        printf("validation: none, and no file for it\n");
        return;
    }
    printf("validation: %.3g %% of the tokens, %zu document%s", share, split->documents[1],
           split->documents[1] > 1 ? "s" : "");
    if (split->cut)
        printf("; the last %zu tokens of document %zu (%s) are cut off for it", split->cut_tokens,
               split->cut_document + 1, corpus->sources[corpus->documents[split->cut_document].source].path);
    printf("\n");
}
