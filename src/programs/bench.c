/* polysketch bench: times attention alone, or whole training steps, for a list of kinds and context lengths, and puts the
   achieved rate beside that of sgemm in the same run on the same cores: absolute times of shared machines prove little. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/gradient_reduce.h"
#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/phase.h"
#include "src/base/rng.h"
#include "src/base/usage.h"
#include "src/base/version.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"
#include "src/model/decode.h"
#include "src/tensor/blas.h"
#include "src/train/adamw.h"
#include "src/train/memory_report.h"

typedef struct BenchOptions {
    char variants[OPTION_TEXT_SIZE], contexts[OPTION_TEXT_SIZE], csv[OPTION_TEXT_SIZE], profile[OPTION_TEXT_SIZE];
    int64_t repeats, warmups;
    bool help;
} BenchOptions;

#define AT(field) offsetof(BenchOptions, field)

static const OptionRow rows[] = {
    {"", "variants", OPTION_TEXT, AT(variants), "random,learned,softmax,polynomial,performer", 0, 0, "", false,
     "comma-separated: softmax, polynomial, random, learned (local exact), random-sketch, learned-sketch (local "
     "sketch), "
     "performer; config = as configured"},
    {"", "contexts", OPTION_TEXT, AT(contexts), "512,1024,2048", 0, 0, "", false,
     "comma-separated context lengths; of decode: positions"},
    {"", "repeats", OPTION_INTEGER, AT(repeats), "3", 1, 1000, "", false, "timed runs; the median counts"},
    {"", "warmups", OPTION_INTEGER, AT(warmups), "1", 0, 1000, "", false,
     "runs before them: the first one also pays for the memory it touches"},
    {"", "profile", OPTION_TEXT, AT(profile), "", 0, 0, "", false,
     "step, attention: append the time of each phase to this CSV file, and print it"},
    {"", "csv", OPTION_TEXT, AT(csv), "", 0, 0, "", false, "append the rows to this CSV file"},
    {"", "help", OPTION_BOOL, AT(help), "false", 0, 0, "", false, "print this"},
};

typedef struct BenchVariant {
    const char *name;
    int kind, sketch, local;
} BenchVariant;

static const BenchVariant bench_variants[] = {
    {"softmax", ATTENTION_SOFTMAX, SKETCH_LEARNED, LOCAL_EXACT},
    {"polynomial", ATTENTION_POLYNOMIAL, SKETCH_LEARNED, LOCAL_EXACT},
    {"random", ATTENTION_POLYSKETCH, SKETCH_RANDOM, LOCAL_EXACT},
    {"learned", ATTENTION_POLYSKETCH, SKETCH_LEARNED, LOCAL_EXACT},
    {"random-sketch", ATTENTION_POLYSKETCH, SKETCH_RANDOM, LOCAL_SKETCH},
    {"learned-sketch", ATTENTION_POLYSKETCH, SKETCH_LEARNED, LOCAL_SKETCH},
    {"performer", ATTENTION_PERFORMER, SKETCH_LEARNED, LOCAL_SKETCH},
};
enum { BENCH_VARIANTS = sizeof bench_variants / sizeof *bench_variants, MAX_CONTEXTS = 64, DECODED_TOKENS = 32 };

static void print_help(const OptionTable *table)
{
    printf(
        "Usage: [mpirun -n RANKS] polysketch bench step|attention|decode [FILE.ini] [options] [--section.key=value "
        "...]\n\n"
        "step: forward, backward, sum of gradients, AdamW, on random tokens. attention: forward and backward of one "
        "layer's\n"
        "attention (B, N, 3C) -> (B, N, C). decode: tokens generated one by one from a position on, whose earlier "
        "state "
        "is\n"
        "taken to be zero; one rank. Useful operations are products with packed features and causal halves (decode: "
        "2 per "
        "parameter);\n"
        "what is computed again is not counted. sgemm: 2048 cubed on the same cores, all ranks at once, before and "
        "after "
        "each run;\n"
        "of peak: the median of each run's rate over that of the two products beside it. comm.: share of the time in "
        "calls to\n"
        "other ranks, of the rank that waits least (the CSV also has what the others wait for it).\n"
        "Takes every option of polysketch train. Without model.vocab_size the vocabulary is 256.\n\n");
    option_print_help(table, stdout);
    printf("\nExample:\n  polysketch bench step --variants=learned,softmax --contexts=2048,8192 --model.width=768 "
           "--model.heads=12 --model.layers=2 --train.batch_sequences=1 --csv=step.csv\n");
}

/* ---- timing --------------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Seconds of the slowest rank. */
static double run_seconds(void (*run)(void *), void *context)
{
    world_barrier();
    double start = usage_seconds(), seconds;
    run(context);
    seconds = usage_seconds() - start;
    world_max_doubles(&seconds, 1);
    return seconds;
}

