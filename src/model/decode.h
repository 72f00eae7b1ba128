/* The model token by token, from the recurrent state: for linear kinds neither memory nor time per token grow with the
   position. One sequence, one process. */
#ifndef POLYSKETCH_MODEL_DECODE_H
#define POLYSKETCH_MODEL_DECODE_H

#include <stdint.h>

#include "src/core/param_store.h"
#include "src/model/model.h"

typedef struct Decoder Decoder;

/* All groups of `params` are acquired as long as it lives. shape.max_tokens bounds the position for kinds that keep all keys
   (softmax, polynomial). */
Decoder *decoder_create(const Model *model, ParamStore *params, DecodeShape shape);
void decoder_destroy(Decoder *decoder);

/* Takes the next token and returns the logits (V) of the one after it; valid until the next call. */
const real *decoder_step(Decoder *decoder, int32_t token);

/* Goes on at `position` with the state as it is, as if that many tokens had been taken: to time tokens far out without
   generating all before them. position < max_tokens. */
void decoder_seek(Decoder *decoder, size_t position);

/* Bytes of the recurrent state. */
size_t decoder_state_bytes(const Decoder *decoder);

#endif
