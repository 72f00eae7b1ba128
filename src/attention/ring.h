/* Exact attention over a sequence that is spread over ranks: keys and values travel round the ring of its segments, so
   that no rank ever holds the whole sequence (Liu, Zaharia, Abbeel, "Ring Attention", 2023).

   The packet of a segment is (B, H, longest segment, 2h): rows of a head's key, as the scores use it, and its value. With a gate
   (gate.h) two more pieces follow: (B, H, longest), the sum of the gates behind each key to the end of its segment, and (B, H),
   the sum of all gates of the segment. In the backward pass the gradients of a packet travel with it and are at home after a full
   turn; in place of the first piece they have the sums of the keys' weights times their gradients. */
#ifndef POLYSKETCH_ATTENTION_RING_H
#define POLYSKETCH_ATTENTION_RING_H

#include "src/attention/attention.h"
#include "src/attention/exact.h"

typedef struct RingBuffers {
    real *packet, *next_packet;     /* (B, H, longest, 2h) and what gates need */
    real *d_packet, *next_d_packet; /* the same, backward only */
    real *threads;                  /* tile scratch of every thread */
    size_t per_thread;
    double *gates;           /* (B, H, N): sums of this rank's gates; NULL without a gate, as are the next two */
    double *key_gates;       /* per thread (longest): of a packet's keys, on the same scale */
    double *between;         /* (B, H): sums of the gates between the packet's segment and this one */
    atomic_size_t *finished; /* (B, H, strips): ExactTurn of each; backward only */
} RingBuffers;

/* B H N: rows of scores on this rank, and numbers that the exact kinds save (a normaliser for each). */
size_t ring_row_count(const AttentionLayer *layer, const AttentionShape *shape);

/* Takes the buffers of one pass. */
RingBuffers ring_take_buffers(const AttentionLayer *layer, const AttentionShape *shape, PassDirection pass,
                              Arena *scratch);

/* Keys (B N, C) and the values of qkv into the packet. */
void ring_pack(const AttentionRun *run, RingBuffers *buffers, ConstMatrix keys);

/* out (B, N, C) and sums (B, H, N) += over all visible keys; queries (B N, C). `maxima` (B, H, N) or NULL. Collective over
   the sequence. */
void ring_forward(const AttentionRun *run, RingBuffers *buffers, const PairWeight *weight, ConstMatrix queries,
                  real *sums, real *maxima);

/* d_queries (B N, C) += ..., and buffers->d_packet = gradients of this rank's own keys and values; with a gate run->d_gate.
   normaliser (B, H, N), of which `one` is constant. */
void ring_backward(const AttentionRun *run, RingBuffers *buffers, const PairWeight *weight, ConstMatrix queries,
                   const real *normaliser, real one, Matrix d_queries);

/* Gradients of keys into d_keys (B N, C), and those of values into d_qkv. */
void ring_unpack(const AttentionRun *run, const RingBuffers *buffers, Matrix d_keys);

/* out /= normaliser, row by row, after clamping it to LEAST_NORMALISER. normaliser (B, H, N). */
void attention_divide(const AttentionRun *run, real *normaliser);

/* Adds to run->watch what heads attend with; normaliser (B, H, N) as attention_divide() leaves it, of which `one` is constant. */
void ring_count_shares(const AttentionRun *run, const real *normaliser, real one);

/* Scratch of ring_backward beyond its buffers. */
void ring_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch);

/* ---- decoding with exact pairs (ring_decode.c) ---- */

/* The state: rows of key and value of all tokens, (max_tokens, 2C), and with a gate the ages of each head's keys,
   (H, max_tokens). */
size_t ring_decode_state_count(const AttentionLayer *layer, const DecodeShape *shape);
int ring_decode_state_parts(const AttentionLayer *layer, const DecodeShape *shape, real *state,
                            StatePart parts[ATTENTION_STATE_PARTS]);
/* (position + 1) sums of the gates behind each key of head j, the token at hand included; NULL without a gate. */
const real *ring_decode_ages(const DecodeRun *run, size_t j);

/* The parts of ring_forward() that are about AttentionRun.state: what the tokens before this pass add to its rows; and, after
   all, the keys and values of the pass. */
void ring_forward_state(const AttentionRun *run, const RingBuffers *buffers, const PairWeight *weight,
                        ConstMatrix queries, real *sums, real *maxima);
void ring_leave_state(const AttentionRun *run, const RingBuffers *buffers);

AttentionCost ring_cost(const AttentionLayer *layer, const AttentionShape *shape);

#endif