static double median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static real *random_values(size_t count, uint64_t purpose)
{
    real *values = checked_calloc(count, sizeof *values);
    RngStream stream = rng_stream(1, "bench", purpose);
    for (size_t i = 0; i < count; i++) { /* one word each: cheap, and normal enough in variance */
        uint32_t words[4];
        rng_words(stream, i / 4, words);
        values[i] = (real)(((double)words[i % 4] * 0x1p-32 - 0.5) * 3.4641016151377544);
    }
    return values;
}

typedef struct GemmCase {
    real *a, *b, *c;
    size_t n;
} GemmCase;

static void run_gemm(void *context)
{
    GemmCase *g = context;
    gemm_nn(g->c, g->n, g->a, g->n, g->b, g->n, g->n, g->n, g->n, 1, 0);
}

static GemmCase gemm_case(void)
{
    size_t n = 2048;
    return (GemmCase){random_values(n * n, 1), random_values(n * n, 2), checked_calloc(n * n, sizeof(real)), n};
}

static void destroy_gemm(GemmCase *g) { free(g->a), free(g->b), free(g->c); }

/* Products and the time they took, the same on all ranks. */
typedef struct GemmSample {
    double products, seconds;
} GemmSample;

/* One product, or more of them for as long as `least_seconds`. */
static GemmSample sample_gemm(GemmCase *g, double least_seconds)
{
    GemmSample sample = {0};
    do {
        sample.seconds += run_seconds(run_gemm, g);
        sample.products++;
    } while (sample.seconds < least_seconds);
    return sample;
}

/* GF/s of all ranks together, over two samples. */
static double gemm_rate(const GemmCase *g, GemmSample a, GemmSample b)
{
    double n = (double)g->n;
    return 2e-9 * n * n * n * (a.products + b.products) / (a.seconds + b.seconds) * world().size;
}

/* ---- what is timed -------------------------------------------------------------------------------------------------- */

typedef struct BenchCase {
    const Config *config;
    Model *model;
    Topology *topology;
    ModelPass *pass;
    AttentionShape shape;
    real *params, *grads, *m, *v;
    int32_t *inputs, *targets;
    real *qkv, *out, *saved, *d_out, *d_qkv;
    Decoder *decoder;
    Arena scratch;
    double reduce_seconds;
    int64_t step;
} BenchCase;

static void run_step(void *context)
{
    BenchCase *c = context;
    const ParamTable *table = &c->model->table;
    int64_t micro_batches =
        c->config->train.batch_sequences / c->config->parallel.data_ranks / c->config->train.micro_batch_sequences;
    memset(c->grads, 0, table->trained_count * sizeof(real));
    for (int64_t i = 0; i < micro_batches; i++)
        model_train(c->pass, c->params, c->grads, c->inputs, c->targets, (real)1e-6, (DropoutKey){1, 1, 0});
    c->reduce_seconds += gradient_reduce(c->grads, table->trained_count);
    double norm = adamw_gradient_norm(table, c->grads);
    adamw_update(table, &c->config->train, c->params, c->m, c->v, c->grads, 1e-6, adamw_clip_factor(norm, 1),
                 ++c->step);
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
        .grads = c->grads,
        .qkv = c->qkv,
        .out = c->out,
        .saved = c->saved,
        .d_out = c->d_out,
        .d_qkv = c->d_qkv,
        .scratch = &c->scratch,
    };
    layer->kind->forward(&run);
    layer->kind->backward(&run);
}

static void run_decode(void *context)
{
    BenchCase *c = context;
    decoder_seek(c->decoder, (size_t)c->config->model.context_length);
    for (int32_t i = 0; i < DECODED_TOKENS; i++) decoder_step(c->decoder, i % (int32_t)c->model->vocab_size);
}

