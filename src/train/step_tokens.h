/* The tokens of training steps: while a step is computed a thread reads those of the next, so that files and unpacking are not in
   its way. One piece of memory for each of the two: this rank's tokens of a whole batch. */
#ifndef POLYSKETCH_TRAIN_STEP_TOKENS_H
#define POLYSKETCH_TRAIN_STEP_TOKENS_H

#include "io/batch_loader.h"
#include "src/train/step.h"

typedef struct StepTokens StepTokens;

/* The loader is its own from now on; step must outlive it. */
StepTokens *step_tokens_create(BatchLoader *loader, const TrainStep *step);
/* Waits for what is being read. */
void step_tokens_destroy(StepTokens *tokens);

/* Makes the batch whose first sequence has this number in the whole run the present one: it has been read ahead, or is read now.
   False with a message when that failed, for whatever reason. Local. */
bool step_tokens_take(StepTokens *tokens, uint64_t first_of_batch, Message *problem);

/* Between the two a thread reads another batch, and nobody else may use HDF5. Where no thread can be had it is read when it is
   taken. */
void step_tokens_read_ahead(StepTokens *tokens, uint64_t first_of_batch);
void step_tokens_wait(StepTokens *tokens);

/* All tokens of the present batch on this rank, `count` of them; valid until the next is taken. */
const TokenBatch *step_tokens_batch(const StepTokens *tokens, size_t *count);

/* A TokenSource, whose context is a StepTokens: parts of the present batch. */
void step_tokens_part(void *context, uint64_t in_batch, const TokenBatch *part);

#endif
