/* The tokens of some sequences, as loaders deliver them and passes take them: of each sequence the N tokens that a rank holds.
   The arrays belong to whoever made them. */
#ifndef POLYSKETCH_CORE_TOKEN_BATCH_H
#define POLYSKETCH_CORE_TOKEN_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct TokenBatch {
    int32_t *inputs;  /* (B, N) */
    int32_t *targets; /* (B, N); -1 does not count */
    /* (B, N): where in its sequence the document of each token begins; 0 when that was before the sequence. A token sees no
       earlier one than that. NULL: a sequence is one document. */
    int32_t *document_starts;
} TokenBatch;

/* `count` zeros in each array; document_starts only with documents. */
TokenBatch token_batch_create(size_t count, bool documents);
void token_batch_destroy(TokenBatch *batch);

/* From number `first` of every array on. */
static inline TokenBatch token_batch_from(const TokenBatch *batch, size_t first)
{
    return (TokenBatch){batch->inputs + first, batch->targets + first,
                        batch->document_starts ? batch->document_starts + first : NULL};
}

#endif
