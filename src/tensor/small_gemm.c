/* One kernel: a tile of c, ROWS rows by up to VECTORS vectors, stays in registers while the inner index runs. Per step it
   loads a row of b and multiplies it by one number of each row of a. The inner index is cut into pieces short enough that
   the part of b in use stays in the first-level cache from one tile of rows to the next.

   Vectors are those of GCC and clang, as wide as the registers of the target; tile sizes fill its register file (32
   registers with AVX-512, 16 before). */
#include "src/tensor/small_gemm.h"

#include <stdint.h>
#include <string.h>

/* INNER rows of a full-width tile's b are 32 KB with AVX-512, which reads them half as often as narrower tiles do: those keep
   16 KB of them, half of the smallest first-level cache. */
#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, VECTORS = 4, INNER = 128 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32, VECTORS = 2, INNER = 256 };
#else
enum { VECTOR_BYTES = 16, VECTORS = 2, INNER = 512 };
#endif

enum { ROWS = 6, LANES = VECTOR_BYTES / sizeof(real) };

typedef real Vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* `rows`, `vectors` and one stride are constants wherever this is inlined: the sums become registers. */
static inline __attribute__((always_inline)) void tile(real *c, size_t ldc, const real *a, size_t row_stride,
                                                       size_t inner_stride, const real *b, size_t ldb, size_t k,
                                                       Store store, const int rows, const int vectors)
{
    Vector sums[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[i][v] = (Vector){0};
    for (size_t p = 0; p < k; p++) {
        Vector row[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) row[v] = *(const Vector *)(b + p * ldb + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            real factor = a[(size_t)i * row_stride + p * inner_stride];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[i][v] += factor * row[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            Vector *out = (Vector *)(c + (size_t)i * ldc + v * LANES);
            if (store == ADD) sums[i][v] += *out;
            *out = sums[i][v];
        }
}

/* Element (i, p) of the left factor is a[i * row_stride + p * inner_stride]. */
typedef void TileFunction(real *c, size_t ldc, const real *a, size_t row_stride, size_t inner_stride, const real *b,
                          size_t ldb, size_t k, Store store);

#define TILE(rows, vectors)                                                                                            \
    static void tile_##rows##_##vectors(real *c, size_t ldc, const real *a, size_t row_stride, size_t inner_stride,    \
                                        const real *b, size_t ldb, size_t k, Store store)                              \
    {                                                                                                                  \
        if (inner_stride == 1)                                                                                         \
            tile(c, ldc, a, row_stride, 1, b, ldb, k, store, rows, vectors);                                           \
        else                                                                                                           \
            tile(c, ldc, a, 1, inner_stride, b, ldb, k, store, rows, vectors);                                         \
    }
#define TILES(vectors)                                                                                                 \
    TILE(1, vectors) TILE(2, vectors) TILE(3, vectors) TILE(4, vectors) TILE(5, vectors) TILE(6, vectors)
#define TILE_NAMES(vectors)                                                                                            \
    {                                                                                                                  \
        tile_1_##vectors, tile_2_##vectors, tile_3_##vectors, tile_4_##vectors, tile_5_##vectors, tile_6_##vectors     \
    }

TILES(1)
TILES(2)
#if defined(__AVX512F__)
TILES(3)
TILES(4)
static TileFunction *const tiles[VECTORS][ROWS] = {TILE_NAMES(1), TILE_NAMES(2), TILE_NAMES(3), TILE_NAMES(4)};
#else
static TileFunction *const tiles[VECTORS][ROWS] = {TILE_NAMES(1), TILE_NAMES(2)};
#endif

/* `vectors` whole vectors of columns, all rows; the rows are divided evenly, so that no tile is left with one or two. */
static void column_strip(real *c, size_t ldc, const real *a, size_t row_stride, size_t inner_stride, const real *b,
                         size_t ldb, size_t m, size_t k, Store store, size_t vectors)
{
    size_t count = (m + ROWS - 1) / ROWS, larger = m % count, rows = m / count + 1;
    for (size_t t = 0; t < count; t++) {
        if (t == larger) rows--;
        tiles[vectors - 1][rows - 1](c, ldc, a, row_stride, inner_stride, b, ldb, k, store);
        c += rows * ldc;
        a += rows * row_stride;
    }
}

/* Fewer columns than a vector has lanes: by way of a strip filled up with zeros. */
static void narrow_strip(real *c, size_t ldc, const real *a, size_t row_stride, size_t inner_stride, const real *b,
                         size_t ldb, size_t m, size_t k, Store store, size_t columns)
{
    real filled[INNER * LANES] = {0}, sums[ROWS * LANES];
    for (size_t p = 0; p < k; p++) memcpy(filled + p * LANES, b + p * ldb, columns * sizeof *b);
    for (size_t first = 0; first < m; first += ROWS) {
        size_t rows = m - first < ROWS ? m - first : ROWS;
        tiles[0][rows - 1](sums, LANES, a + first * row_stride, row_stride, inner_stride, filled, LANES, k, OVERWRITE);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++) {
                real *out = c + (first + i) * ldc + j;
                *out = store == ADD ? *out + sums[i * LANES + j] : sums[i * LANES + j];
            }
    }
}

static void multiply(real *c, size_t ldc, const real *a, size_t row_stride, size_t inner_stride, const real *b,
                     size_t ldb, size_t m, size_t n, size_t k, Store store)
{
    for (size_t p = 0; p < k; p += INNER, store = ADD) {
        size_t inner = k - p < INNER ? k - p : INNER;
        const real *a_part = a + p * inner_stride, *b_part = b + p * ldb;
        for (size_t j = 0; j < n;) {
            size_t vectors = (n - j) / LANES < VECTORS ? (n - j) / LANES : VECTORS;
            if (vectors == 0) {
                narrow_strip(c + j, ldc, a_part, row_stride, inner_stride, b_part + j, ldb, m, inner, store, n - j);
                break;
            }
            column_strip(c + j, ldc, a_part, row_stride, inner_stride, b_part + j, ldb, m, inner, store, vectors);
            j += vectors * LANES;
        }
    }
}

void small_gemm_nn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n,
                   size_t k, Store store)
{
    multiply(c, ldc, a, lda, 1, b, ldb, m, n, k, store);
}