static void prepare_step(BenchCase *c)
{
    const ParamTable *table = &c->model->table;
    c->grads = checked_calloc(table->trained_count, sizeof(real));
    c->pass = model_pass_create(c->model, c->shape, c->topology->link, PASS_TRAIN);
    size_t tokens = c->shape.sequences * model_pass_tokens(c->pass);
    c->m = checked_calloc(table->trained_count, sizeof(real));
    c->v = checked_calloc(table->trained_count, sizeof(real));
    c->inputs = checked_calloc(tokens, sizeof *c->inputs);
    c->targets = checked_calloc(tokens, sizeof *c->targets);
    for (size_t i = 0; i < tokens; i++) {
        double uniform = rng_uniform(rng_stream(1, "bench tokens", 0), i);
        c->inputs[i] = (int32_t)(uniform * (double)c->model->vocab_size);
        c->targets[i] = (int32_t)((1 - uniform) * (double)(c->model->vocab_size - 1));
    }
}

static void prepare_attention(BenchCase *c)
{
    c->grads = checked_calloc(c->model->table.trained_count, sizeof(real));
    const AttentionLayer *layer = &c->model->layers[0].attention;
    size_t count = c->shape.sequences * c->shape.tokens * c->model->width;
    Arena measure = arena_measure();
    layer->kind->plan(layer, &c->shape, &measure);
    c->scratch = arena_create(measure.peak, "scratch memory");
    c->qkv = random_values(3 * count, 3);
    c->d_out = random_values(count, 4);
    c->out = checked_calloc(count, sizeof(real));
    c->d_qkv = checked_calloc(3 * count, sizeof(real));
    c->saved = checked_calloc(layer->kind->saved_count(layer, &c->shape), sizeof(real));
}

static void prepare_decode(BenchCase *c)
{
    c->decoder = decoder_create(c->model, c->params, (size_t)c->config->model.context_length + DECODED_TOKENS);
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
    return model_train_flops(c->model, (size_t)c->config->model.context_length) *
           (double)c->config->train.batch_sequences;
}

static double attention_flops(const BenchCase *c)
{
    size_t T = (size_t)c->config->model.context_length;
    AttentionShape whole = model_shape(c->config, 1, T, 0, 1);
    const AttentionLayer *layer = &c->model->layers[0].attention;
    return 3 * layer->kind->cost(layer, &whole).forward_flops * attention_tokens(c) / (double)T;
}

static double decode_flops(const BenchCase *c) { return 2.0 * (double)c->model->table.total_count * DECODED_TOKENS; }

/* What `polysketch bench <name>` does. */
typedef struct Benchmark {
    const char *name;
    void (*prepare)(BenchCase *);
    void (*run)(void *);
    double (*tokens)(const BenchCase *); /* of one run, all ranks */
    double (*flops)(const BenchCase *);
    bool trains;
} Benchmark;

static const Benchmark benchmarks[] = {
    {"step", prepare_step, run_step, step_tokens, step_flops, true},
    {"attention", prepare_attention, run_attention, attention_tokens, attention_flops, false},
    {"decode", prepare_decode, run_decode, decode_tokens, decode_flops, false},
};

static void destroy(BenchCase *c)
{
    real *blocks[] = {c->params, c->grads, c->m, c->v, c->qkv, c->out, c->saved, c->d_out, c->d_qkv};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(c->inputs), free(c->targets);
    decoder_destroy(c->decoder);
    arena_destroy(&c->scratch);
    model_pass_destroy(c->pass);
    model_destroy(c->model);
}

/* ---- the table ------------------------------------------------------------------------------------------------------ */

typedef struct BenchRow {
    double microseconds_per_token, useful_gflops, sgemm_gflops, fraction_of_peak;
    double communication_fraction;        /* of the rank that spends least in it: it waits for no other */
    double waiting_fraction;              /* what the rank that spends most has more: it waits for slower ones */
    double peak_rss_bytes, planned_bytes; /* planned: whole steps only */
    double phases[PHASE_COUNT];           /* seconds, all runs */
    double seconds;                       /* all runs */
} BenchRow;

/* The sgemm before a run and that after it take a tenth of its time each; without a warm-up the first is one product. */
static const double GEMM_SHARE = 0.1;

/* Runs after a warm-up, between products of sgemm: a shared machine changes its speed within seconds, so each run is
   compared with the products just before and just after it. Medians. */
