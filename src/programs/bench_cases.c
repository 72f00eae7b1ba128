#include "src/programs/bench_cases.h"

#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/base/usage.h"
#include "src/model/decode.h"
#include "src/train/memory_report.h"
#include "src/train/sgemm_rate.h"
#include "src/train/step.h"

enum { DECODED_TOKENS = 32 };

/* One row: a model, what is run with it, and what was found. */
typedef struct BenchCase {
    const Config *config;
    const Topology *topology;
    Model *model;
    PassSpec pass;
    AttentionShape shape;
    TrainStep *step; /* whole steps */
    int64_t steps;
    ParamStore *params; /* attention and decoding */
    real *qkv, *gate, *out, *saved, *d_out, *d_qkv, *d_gate;
    Decoder *decoder;
    Arena scratch;
    double link_seconds, linked; /* when the present run began; of all runs */
    double phases[PHASE_COUNT];  /* seconds, all runs */
} BenchCase;

/* Where documents matter, a sequence is a single one. */
static void random_tokens(void *context, uint64_t in_batch, const TokenBatch *part)
{
    const BenchCase *c = context;
    size_t tokens = c->shape.sequences * model_pass_tokens(c->step->pass), vocabulary = c->model->vocab_size;
    RngStream stream = rng_stream(1, "bench tokens", in_batch);
    for (size_t i = 0; i < tokens; i++) {
        double uniform = rng_uniform(stream, i);
        part->inputs[i] = (int32_t)(uniform * (double)vocabulary);
        part->targets[i] = (int32_t)((1 - uniform) * (double)(vocabulary - 1));
    }
}

/* The trainer's own step; its learning rate leaves the model as it is, more or less. */
static void run_step(void *context)
{
    BenchCase *c = context;
    ParamStore *store = c->step->store;
    train_step_gradients(c->step, random_tokens, c, 1);
    train_step_update(c->step, 1e-6, store->gradient_norm(store), ++c->steps);
}

static void run_attention(void *context)
{
    BenchCase *c = context;
    const AttentionLayer *layer = &c->model->layers[0].attention;
    AttentionRun run = {
        .layer = layer,
        .shape = c->shape,
        .link = c->topology->link,
        .params = c->params,
        .qkv = c->qkv,
        .gate = c->gate,
        .out = c->out,
        .saved = c->saved,
        .d_out = c->d_out,
        .d_qkv = c->d_qkv,
        .d_gate = c->d_gate,
        .scratch = &c->scratch,
    };
    layer->kind->forward(&run);
    layer->kind->backward(&run);
}

static void run_decode(void *context)
{
    BenchCase *c = context;
    decoder_seek(c->decoder, 0, (size_t)c->config->model.context_length);
    for (int32_t i = 0; i < DECODED_TOKENS; i++) decoder_step(c->decoder, i % (int32_t)c->model->vocab_size);
}

static void prepare_step(BenchCase *c)
{
    c->step = train_step_create(c->config, c->model, c->topology);
    param_store_initialise(c->step->store, 1);
}

static void prepare_params(BenchCase *c, StorePurpose purpose)
{
    c->params = param_store_create(&c->model->table, NULL, purpose);
    param_store_initialise(c->params, 1);
    param_store_acquire_all(c->params);
}

static void prepare_attention(BenchCase *c)
{
    prepare_params(c, STORE_GRADIENTS);
    const AttentionLayer *layer = &c->model->layers[0].attention;
    size_t count = c->shape.sequences * c->shape.tokens * c->model->width;
    Arena measure = arena_measure();
    layer->kind->plan(layer, &c->shape, &measure);
    c->scratch = arena_create(measure.peak, "scratch memory");
    c->qkv = operand_values(3 * count, 3);
    c->d_out = operand_values(count, 4);
    c->out = checked_calloc(count, sizeof(real));
    c->d_qkv = checked_calloc(3 * count, sizeof(real));
    if (attention_has_gate(layer)) {
        size_t gates = count / layer->head_width;
        c->gate = checked_calloc(gates, sizeof(real));
        c->d_gate = checked_calloc(gates, sizeof(real));
        for (size_t i = 0; i < gates; i++) c->gate[i] = (real)(i % 2 ? -0.007 : -0.018); /* a new model's: gate.c */
    }
    c->saved = checked_calloc(layer->kind->saved_count(layer, &c->shape), sizeof(real));
}

