/* The gate: how much of what came before a token is forgotten at it, g_t <= 0 for each head.

       data       g_t = log sigmoid( <w_head, x_t> + c_head ),  x_t the normed input that makes q, k, v
       constant   g_t = log sigmoid( c_head )

   With G_t the sum of g_s over s <= t, a query i weighs a key j with exp(G_i - G_j) times what it would be without a gate; only
   such differences, never positive, are exponentiated. Tensors: `gate.weight` (H, C), `gate.bias` (H). */
#ifndef POLYSKETCH_ATTENTION_GATE_H
#define POLYSKETCH_ATTENTION_GATE_H

#include "src/attention/attention.h"
#include "src/tensor/matrix.h"

/* Adds the tensors of a layer whose spec has a gate. */
void gate_declare(AttentionLayer *layer, ParamTable *table, const char *prefix);

/* Takes and releases the scratch of all functions here. */
void gate_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch);

/* gate (B, H, N) of x (B N, C). */
void gate_forward(const AttentionLayer *layer, ParamStore *params, real *gate, ConstMatrix x, size_t sequences,
                  Arena *scratch);

/* d_x (B N, C) += and the gradients of the tensors += from d_gate (B, H, N). */
void gate_backward(const AttentionLayer *layer, ParamStore *params, Matrix d_x, const real *d_gate, const real *gate,
                   ConstMatrix x, size_t sequences, Arena *scratch);

/* sums (N) = sums of the gates (N) of a head of sequence s, `start` before the first; they begin anew, at 0, with every document,
   so that none of its differences hangs on another. Double: differences of neighbours stay exact however long the sequence. */
void gate_sum(double *sums, const real *gate, const AttentionRun *run, size_t s, double start);

/* Decoding: ages (count), the sums of the gates behind each token so far, go on to the token at hand, which is row `own`. */
void gate_age(real *ages, size_t count, size_t own, real gate);

/* run->d_gate (B, H, N), which holds the gradients of the sums G_t, becomes that of the gates: its sum over t and all later
   tokens of the sequence (of the document, where there are several; its first gate takes nothing away), also those of later
   ranks. Collective. `offset`: ExclusiveSum.offset. */
void gate_sum_backward(const AttentionRun *run, size_t offset);

/* Numbers of the sum that it asks of the link. */
size_t gate_sum_count(const AttentionLayer *layer, const AttentionShape *shape);

#endif