static void time_runs(BenchRow *row, void (*run)(void *), BenchCase *c, const BenchOptions *options, double flops)
{
    int64_t repeats = options->repeats;
    GemmCase gemm = gemm_case();
    double *columns = checked_calloc(3 * (size_t)repeats, sizeof *columns);
    double *rates = columns, *peaks = columns + repeats, *fractions = peaks + repeats;
    double linked = 0, run_time = 0;
    for (int64_t i = 0; i < options->warmups; i++) run_time = run_seconds(run, c);
    sample_gemm(&gemm, 0); /* warm-up */
    GemmSample before = sample_gemm(&gemm, GEMM_SHARE * run_time);
    for (int64_t i = 0; i < repeats; i++) {
        double link_start = topology_communication_seconds(c->topology) + c->reduce_seconds;
        phase_reset();
        run_time = run_seconds(run, c);
        for (int p = 0; p < PHASE_COUNT; p++) row->phases[p] += phase_seconds((Phase)p);
        linked += topology_communication_seconds(c->topology) + c->reduce_seconds - link_start;
        row->seconds += run_time;
        GemmSample after = sample_gemm(&gemm, GEMM_SHARE * run_time);
        rates[i] = 1e-9 * flops / run_time;
        peaks[i] = gemm_rate(&gemm, before, after);
        fractions[i] = rates[i] / peaks[i];
        before = after;
    }
    row->useful_gflops = median(rates, repeats);
    row->sgemm_gflops = median(peaks, repeats);
    row->fraction_of_peak = median(fractions, repeats);
    double extremes[2] = {linked / row->seconds, -linked / row->seconds};
    world_max_doubles(extremes, 2);
    row->communication_fraction = -extremes[1];
    row->waiting_fraction = extremes[0] + extremes[1];
    free(columns);
    destroy_gemm(&gemm);
}

static const Benchmark *find_benchmark(const char *name)
{
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++)
        if (strcmp(name, benchmarks[i].name) == 0) return &benchmarks[i];
    return NULL;
}

static BenchRow measure(const Config *config, const Benchmark *benchmark, const BenchOptions *options,
                        Topology *topology)
{
    usage_reset_peak();
    BenchCase c = {.config = config, .model = model_create(config), .topology = topology};
    const ParamTable *table = &c.model->table;
    c.shape = model_shape(config, (size_t)config->train.micro_batch_sequences, (size_t)config->model.context_length,
                          topology->link->position, topology->link->segments);
    c.params = checked_calloc(table->total_count, sizeof(real));
    param_table_initialise(table, 1, c.params);
    benchmark->prepare(&c);
    BenchRow row = {0};
    double flops = benchmark->flops(&c), tokens = benchmark->tokens(&c);
    time_runs(&row, benchmark->run, &c, options, flops);
    row.microseconds_per_token = 1e-3 * flops / tokens / row.useful_gflops;
    row.peak_rss_bytes = usage_peak_bytes();
    if (benchmark->trains) row.planned_bytes = memory_report(c.model, topology->sequence_ranks).total;
    world_max_doubles(&row.peak_rss_bytes, 1);
    destroy(&c);
    return row;
}

static FILE *open_csv(const char *path, const char *option, const char *header, Message *problem)
{
    FILE *file = fopen(path, "a");
    if (!file) {
        fail(problem, "cannot write '%s'. Choose a writable --%s", path, option);
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0 && ftell(file) == 0) fprintf(file, "%s\n", header);
    return file;
}

static const char rows_header[] =
    "kind,sketch,local,sketch_size,block_length,context,layers,ranks,threads,microseconds_per_token,useful_gflops,"
    "sgemm_gflops,fraction_of_peak,communication_fraction,peak_rss_bytes,source_version,what,width,heads,vocab_size,"
    "batch_sequences,recompute,stretch_length,scan,planned_bytes,waiting_fraction,repeats,kernel";
static const char profile_header[] =
    "kind,sketch,local,sketch_size,block_length,context,layers,ranks,threads,what,vocab_size,"
    "phase,microseconds_per_token,share,source_version";

