#include "src/train/evaluate.h"

#include <math.h>
#include <stdlib.h>

#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/usage.h"
#include "src/train/pass_loader.h"

struct Evaluator {
    const Topology *topology;
    TokenFile *file;
    BatchLoader *loader;
    ModelPass *pass;
    size_t batch, tokens; /* B, N */
    int64_t windows, stride;
    int32_t *inputs, *targets; /* (B, N) */
    real *losses;              /* (B, N) */
};

Evaluator *evaluator_create(const Topology *topology, TokenFile *file, ModelPass *pass, const EvaluateConfig *config,
                            Message *problem)
{
    const PassSpec *spec = model_pass_spec(pass);
    size_t stride = config->stride > 0 ? (size_t)config->stride : spec->context_length;
    BatchLoader *loader = pass_loader_evaluation(pass, file, stride, problem);
    if (!loader) return NULL;
    Evaluator *evaluator = checked_calloc(1, sizeof *evaluator);
    *evaluator = (Evaluator){.topology = topology, .file = file, .loader = loader, .pass = pass};
    evaluator->batch = spec->sequences;
    evaluator->tokens = model_pass_tokens(pass);
    evaluator->stride = (int64_t)stride;
    evaluator->windows = (int64_t)batch_loader_windows(loader);
    if (config->sequences > 0 && config->sequences < evaluator->windows) evaluator->windows = config->sequences;
    size_t count = evaluator->batch * evaluator->tokens;
    evaluator->inputs = checked_calloc(count, sizeof *evaluator->inputs);
    evaluator->targets = checked_calloc(count, sizeof *evaluator->targets);
    evaluator->losses = checked_calloc(count, sizeof *evaluator->losses);
    return evaluator;
}

void evaluator_destroy(Evaluator *evaluator)
{
    if (!evaluator) return;
    batch_loader_destroy(evaluator->loader);
    free(evaluator->inputs);
    free(evaluator->targets);
    free(evaluator->losses);
    free(evaluator);
}

int64_t evaluator_windows(const Evaluator *evaluator) { return evaluator->windows; }

/* sums: loss, tokens, bytes += those of target i of the micro-batch. */
static void add_loss(const Evaluator *evaluator, size_t i, double sums[3])
{
    size_t bytes;
    tokenizer_piece(&evaluator->file->tokenizer, evaluator->targets[i], &bytes);
    sums[0] += (double)evaluator->losses[i];
    sums[1]++;
    sums[2] += (double)bytes;
}

/* Of the windows first .. first + count - 1. Losses that are not scored become NaN. */
static void score(Evaluator *evaluator, int64_t first, int64_t count, double sums[3])
{
    size_t i = 0;
    for (int64_t s = 0; s < count; s++)
        for (size_t k = 0; k < model_pass_spec(evaluator->pass)->stretches; k++) {
            TokenRange range = model_pass_range(evaluator->pass, k);
            for (size_t t = 0; t < range.count; t++, i++)
                if (batch_loader_scores(evaluator->loader, (uint64_t)(first + s), range.first + t))
                    add_loss(evaluator, i, sums);
                else
                    evaluator->losses[i] = (real)NAN;
        }
}

/* Reads `count` windows from `first` on. A short micro-batch at the end of the file is filled up with the first window: the
   pass always computes a full one, and those losses are not used. */
static bool read_micro_batch(Evaluator *evaluator, int64_t first, int64_t count, Message *problem)
{
    int64_t B = (int64_t)evaluator->batch;
    bool good = batch_loader_sequential(evaluator->loader, (uint64_t)first, count, evaluator->inputs,
                                        evaluator->targets, problem);
    for (int64_t i = count; good && i < B; i++) {
        size_t place = (size_t)i * evaluator->tokens;
        good = batch_loader_sequential(evaluator->loader, 0, 1, evaluator->inputs + place, evaluator->targets + place,
                                       problem);
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
    const real *piece = evaluator->losses;
    for (int64_t s = 0; s < count; s++)
        for (size_t k = 0; k < model_pass_spec(evaluator->pass)->stretches; k++) {
            TokenRange range = model_pass_range(evaluator->pass, k);
            loss_file_write(losses, (size_t)(first + s), 1, range, piece);
            piece += range.count;
        }
}

static void run_micro_batch(Evaluator *evaluator, ParamStore *params, int64_t first, int64_t count, double sums[3],
                            LossFile *losses)
{
    model_evaluate(evaluator->pass, params, evaluator->inputs, evaluator->targets, evaluator->losses);
    score(evaluator, first, count, sums);
    if (losses) write_losses(evaluator, first, count, losses);
}

Evaluation evaluator_run(Evaluator *evaluator, ParamStore *params, LossFile *losses, const StopClock *clock)
{
    int64_t B = (int64_t)evaluator->batch, groups = evaluator->topology->data_ranks;
    double sums[3] = {0}, start = usage_seconds();
    for (int64_t round = 0; round < evaluator->windows; round += B * groups) { /* all ranks judge what was read */
        int64_t first = round + B * evaluator->topology->data_rank, rest = evaluator->windows - first;
        int64_t count = rest < 0 ? 0 : rest < B ? rest : B;
        Message problem;
        bool read = read_micro_batch(evaluator, first, count, &problem);
        if (require_read(read, clock, &problem, losses)) return (Evaluation){.complete = false};
        run_micro_batch(evaluator, params, first, count, sums, losses); /* also without windows: all ranks do */
    }
    world_sum_doubles(sums, 3);
    bool has_bytes = tokenizer_has_pieces(&evaluator->file->tokenizer) && sums[2] > 0;
    return (Evaluation){
        .complete = true,
        .loss = sums[0] / sums[1],
        .perplexity = exp(sums[0] / sums[1]),
        .bits_per_byte = has_bytes ? sums[0] / log(2) / sums[2] : NAN,
        .windows = evaluator->windows,
        .stride = evaluator->stride,
        .tokens = (int64_t)sums[1],
        .bytes = (int64_t)sums[2],
        .seconds = usage_seconds() - start,
    };
}