static void prepare_decode(BenchCase *c)
{
    prepare_params(c, STORE_VALUES);
    DecodeShape shape = {(size_t)c->config->model.context_length + DECODED_TOKENS, c->pass.block_length};
    c->decoder = decoder_create(c->model, c->params, shape, 1);
}

static double step_tokens(const BenchCase *c)
{
    return (double)(c->config->train.batch_sequences * c->config->model.context_length);
}

static double attention_tokens(const BenchCase *c)
{
    return (double)(c->config->train.micro_batch_sequences * c->config->parallel.data_ranks *
                    c->config->model.context_length);
}

static double decode_tokens(const BenchCase *c)
{
    (void)c;
    return DECODED_TOKENS;
}

static double step_flops(const BenchCase *c)
{
    return model_train_flops(c->model, c->pass.context_length, c->pass.block_length) *
           (double)c->config->train.batch_sequences;
}

static double attention_flops(const BenchCase *c)
{
    size_t T = c->pass.context_length;
    AttentionShape whole = pass_shape(&c->pass, 0, 1);
    whole.sequences = 1;
    const AttentionLayer *layer = &c->model->layers[0].attention;
    return 3 * layer->kind->cost(layer, &whole).forward_flops * attention_tokens(c) / (double)T;
}

static double decode_flops(const BenchCase *c) { return 2.0 * (double)c->model->table.total_count * DECODED_TOKENS; }

static const Benchmark benchmarks[] = {
    {"step", prepare_step, run_step, step_tokens, step_flops, true, false},
    {"attention", prepare_attention, run_attention, attention_tokens, attention_flops, false, true},
    {"decode", prepare_decode, run_decode, decode_tokens, decode_flops, false, false},
};

const Benchmark *bench_find(const char *name)
{
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++)
        if (strcmp(name, benchmarks[i].name) == 0) return &benchmarks[i];
    return NULL;
}

static void destroy(BenchCase *c)
{
    real *blocks[] = {c->qkv, c->gate, c->out, c->saved, c->d_out, c->d_qkv, c->d_gate};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    decoder_destroy(c->decoder);
    param_store_destroy(c->params);
    train_step_destroy(c->step);
    arena_destroy(&c->scratch);
    model_destroy(c->model);
}

/* ---- measuring ------------------------------------------------------------------------------------------------------ */

static double communication_seconds(const BenchCase *c)
{
    return topology_communication_seconds(c->topology) + (c->step ? c->step->store->seconds : 0);
}

static void begin_run(void *context)
{
    BenchCase *c = context;
    c->link_seconds = communication_seconds(c);
    phase_reset();
}

static void end_run(void *context)
{
    BenchCase *c = context;
    c->linked += communication_seconds(c) - c->link_seconds;
    for (int p = 0; p < PHASE_COUNT; p++) c->phases[p] += phase_seconds((Phase)p);
}

static double planned_bytes(const BenchCase *c)
{
    MemoryCase here = memory_case_here(c->config);
    MemoryReport report = memory_report(c->config, c->model, &c->pass, &here);
    return memory_report_resident(&report);
}

BenchRow bench_measure(const Config *config, const Benchmark *benchmark, const Topology *topology, int64_t warmups,
                       int64_t repeats)
{
    usage_reset_peak();
    ModelSpec spec = config_model_spec(config);
    if (benchmark->one_layer) spec.layers = 1;
    BenchCase c = {.config = config, .model = model_create(&spec), .topology = topology};
    c.pass = config_pass_spec(config);
    c.shape = pass_shape(&c.pass, topology->link->position, topology->link->segments);
    benchmark->prepare(&c);
    double flops = benchmark->flops(&c), tokens = benchmark->tokens(&c);
    BenchRow row = {.times = bench_time(benchmark->run, begin_run, end_run, &c, warmups, repeats, flops)};
    row.microseconds_per_token = 1e-3 * flops / tokens / row.times.useful_gflops;
    row.peak_rss_bytes = usage_peak_bytes();
    if (benchmark->trains) row.planned_bytes = planned_bytes(&c);
    double extremes[3] = {c.linked / row.times.seconds, -c.linked / row.times.seconds, row.peak_rss_bytes};
    world_max_doubles(extremes, 3);
    row.communication_fraction = -extremes[1];
    row.waiting_fraction = extremes[0] + extremes[1];
    row.peak_rss_bytes = extremes[2];
    memcpy(row.phases, c.phases, sizeof row.phases);
    destroy(&c);
    return row;
}