static void option_word(const Config *config, const char *name, char word[OPTION_TEXT_SIZE])
{
    OptionTable table = config_options((Config *)config);
    char candidate[128];
    for (int i = 0; i < table.count; i++) {
        option_name(&table.rows[i], candidate);
        if (strcmp(candidate, name) == 0) option_format(&table.rows[i], config, word);
    }
}

/* The values of options, each followed by a comma. */
static void write_options(FILE *file, const Config *config, const char *const *names, size_t count)
{
    char word[OPTION_TEXT_SIZE];
    for (size_t i = 0; i < count; i++) {
        option_word(config, names[i], word);
        fprintf(file, "%s,", word);
    }
}

static const char *const leading_options[] = {"attention.kind",        "attention.sketch",       "attention.local",
                                              "attention.sketch_size", "attention.block_length", "model.context_length",
                                              "model.layers"};
static const char *const trailing_options[] = {"model.width",           "model.heads",     "model.vocab_size",
                                               "train.batch_sequences", "train.recompute", "train.stretch_length",
                                               "parallel.scan"};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void write_csv_row(FILE *file, const Config *config, const char *what, const BenchRow *row, int64_t repeats)
{
    write_options(file, config, leading_options, COUNT(leading_options));
    fprintf(file, "%d,%d,%.6g,%.6g,%.6g,%.4f,%.4f,%.0f,%s,%s,", world().size, omp_get_max_threads(),
            row->microseconds_per_token, row->useful_gflops, row->sgemm_gflops, row->fraction_of_peak,
            row->communication_fraction, row->peak_rss_bytes, source_version(), what);
    write_options(file, config, trailing_options, COUNT(trailing_options));
    fprintf(file, "%.0f,%.4f,%lld,%s\n", row->planned_bytes, row->waiting_fraction, (long long)repeats,
            blas_kernel_name());
    fflush(file);
}

/* Of rank 0; phases that took no time are left out. */
static void report_profile(FILE *file, const Config *config, const char *what, const BenchRow *row)
{
    for (int p = 0; p < PHASE_COUNT; p++) {
        double share = row->phases[p] / row->seconds;
        if (share < 5e-5) continue;
        log_line("    %-28s %10.3f us/token %6.1f %%", phase_name((Phase)p), share * row->microseconds_per_token,
                 100 * share);
        if (!file) continue;
        write_options(file, config, leading_options, COUNT(leading_options));
        fprintf(file, "%d,%d,%s,%lld,\"%s\",%.6g,%.4f,%s\n", world().size, omp_get_max_threads(), what,
                (long long)config->model.vocab_size, phase_name((Phase)p), share * row->microseconds_per_token, share,
                source_version());
        fflush(file);
    }
}

static Config with_variant(const Config *config, const BenchVariant *variant, int64_t context)
{
    Config changed = *config;
    changed.model.context_length = context;
    if (!variant) return changed;
    changed.attention.kind = variant->kind;
    changed.attention.sketch = variant->sketch;
    changed.attention.local = variant->local;
    return changed;
}

static bool find_variant(const char *name, const BenchVariant **variant, Message *problem)
{
    *variant = NULL;
    for (int i = 0; i < BENCH_VARIANTS; i++)
        if (strcmp(name, bench_variants[i].name) == 0) *variant = &bench_variants[i];
    return *variant || strcmp(name, "config") == 0 ||
           fail(problem, "--variants: '%s' is unknown. polysketch bench --help lists the variants", name);
}

static bool read_contexts(const char *list, int64_t contexts[MAX_CONTEXTS], int *count, Message *problem)
{
    const char *place = list;
    if (!*place) return fail(problem, "--contexts is empty. Example: --contexts=1024,2048");
    for (*count = 0; *place; (*count)++) {
        char *end;
        long long value = strtoll(place, &end, 10);
        if (end == place || value < 1 || *count == MAX_CONTEXTS || (*end && *end != ','))
            return fail(problem, "--contexts = '%s' is not a list of at most %d lengths. Example: 1024,2048", list,
                        MAX_CONTEXTS);
        contexts[*count] = value;
        place = *end ? end + 1 : end;
    }
    return true;
}

typedef struct Outputs {
    FILE *csv, *profile; /* rank 0; NULL when not asked for */
} Outputs;

