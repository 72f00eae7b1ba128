#include "src/attention/linear_parts.h"

/* Rounding of sums of packed features, relative to the part of the sum that cannot cancel. With a hundred thousand nearly
   equal keys it is some 3 units; from 4 units on, what is kept no longer gives outputs larger than values. */
static const real NOISE = 8 * (sizeof(real) == 4 ? (real)0x1p-23 : (real)0x1p-52);

void panel_expand(const FeatureMap *map, const Panel *panel, ConstMatrix u)
{
    if (map->self_tensored)
        packed_features_expand(panel->features, u, panel->packing);
    else
        gather_rows(panel->features, u);
}

void panel_contract(const FeatureMap *map, const Panel *panel, Matrix d_u, ConstMatrix u)
{
    size_t r = u.columns;
    if (map->self_tensored)
        packed_features_contract(d_u, panel->features, u, panel->packing);
    else
        for (size_t i = 0; i < u.rows; i++) add_to(matrix_row(d_u, i), panel->features + i * r, r);
}

void panel_scale_values(const Sizes *z, const Panel *panel, const real *factors, size_t count)
{
    for (size_t i = 0; factors && i < count; i++) {
        real *row = panel->values + i * z->h;
#pragma omp simd
        for (size_t c = 0; c < z->h; c++) row[c] *= factors[i];
    }
}

void panel_add_rows(const Panel *panel, real *sums, const real *factors, size_t rows, size_t m)
{
    for (size_t i = 0; i < rows; i++) {
        real factor = factors ? factors[i] : 1;
#pragma omp simd
        for (size_t f = 0; f < m; f++) sums[f] += factor * panel->features[i * m + f];
    }
}

void panel_fill_rows(const Panel *panel, const real *row, const real *factors, size_t rows, size_t m)
{
    for (size_t i = 0; i < rows; i++) {
        real factor = factors ? factors[i] : 1;
#pragma omp simd
        for (size_t f = 0; f < m; f++) panel->features[i * m + f] = factor * row[f];
    }
}

void panel_add_to_state(const Sizes *z, real *state, const Panel *panel, size_t count, Store store)
{
    small_gemm_tn(state, z->h, panel->features, z->m, panel->values, z->h, z->m, z->h, count, store);
}

/* <phi(q), sums> is a sum of squares, but that of packed features has terms of both signs, and where all keys are nearly
   orthogonal to the query what remains of them is rounding: as good below zero as above. The features on the diagonal, the
   first r, are squares and say how large the terms are. */
static bool is_noise(const FeatureMap *map, real sum, real diagonal)
{
    return map->self_tensored && sum < NOISE * diagonal;
}

real linear_sketched_sum(const FeatureMap *map, const Sizes *z, const real *phi, const real *sums, real *factor)
{
    real diagonal = dot(phi, sums, z->r), sum = diagonal + dot(phi + z->r, sums + z->r, z->m - z->r);
    if (is_noise(map, sum, diagonal)) sum = *factor = 0;
    return sum;
}
