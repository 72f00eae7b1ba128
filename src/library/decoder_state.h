/* The recurrent state of a decoder in a file (io/state_file.h), to go on from another time. */
#ifndef POLYSKETCH_LIBRARY_DECODER_STATE_H
#define POLYSKETCH_LIBRARY_DECODER_STATE_H

#include "io/state_file.h"
#include "src/model/decode.h"
#include "src/train/config.h"

/* Of what a model has learned, and of the options that say how it is used. Collective over the ranks of the store. */
void model_digest(const Config *config, ParamStore *params, char text[DIGEST_TEXT_SIZE]);

/* The state of a sequence, and the logits (V) of the token that comes next. Rank 0 has a decoder, the others give NULL.
   Collective over all ranks; false with the same message on each. */
bool decoder_state_save(const char *path, const char *digest, const Model *model, const Decoder *decoder,
                        size_t sequence, const real *logits, Message *problem);

/* How many tokens the state of a file has taken; false with a message when it cannot be read, or is of another model. Local. */
bool decoder_state_position(const char *path, const char *digest, size_t *position, Message *problem);

/* Puts it into a decoder that has room for more tokens than that, and fills `logits` (V). Local. */
bool decoder_state_load(const char *path, const Model *model, Decoder *decoder, size_t sequence, real *logits,
                        Message *problem);

#endif
