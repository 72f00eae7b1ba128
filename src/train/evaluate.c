#include "src/train/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/base/usage.h"
#include "src/train/pass_loader.h"

struct Evaluator {
    const Topology *topology;
    DataSource source;
    BatchLoader *loader;
    ModelPass *pass;
    size_t batch, tokens; /* B, N */
    int64_t windows, stride;
    TokenBatch read;     /* (B, N) */
    real *losses;        /* (B, N) */
    uint8_t *correct;    /* (B, N); NULL for a file, whose tokens nobody is asked for */
    double *wrong;       /* (windows): targets that this rank's part of a sequence missed; likewise */
    TokenRange *rows;    /* (B): positions that are scored */
    HeadShares *watched; /* (layers, B, H) on this rank */
    HeadShares *shares;  /* (layers, H) of all ranks */
    /* The same of distances, where the pass measures them; else NULL. */
    HeadDistances *watched_distances, *distances;
    size_t *queries; /* (B, DISTANCE_QUERIES) */
};

typedef struct Sums {
    double loss, targets, bytes;
} Sums;

/* Of all layers. */
static size_t head_count(const Evaluator *evaluator)
{
    const Model *model = model_pass_model(evaluator->pass);
    return model->layer_count * model->heads;
}

static void take_distances(Evaluator *evaluator)
{
    size_t heads = head_count(evaluator), B = evaluator->batch;
    evaluator->watched_distances = checked_calloc(heads * B, sizeof *evaluator->watched_distances);
    evaluator->distances = checked_calloc(heads, sizeof *evaluator->distances);
    evaluator->queries = checked_calloc(B * DISTANCE_QUERIES, sizeof *evaluator->queries);
}

Evaluator *evaluator_create(const Topology *topology, const DataSource *source, ModelPass *pass,
                            const EvaluateConfig *config, Message *problem)
{
    const PassSpec *spec = model_pass_spec(pass);
    size_t stride = config->stride > 0 ? (size_t)config->stride : spec->context_length;
    BatchLoader *loader = pass_loader_evaluation(pass, source, stride, problem);
    if (!loader) return NULL;
    Evaluator *evaluator = checked_calloc(1, sizeof *evaluator);
    *evaluator = (Evaluator){.topology = topology, .source = *source, .loader = loader, .pass = pass};
    evaluator->batch = spec->sequences;
    evaluator->tokens = model_pass_tokens(pass);
    evaluator->stride = (int64_t)stride;
    uint64_t windows = batch_loader_windows(loader), wanted = (uint64_t)config->sequences;
    evaluator->windows = (int64_t)(wanted > 0 && wanted < windows ? wanted : windows);
    size_t count = evaluator->batch * evaluator->tokens;
    evaluator->read = token_batch_create(count, spec->documents);
    evaluator->losses = checked_calloc(count, sizeof *evaluator->losses);
    size_t heads = head_count(evaluator);
    evaluator->rows = checked_calloc(evaluator->batch, sizeof *evaluator->rows);
    evaluator->watched = checked_calloc(heads * evaluator->batch, sizeof *evaluator->watched);
    evaluator->shares = checked_calloc(heads, sizeof *evaluator->shares);
    if (spec->distances) take_distances(evaluator);
    if (!source_is_made(&source->spec)) return evaluator;
    evaluator->correct = checked_calloc(count, sizeof *evaluator->correct);
    evaluator->wrong = checked_calloc((size_t)evaluator->windows, sizeof *evaluator->wrong);
    return evaluator;
}

void evaluator_destroy(Evaluator *evaluator)
{
    if (!evaluator) return;
    batch_loader_destroy(evaluator->loader);
    token_batch_destroy(&evaluator->read);
    free(evaluator->losses);
    free(evaluator->correct);
    free(evaluator->wrong);
    free(evaluator->rows);
    free(evaluator->watched);
    free(evaluator->shares);
    free(evaluator->watched_distances);
    free(evaluator->distances);
    free(evaluator->queries);
    free(evaluator);
}

int64_t evaluator_windows(const Evaluator *evaluator) { return evaluator->windows; }

/* Pieces of what is asked for say nothing about a text. */
static const Tokenizer *tokenizer_of(const Evaluator *evaluator)
{
    return evaluator->correct ? NULL : &evaluator->source.file->tokenizer;
}

/* sums += those of target i of the micro-batch, which is of this window. */
static void add_target(const Evaluator *evaluator, int64_t window, size_t i, Sums *sums)
{
    const Tokenizer *tokenizer = tokenizer_of(evaluator);
    size_t bytes = 0;
    if (tokenizer) tokenizer_piece(tokenizer, evaluator->read.targets[i], &bytes);
    if (evaluator->wrong) evaluator->wrong[window] += !evaluator->correct[i];
    sums->loss += (double)evaluator->losses[i];
    sums->targets++;
    sums->bytes += (double)bytes;
}

