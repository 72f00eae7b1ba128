#include "src/core/token_batch.h"

#include <stdlib.h>

#include "src/base/memory.h"

TokenBatch token_batch_create(size_t count, bool documents)
{
    return (TokenBatch){
        .inputs = checked_calloc(count, sizeof(int32_t)),
        .targets = checked_calloc(count, sizeof(int32_t)),
        .document_starts = documents ? checked_calloc(count, sizeof(int32_t)) : NULL,
    };
}

void token_batch_destroy(TokenBatch *batch)
{
    free(batch->inputs), free(batch->targets), free(batch->document_starts);
    *batch = (TokenBatch){0};
}
