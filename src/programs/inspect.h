/* What polysketch inspect says of files. On the calling rank alone; false with a message. */
#ifndef POLYSKETCH_PROGRAMS_INSPECT_H
#define POLYSKETCH_PROGRAMS_INSPECT_H

#include <stdbool.h>

#include "io/tokenizer.h"
#include "src/base/error.h"
#include "src/base/facts.h"
#include "src/core/tensor_shape.h"

typedef struct InspectOptions {
    bool stats, json;
} InspectOptions;

/* What is in a checkpoint, and whether its values are finite and agree with their digests. */
bool inspect_checkpoint(const char *path, const InspectOptions *asked, Facts *facts, Message *problem);

/* Two checkpoints tensor by tensor, after the values of both were compared with their digests. */
bool inspect_difference(const char *path, const char *other, Facts *facts, Message *problem);

/* Facts that several of them have: "tokenizer", a line; "shape", a column. */
void inspect_say_tokenizer(const Tokenizer *tokenizer, Facts *facts);
void inspect_say_shape(const TensorShape *shape, Facts *facts);

#endif