void small_gemm_tn(real *c, size_t ldc, const real *a, size_t lda, const real *b, size_t ldb, size_t m, size_t n,
                   size_t k, Store store)
{
    multiply(c, ldc, a, 1, lda, b, ldb, m, n, k, store);
}

void gather_rows(real *rows, ConstMatrix x)
{
    for (size_t i = 0; i < x.rows; i++) memcpy(rows + i * x.columns, const_matrix_row(x, i), x.columns * sizeof *rows);
}

/* ---- transposing ---------------------------------------------------------------------------------------------------- */

#ifdef REAL_DOUBLE
typedef int64_t Lane;
#else
typedef int32_t Lane;
#endif
typedef Lane Lanes __attribute__((vector_size(VECTOR_BYTES)));

/* Lane by lane first[places], or second[places - LANES]; places are constants wherever this is inlined. */
static inline __attribute__((always_inline)) Vector shuffled(Vector first, Vector second, Lanes places)
{
#ifdef __clang__ /* which has no such builtin, but turns the loop into the same instructions */
    Vector result;
#pragma unroll
    for (int lane = 0; lane < LANES; lane++)
        result[lane] = places[lane] < LANES ? first[places[lane]] : second[places[lane] - LANES];
    return result;
#else
    return __builtin_shuffle(first, second, places);
#endif
}

/* Rows i and i + distance exchange the blocks of `distance` lanes that lie off the diagonal. */
static inline __attribute__((always_inline)) void exchange(Vector rows[LANES], const int distance)
{
    Lanes lower, upper;
#pragma GCC unroll 16
    for (int lane = 0; lane < LANES; lane++) {
        lower[lane] = lane & distance ? LANES + lane - distance : lane;
        upper[lane] = lane & distance ? LANES + lane : lane + distance;
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        if (!(i & distance)) {
            Vector first = rows[i], second = rows[i + distance];
            rows[i] = shuffled(first, second, lower);
            rows[i + distance] = shuffled(first, second, upper);
        }
}

/* A square of LANES x LANES in registers. */
static void transpose_square(real *t, size_t ldt, const real *x, size_t ldx)
{
    Vector rows[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) rows[i] = *(const Vector *)(x + (size_t)i * ldx);
    exchange(rows, 1);
    if (LANES > 2) exchange(rows, 2);
    if (LANES > 4) exchange(rows, 4);
    if (LANES > 8) exchange(rows, 8);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) *(Vector *)(t + (size_t)i * ldt) = rows[i];
}

void transpose(real *t, size_t ldt, const real *x, size_t ldx, size_t rows, size_t columns)
{
    size_t whole_rows = rows / LANES * LANES, whole_columns = columns / LANES * LANES;
    for (size_t i = 0; i < whole_rows; i += LANES)
        for (size_t j = 0; j < whole_columns; j += LANES) transpose_square(t + j * ldt + i, ldt, x + i * ldx + j, ldx);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = i < whole_rows ? whole_columns : 0; j < columns; j++) t[j * ldt + i] = x[i * ldx + j];
}