static bool scores(const Evaluator *evaluator, int64_t window, size_t position, size_t i)
{
    return evaluator->read.targets[i] >= 0 && batch_loader_scores(evaluator->loader, (uint64_t)window, position);
}

/* Of the windows first .. first + count - 1. Losses that are not scored become NaN. */
static void score(Evaluator *evaluator, int64_t first, int64_t count, Sums *sums)
{
    size_t i = 0;
    for (int64_t s = 0; s < count; s++)
        for (size_t k = 0; k < model_pass_spec(evaluator->pass)->stretches; k++) {
            TokenRange range = model_pass_range(evaluator->pass, k);
            for (size_t t = 0; t < range.count; t++, i++)
                if (scores(evaluator, first + s, range.first + t, i))
                    add_target(evaluator, first + s, i, sums);
                else
                    evaluator->losses[i] = (real)NAN;
        }
}

/* Reads `count` windows from `first` on. A short micro-batch at the end of the file is filled up with the first window: the
   pass always computes a full one, and those losses are not used. */
static bool read_micro_batch(Evaluator *evaluator, int64_t first, int64_t count, Message *problem)
{
    int64_t B = (int64_t)evaluator->batch;
    bool good = batch_loader_sequential(evaluator->loader, (uint64_t)first, count, &evaluator->read, problem);
    for (int64_t i = count; good && i < B; i++) {
        TokenBatch place = token_batch_from(&evaluator->read, (size_t)i * evaluator->tokens);
        good = batch_loader_sequential(evaluator->loader, 0, 1, &place, problem);
    }
    return good;
}

/* Ends the job everywhere when one rank could not read. True when a rank wishes to stop. */
static bool require_read(bool ok, const StopClock *clock, const Message *problem, LossFile *losses)
{
    double sums[2] = {!ok, clock && stop_wished(clock)};
    world_sum_doubles(sums, 2);
    if (sums[0] > 0 && losses) loss_file_abandon(losses);
    require_all(ok, problem);
    return sums[1] > 0;
}

/* Sequence by sequence, range by range: only so does each piece lie together in memory and in the file. */
static void write_losses(const Evaluator *evaluator, int64_t first, int64_t count, LossFile *losses)
{
    size_t i = 0;
    for (int64_t s = 0; s < count; s++)
        for (size_t k = 0; k < model_pass_spec(evaluator->pass)->stretches; k++) {
            TokenRange range = model_pass_range(evaluator->pass, k);
            loss_file_write(losses, (size_t)(first + s), range, evaluator->losses + i, evaluator->read.inputs + i,
                            evaluator->read.targets + i);
            i += range.count;
        }
}

/* The positions whose targets are scored lie together; a window that only fills up the micro-batch has none. */
static void find_rows(Evaluator *evaluator, int64_t first, int64_t count)
{
    size_t T = model_pass_spec(evaluator->pass)->context_length;
    for (int64_t s = 0; s < (int64_t)evaluator->batch; s++) {
        TokenRange rows = {0};
        for (size_t t = 0; s < count && t < T; t++) {
            if (!batch_loader_scores(evaluator->loader, (uint64_t)(first + s), t)) continue;
            if (rows.count == 0) rows.first = t;
            rows.count++;
        }
        evaluator->rows[s] = rows;
    }
}

/* Of the rows that count one in each of DISTANCE_QUERIES equal parts, drawn by the window's number: the same on all ranks. */
static void draw_queries(Evaluator *evaluator, int64_t first)
{
    for (size_t s = 0; evaluator->queries && s < evaluator->batch; s++) {
        TokenRange rows = evaluator->rows[s];
        RngStream stream = rng_stream(0, "queries of distances", (uint64_t)first + s);
        for (size_t q = 0; q < DISTANCE_QUERIES; q++) {
            double place = ((double)q + rng_uniform(stream, q)) / DISTANCE_QUERIES;
            size_t row = (size_t)(place * (double)rows.count);
            evaluator->queries[s * DISTANCE_QUERIES + q] = rows.count > 0 ? rows.first + row : SIZE_MAX;
        }
    }
}

static void run_micro_batch(Evaluator *evaluator, ParamStore *params, int64_t first, int64_t count, Sums *sums,
                            LossFile *losses)
{
    ShareWatch watch = {evaluator->rows, evaluator->watched, evaluator->watched_distances, evaluator->queries};
    find_rows(evaluator, first, count);
    draw_queries(evaluator, first);
    model_evaluate(evaluator->pass, params, &evaluator->read, evaluator->losses, evaluator->correct, &watch);
    score(evaluator, first, count, sums);
    if (losses) write_losses(evaluator, first, count, losses);
}

