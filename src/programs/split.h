/* Which documents `prepare` keeps for validation. */
#ifndef POLYSKETCH_PROGRAMS_SPLIT_H
#define POLYSKETCH_PROGRAMS_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"
#include "src/programs/corpus.h"

typedef struct Split {
    bool *validation;               /* (corpus->count): is the document for validation? */
    size_t tokens[2], documents[2]; /* of training and of validation, the tokens that end documents among them */
    bool cut;
    size_t cut_document, cut_tokens; /* the end of this one became the next document; so many of its own tokens */
} Split;

/* Chooses so that validation has about `fraction` of all tokens:
   1. Of the documents in a shuffled order, each that still fits.
   2. When that is more than a tenth of the wish away from it: also the one that brings it nearest.
   3. When even that is too far: instead of 2, as much of the end of the longest document left as is missing; a text is
      not cut within a character of UTF-8.
   With `fraction` = 0 all is for training. Either file gets at least 2 tokens, an input and a target; false with a message
   when there are not enough, or the place of a cut cannot be read. The caller frees split->validation. */
bool split_corpus(Split *split, Corpus *corpus, double fraction, int64_t seed, Message *problem);

/* What was chosen, in one line on standard output. */
void split_print(const Split *split, const Corpus *corpus);

#endif