/* The configuration of a row; leaves together when it cannot be. */
static Config row_config(const Config *config, const char *name, int64_t context)
{
    Message problem;
    const BenchVariant *variant;
    require_all(find_variant(name, &variant, &problem), &problem);
    Config resolved = with_variant(config, variant, context);
    require_all(config_check_data_ranks(&resolved, world().size, &problem), &problem);
    config_resolve(&resolved);
    require_all(config_check_model(&resolved, &problem) && config_check_ranks(&resolved, world().size, &problem),
                &problem);
    return resolved;
}

static void measure_row(const Config *resolved, const char *name, const Benchmark *benchmark,
                        const BenchOptions *options, const Outputs *outputs)
{
    Topology topology = topology_create((int)resolved->parallel.data_ranks, (ScanKind)resolved->parallel.scan);
    BenchRow row = measure(resolved, benchmark, options, &topology);
    topology_destroy(&topology);
    log_line("%-15s %8lld %12.3f %10.1f %10.1f %7.1f %% %7.2f %% %9.2f", name,
             (long long)resolved->model.context_length, row.microseconds_per_token, row.useful_gflops, row.sgemm_gflops,
             100 * row.fraction_of_peak, 100 * row.communication_fraction, row.peak_rss_bytes / 1e9);
    if (outputs->csv) write_csv_row(outputs->csv, resolved, benchmark->name, &row, options->repeats);
    if (options->profile[0]) report_profile(outputs->profile, resolved, benchmark->name, &row);
}

static Outputs open_outputs(const BenchOptions *options)
{
    Message problem;
    Outputs outputs = {0};
    bool ok = true;
    if (world().rank == 0) {
        if (options->csv[0]) ok = (outputs.csv = open_csv(options->csv, "csv", rows_header, &problem)) != NULL;
        if (ok && options->profile[0])
            ok = (outputs.profile = open_csv(options->profile, "profile", profile_header, &problem)) != NULL;
    }
    require_all(ok, &problem);
    return outputs;
}

static void print_header(const Benchmark *benchmark)
{
    log_line("bench %s | polysketch %s | %d ranks x %d threads | OpenBLAS %s", benchmark->name, source_version(),
             world().size, omp_get_max_threads(), blas_kernel_name());
    log_line("%-15s %8s %12s %10s %10s %9s %9s %9s", "variant", "context", "us/token", "GF/s", "sgemm", "of peak",
             "comm.", "peak GB");
}

static void measure_all(const Config *config, const Benchmark *benchmark, const BenchOptions *options)
{
    Message problem;
    int64_t contexts[MAX_CONTEXTS];
    int count;
    require_all(read_contexts(options->contexts, contexts, &count, &problem), &problem);
    for (int measuring = 0; measuring <= 1; measuring++) { /* all rows are checked before the first is measured */
        Outputs outputs = {0};
        if (measuring) {
            outputs = open_outputs(options);
            print_header(benchmark);
        }
        char list[OPTION_TEXT_SIZE], *rest = list;
        snprintf(list, sizeof list, "%s", options->variants);
        for (char *name; (name = strtok_r(rest, ",", &rest));)
            for (int i = 0; i < count; i++) {
                Config resolved = row_config(config, name, contexts[i]);
                if (measuring) measure_row(&resolved, name, benchmark, options, &outputs);
            }
        if (outputs.csv) fclose(outputs.csv);
        if (outputs.profile) fclose(outputs.profile);
    }
}

int bench_main(int argc, char **argv)
{
    static Config config;
    BenchOptions options;
    OptionTable own = {rows, sizeof rows / sizeof *rows, &options};
    const char *what = argc > 0 && argv[0][0] != '-' ? argv[0] : "";
    bool named = what[0] != 0;
    configuration_read(&own, &config, argc - named, argv + named);
    if (options.help) {
        if (world().rank == 0) print_help(&own);
        return EXIT_SUCCESS;
    }
    Message problem;
    const Benchmark *benchmark = find_benchmark(what);
    if (!benchmark) fail(&problem, "say what to time: polysketch bench step, attention or decode; --help explains");
    require_all(benchmark != NULL, &problem);
    bool fits = strcmp(what, "decode") != 0 || world().size == 1;
    if (!fits) fail(&problem, "bench decode is for one rank, not %d. Start it without mpirun", world().size);
    require_all(fits, &problem);
    if (config.model.vocab_size == 0) config.model.vocab_size = 256;
    measure_all(&config, benchmark, &options);
    return EXIT_SUCCESS;
}
