/* The model token by token, from the recurrent state: for linear kinds neither memory nor time per token grow with the
   position. Several sequences side by side, each with its own state and position; one process. */
#ifndef POLYSKETCH_MODEL_DECODE_H
#define POLYSKETCH_MODEL_DECODE_H

#include <stdint.h>

#include "src/core/param_store.h"
#include "src/model/model.h"

typedef struct Decoder Decoder;

/* All groups of `params` are acquired as long as it lives. shape.max_tokens bounds the positions, and the memory of kinds
   that keep all keys (softmax, polynomial). Sequences are numbered from 0 and stand at position 0. */
Decoder *decoder_create(const Model *model, ParamStore *params, DecodeShape shape, size_t sequences);
void decoder_destroy(Decoder *decoder); /* NULL allowed */

/* Bytes that it takes, with those for reading a prompt of so many tokens; 0: none. */
size_t decoder_bytes(const Model *model, DecodeShape shape, size_t sequences, size_t prompt_tokens);

/* Takes `count` > 0 tokens of a sequence at once, in stretches, so that its memory does not grow with them, and returns the
   logits (V) of the token after them; valid until the next call. Up to rounding the same as one token at a time. */
const real *decoder_read(Decoder *decoder, size_t sequence, const int32_t *tokens, size_t count);

/* Takes the next token of each of `count` sequences, which all differ, and returns the logits (count, V) of the tokens after
   them; valid until the next call. */
const real *decoder_step_all(Decoder *decoder, const size_t *sequences, const int32_t *tokens, size_t count);

/* The same of sequence 0 alone: (V). */
const real *decoder_step(Decoder *decoder, int32_t token);

/* Back to position 0. */
void decoder_restart(Decoder *decoder, size_t sequence);

/* Goes on at `position` with the state as it is, as if that many tokens had been taken: to time tokens far out without
   generating all before them, and for a state that comes from a file. position < max_tokens. */
void decoder_seek(Decoder *decoder, size_t sequence, size_t position);
size_t decoder_position(const Decoder *decoder, size_t sequence);

/* Bytes of the recurrent state of one sequence. */
size_t decoder_state_bytes(const Decoder *decoder);

/* The parts of the state of a layer, as they would be if max_tokens were the position, which must not be 0: their memory is the
   decoder's. What they hold may be copied to those of another decoder of the same model and block length. Returns how many. */
int decoder_state_parts(const Decoder *decoder, size_t sequence, size_t layer, StatePart parts[ATTENTION_STATE_PARTS]);

#endif
