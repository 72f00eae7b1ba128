/* Features of self-tensored maps in packed form: phi(u) has each product u_a u_c of u (x) u once, with sqrt(2) off the diagonal,
   r(r+1)/2 numbers, so that <phi(u), phi(u')> = <u, u'>^2. */
#ifndef POLYSKETCH_ATTENTION_PACKED_FEATURES_H
#define POLYSKETCH_ATTENTION_PACKED_FEATURES_H

#include <stddef.h>

#include "src/base/real.h"
#include "src/tensor/matrix.h"

static inline size_t packed_feature_count(size_t r) { return r * (r + 1) / 2; }

/* Numbers of scratch that both functions need. */
size_t packed_features_scratch(size_t r);

/* phi (rows, r(r+1)/2) of u (rows, r). Arguments of both functions must not overlap. */
void packed_features_expand(real *phi, ConstMatrix u, real *scratch);
/* d_u (rows, r) += gradient through packed_features_expand(). */
void packed_features_contract(Matrix d_u, const real *d_phi, ConstMatrix u, real *scratch);

#endif
