#include "src/attention/distance.h"

#include <math.h>
#include <string.h>

/* ---- buckets -------------------------------------------------------------------------------------------------------- */

static size_t bucket_of(size_t distance)
{
    size_t bucket = 0;
    for (; distance > 0; distance >>= 1) bucket++;
    return bucket;
}

size_t distance_buckets(size_t context_length)
{
    size_t count = bucket_of(context_length - 1) + 1;
    return count < DISTANCE_MAX_BUCKETS ? count : DISTANCE_MAX_BUCKETS;
}

size_t distance_of_bucket(size_t bucket) { return bucket > 0 ? (size_t)1 << (bucket - 1) : 0; }

size_t distance_passes(size_t context_length, size_t head_width)
{
    size_t columns = DISTANCE_QUERIES * distance_buckets(context_length), of_pass = head_width - 1;
    return 1 + (columns + of_pass - 1) / of_pass;
}

/* ---- columns of a pass ---------------------------------------------------------------------------------------------- */

/* One of the columns behind the first, which is 1: the centre of pass 0, or a bucket of a query. */
typedef struct Column {
    double centre;
    size_t query, bucket; /* query = DISTANCE_QUERIES: none, the column is not used */
} Column;

static Column column_at(const AttentionRun *run, size_t pass, size_t c)
{
    size_t T = run->shape.context_length, count = run->layer->head_width - 1, buckets = distance_buckets(T);
    if (pass == 0) return (Column){.centre = floor(((double)c - 0.5) * (double)T / (double)count)};
    size_t index = (pass - 1) * count + c - 1, query = index / buckets;
    return (Column){.query = query < DISTANCE_QUERIES ? query : DISTANCE_QUERIES, .bucket = index % buckets};
}

/* Of the centres the one nearest to a position. */
static size_t column_near(const AttentionRun *run, size_t position)
{
    size_t count = run->layer->head_width - 1;
    return 1 + position * count / run->shape.context_length;
}

static real value_of(const Column *column, const size_t *queries, size_t pass, size_t position)
{
    if (pass == 0) return (real)((double)position - column->centre);
    if (column->query == DISTANCE_QUERIES || position > queries[column->query]) return 0;
    return bucket_of(queries[column->query] - position) == column->bucket;
}

/* The same columns for each head. */
static void fill_values(const AttentionRun *run, real *qkv, size_t pass)
{
    size_t N = run->shape.tokens, H = run->layer->heads, h = run->layer->head_width, C = H * h;
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t s = 0; s < run->shape.sequences; s++)
        for (size_t t = 0; t < N; t++) {
            real *values = qkv + (s * N + t) * 3 * C + 2 * C;
            const size_t *queries = run->watch.queries + s * DISTANCE_QUERIES;
            values[0] = 1;
            for (size_t c = 1; c < h; c++) {
                Column column = column_at(run, pass, c);
                values[c] = value_of(&column, queries, pass, run->shape.first_token + t);
            }
            for (size_t j = 1; j < H; j++) memcpy(values + j * h, values, h * sizeof *values);
        }
}

/* ---- what came out -------------------------------------------------------------------------------------------------- */

/* Row t of a head in sequence s, (h). */
static const real *output_row(const AttentionRun *run, size_t s, size_t j, size_t t)
{
    size_t h = run->layer->head_width;
    return run->out + ((s * run->shape.tokens + t) * run->layer->heads + j) * h;
}

/* Rows without any weight, whose first column is 0, count nowhere. */
static void add_means(const AttentionRun *run, size_t s, size_t j, HeadDistances *head)
{
    TokenRange rows = attention_watched_rows(run, s);
    const int32_t *starts = attention_document_starts(run, s);
    for (size_t t = rows.first; t < rows.first + rows.count; t++) {
        const real *o = output_row(run, s, j, t);
        if (!(o[0] > 0)) continue;
        size_t position = run->shape.first_token + t, c = column_near(run, position);
        head->tokens++;
        head->distance += (double)position - column_at(run, 0, c).centre - (double)o[c] / (double)o[0];
        head->uniform += (double)(position - (starts ? (size_t)starts[t] : 0)) / 2;
    }
}

static void add_buckets(const AttentionRun *run, size_t pass, size_t s, size_t j, HeadDistances *head)
{
    for (size_t c = 1; c < run->layer->head_width; c++) {
        Column column = column_at(run, pass, c);
        if (column.query == DISTANCE_QUERIES) continue;
        size_t position = run->watch.queries[s * DISTANCE_QUERIES + column.query];
        if (position < run->shape.first_token || position - run->shape.first_token >= run->shape.tokens) continue;
        const real *o = output_row(run, s, j, position - run->shape.first_token);
        if (!(o[0] > 0)) continue;
        head->queries += column.bucket == 0;
        head->buckets[column.bucket] += (double)o[c] / (double)o[0];
    }
}

static void add_pass(const AttentionRun *run, size_t pass)
{
    size_t H = run->layer->heads;
    for (size_t index = 0; index < run->shape.sequences * H; index++) {
        HeadDistances *head = &run->watch.distances[index];
        if (pass == 0)
            add_means(run, index / H, index % H, head);
        else
            add_buckets(run, pass, index / H, index % H, head);
    }
}

/* ---- all passes ----------------------------------------------------------------------------------------------------- */

/* (B, N, C) */
static real *take_values(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    return arena_take(scratch, shape->sequences * shape->tokens * layer->heads * layer->head_width);
}

void distance_plan(const AttentionLayer *layer, const AttentionShape *shape, Arena *scratch)
{
    size_t mark = arena_mark(scratch);
    take_values(layer, shape, scratch);
    layer->kind->plan(layer, shape, scratch);
    arena_release(scratch, mark);
}

static void copy_rows(real *to, size_t to_stride, const real *from, size_t from_stride, size_t rows, size_t width)
{
    for (size_t i = 0; i < rows; i++) memcpy(to + i * to_stride, from + i * from_stride, width * sizeof *to);
}

void distance_measure(const AttentionRun *run, real *qkv, CarriedLink *carried, size_t layers)
{
    size_t C = run->layer->heads * run->layer->head_width, tokens = run->shape.sequences * run->shape.tokens;
    size_t mark = arena_mark(run->scratch), own_place = carried ? carried->layer : 0;
    real *values = take_values(run->layer, &run->shape, run->scratch);
    AttentionRun unwatched = *run;
    unwatched.watch = (ShareWatch){0};
    unwatched.clamped = NULL;
    copy_rows(values, C, qkv + 2 * C, 3 * C, tokens, C);
    for (size_t pass = 0; pass < distance_passes(run->shape.context_length, run->layer->head_width); pass++) {
        if (carried) carried->layer += layers;
        fill_values(run, qkv, pass);
        run->layer->kind->forward(&unwatched);
        add_pass(run, pass);
    }
    copy_rows(qkv + 2 * C, 3 * C, values, C, tokens, C);
    if (carried) carried->layer = own_place;
    arena_release(run->scratch, mark);
}