/* Sums that of all ranks, which hold parts of sequences, or other sequences. */
static void add_accuracy(Evaluator *evaluator, Evaluation *e)
{
    int strata = source_strata(&evaluator->source.spec);
    double asked = (double)e->tokens / (double)e->windows, wrong = 0, flawless = 0; /* `asked` in each sequence */
    double windows[SOURCE_MAX_STRATA] = {0}, missed[SOURCE_MAX_STRATA] = {0};
    world_sum_doubles(evaluator->wrong, (int)e->windows);
    for (int64_t w = 0; w < e->windows; w++) {
        wrong += evaluator->wrong[w];
        flawless += evaluator->wrong[w] == 0;
        windows[w % strata]++;
        missed[w % strata] += evaluator->wrong[w];
    }
    e->accuracy = 1 - wrong / (double)e->tokens;
    e->sequences_right = flawless / (double)e->windows;
    for (int i = 0; i < strata; i++) e->accuracy_by_stratum[i] = 1 - missed[i] / (asked * windows[i]);
}

/* Over the sequences of all ranks, and of each of them over the ranks that hold parts of it. */
static void sum_shares(Evaluator *evaluator)
{
    size_t heads = head_count(evaluator), H = model_pass_model(evaluator->pass)->heads, B = evaluator->batch;
    memset(evaluator->shares, 0, heads * sizeof *evaluator->shares);
    for (size_t i = 0; i < heads; i++)
        for (size_t s = 0; s < B; s++)
            shares_add(&evaluator->shares[i], &evaluator->watched[(i / H * B + s) * H + i % H]);
    world_sum_doubles((double *)evaluator->shares, (int)heads * HEAD_SHARES_NUMBERS);
}

static void sum_distances(Evaluator *evaluator)
{
    size_t heads = head_count(evaluator), H = model_pass_model(evaluator->pass)->heads, B = evaluator->batch;
    if (!evaluator->distances) return;
    memset(evaluator->distances, 0, heads * sizeof *evaluator->distances);
    for (size_t i = 0; i < heads; i++)
        for (size_t s = 0; s < B; s++)
            distances_add(&evaluator->distances[i], &evaluator->watched_distances[(i / H * B + s) * H + i % H]);
    world_sum_doubles((double *)evaluator->distances, (int)heads * HEAD_DISTANCES_NUMBERS);
}

static Evaluation outcome(Evaluator *evaluator, Sums own, double start_seconds)
{
    double sums[3] = {own.loss, own.targets, own.bytes};
    world_sum_doubles(sums, 3);
    const Tokenizer *tokenizer = tokenizer_of(evaluator);
    bool has_bytes = tokenizer && tokenizer_has_pieces(tokenizer) && sums[2] > 0;
    Evaluation e = {
        .complete = true,
        .loss = sums[0] / sums[1],
        .perplexity = exp(sums[0] / sums[1]),
        .bits_per_byte = has_bytes ? sums[0] / log(2) / sums[2] : NAN,
        .windows = evaluator->windows,
        .stride = evaluator->stride,
        .tokens = (int64_t)sums[1],
        .bytes = (int64_t)sums[2],
        .accuracy = NAN,
        .sequences_right = NAN,
        .shares = evaluator->shares,
        .distances = evaluator->distances,
    };
    for (int i = 0; i < SOURCE_MAX_STRATA; i++) e.accuracy_by_stratum[i] = NAN;
    if (evaluator->wrong) add_accuracy(evaluator, &e);
    sum_shares(evaluator);
    sum_distances(evaluator);
    e.seconds = usage_seconds() - start_seconds;
    return e;
}

Evaluation evaluator_run(Evaluator *evaluator, ParamStore *params, LossFile *losses, const StopClock *clock)
{
    int64_t B = (int64_t)evaluator->batch, groups = evaluator->topology->data_ranks;
    double start = usage_seconds();
    Sums sums = {0};
    size_t watched = head_count(evaluator) * evaluator->batch;
    memset(evaluator->watched, 0, watched * sizeof *evaluator->watched);
    if (evaluator->distances) memset(evaluator->watched_distances, 0, watched * sizeof *evaluator->watched_distances);
    if (evaluator->wrong) memset(evaluator->wrong, 0, (size_t)evaluator->windows * sizeof *evaluator->wrong);
    for (int64_t round = 0; round < evaluator->windows; round += B * groups) { /* all ranks judge what was read */
        int64_t first = round + B * evaluator->topology->data_rank, rest = evaluator->windows - first;
        int64_t count = rest < 0 ? 0 : rest < B ? rest : B;
        Message problem;
        bool read = read_micro_batch(evaluator, first, count, &problem);
        if (require_read(read, clock, &problem, losses)) return (Evaluation){.complete = false};
        run_micro_batch(evaluator, params, first, count, &sums, losses); /* also without windows: all ranks do */
    }
    return outcome(evaluator, sums, start);
}
