/* Muon (Jordan and others, 2024): the matrices between hidden values move by an orthogonal step; all other tensors are AdamW's.

   Of one matrix x (rows, columns) with gradient g:

       momentum = mu momentum + g;      u = g + mu momentum
       X = u / (|u| + 1e-7), transposed if it has more rows than columns
       five times: A = X X^T;  X = 3.4445 X + (-4.7750 A + 2.0315 A A) X
       x = x - rate ( decay x + sqrt(max(1, rows / columns)) X )

   which brings the singular values of u near 1. A tensor that is several matrices one above the other (Param.hidden_parts: q, k
   and v; the two halves of a gated feed-forward) moves part by part. rate is muon_learning_rate times the step's share of
   the peak learning rate. */
#ifndef POLYSKETCH_TRAIN_MUON_H
#define POLYSKETCH_TRAIN_MUON_H

#include "src/train/optimizer.h"

extern const OptimizerKind optimizer_muon;

/* Replaces x (rows, columns) by X of the formula above. `scratch`: muon_scratch() numbers. */
void muon_orthogonalise(real *x, size_t rows, size_t columns, real *scratch);
size_t muon_scratch(size_t rows, size_t columns);

#endif
