/* polysketch bench: times attention alone, or whole training steps, for a list of kinds and context lengths, and puts the
   achieved rate beside that of sgemm in the same run on the same cores: absolute times of shared machines prove little. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/facts.h"
#include "src/base/version.h"
#include "src/programs/bench_report.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"
#include "src/tensor/blas.h"

enum { MAX_CONTEXTS = 64 };

typedef struct BenchOptions {
    char variants[OPTION_TEXT_SIZE], contexts[OPTION_TEXT_SIZE], csv[OPTION_TEXT_SIZE], profile[OPTION_TEXT_SIZE];
    int64_t repeats, warmups;
    bool json;
} BenchOptions;

#define AT(field) offsetof(BenchOptions, field)

static const OptionRow rows[] = {
    {"", "variants", OPTION_TEXT, AT(variants), "random,learned,softmax,polynomial,performer", 1, 0, "", false,
     "comma-separated: softmax, polynomial, random, learned, projection (local exact), random-sketch, "
     "learned-sketch, projection-sketch (local sketch), performer; config = as configured"},
    {"", "contexts", OPTION_TEXT, AT(contexts), "512,1024,2048", 1, 0, "", false,
     "comma-separated context lengths; of decode: positions"},
    {"", "repeats", OPTION_INTEGER, AT(repeats), "3", 1, 1000, "", false, "timed runs; the median counts"},
    {"", "warmups", OPTION_INTEGER, AT(warmups), "1", 0, 1000, "", false,
     "runs before them: the first one also pays for the memory it touches"},
    {"", "profile", OPTION_TEXT, AT(profile), "", 1, 0, "", false,
     "step, attention: append the time of each phase to this CSV file, and print it"},
    {"", "csv", OPTION_TEXT, AT(csv), "", 1, 0, "", false, "append the rows to this CSV file"},
    {"", "json", OPTION_BOOL, AT(json), "false", 0, 0, "", false, "one JSON document instead of text, at the end"},
};

/* Names of attention options, for short. */
static const struct {
    const char *name, *kind, *sketch, *local; /* NULL: as configured */
} variants[] = {
    {"softmax", "softmax", NULL, NULL},
    {"polynomial", "polynomial", NULL, NULL},
    {"random", "polysketch", "random", "exact"},
    {"learned", "polysketch", "learned", "exact"},
    {"projection", "polysketch", "projection", "exact"},
    {"random-sketch", "polysketch", "random", "sketch"},
    {"learned-sketch", "polysketch", "learned", "sketch"},
    {"projection-sketch", "polysketch", "projection", "sketch"},
    {"performer", "performer", NULL, NULL},
    {"config", NULL, NULL, NULL},
};

const CommandHelp bench_help = {
    .usage = "[mpirun -n RANKS] polysketch bench step|attention|decode [FILE.ini] [options] [--section.key=value ...]",
    .text = "step: forward, backward, sum of gradients, optimizer, on random tokens.\n"
            "attention: forward and backward of the first layer's attention (B, N, 3C) -> (B, N, C).\n"
            "decode: tokens generated one by one from a position on, whose earlier state is taken to be zero; one "
            "rank.\n"
            "Useful operations are products with packed features and causal halves (decode: 2 per parameter); what is "
            "computed again is not counted. sgemm: 2048 cubed on the same cores, all ranks at once, before and after "
            "each run; of peak: the median of each run's rate over that of the two products beside it. comm.: share of "
            "the time in calls to other ranks, of the rank that waits least (the CSV also has what the others wait for "
            "it).\n"
            "Takes every option of polysketch train. Without model.vocab_size the vocabulary is 256.",
    .example = "polysketch bench step --variants=learned,softmax --contexts=2048,8192 --model.width=768 "
               "--model.heads=12 --model.layers=2 --train.batch_sequences=1 --csv=step.csv",
    .operands = "step|attention|decode",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .configuration = CONFIGURATION_TAKEN,
};

static bool set_variant(Config *config, const char *name, Message *problem)
{
    OptionTable options = config_options(config);
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        if (strcmp(name, variants[i].name) != 0) continue;
        if (variants[i].kind) config->pattern[0] = 0;
        return (!variants[i].kind || option_set(&options, 1, "attention.kind", variants[i].kind, problem)) &&
               (!variants[i].sketch || option_set(&options, 1, "attention.sketch", variants[i].sketch, problem)) &&
               (!variants[i].local || option_set(&options, 1, "attention.local", variants[i].local, problem));
    }
    return fail(problem, "--variants: '%s' is unknown. polysketch bench --help lists the variants", name);
}

static bool read_contexts(const char *list, int64_t contexts[MAX_CONTEXTS], int *count, Message *problem)
{
    const char *place = list;
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

/* The configuration of a row; leaves together when it cannot be. */
static Config row_config(const Config *config, const char *name, int64_t context)
{
    Message problem;
    Config row = *config;
    row.model.context_length = context;
    require_all(set_variant(&row, name, &problem) && config_finish(&row, world().size, &problem), &problem);
    return row;
}

static void measure_row(const Config *config, const char *name, const Benchmark *benchmark, const BenchOptions *options,
                        const BenchFiles *files, Facts *facts)
{
    Topology topology = topology_create((int)config->parallel.data_ranks, (ScanKind)config->parallel.scan);
    BenchRow row = bench_measure(config, benchmark, &topology, options->warmups, options->repeats);
    topology_destroy(&topology);
    facts_open(facts, NULL);
    facts_text(facts, "variant", "%-15s", name);
    facts_integer(facts, "context_length", " %8lld", config->model.context_length);
    facts_real(facts, "microseconds_per_token", " %12.3f", row.microseconds_per_token);
    facts_real(facts, "useful_gflops", " %10.1f", row.times.useful_gflops);
    facts_real(facts, "sgemm_gflops", " %10.1f", row.times.sgemm_gflops);
    facts_real(facts, "percent_of_peak", " %7.1f %%", 100 * row.times.fraction_of_peak);
    facts_real(facts, "communication_percent", " %7.2f %%", 100 * row.communication_fraction);
    facts_real(facts, "peak_gigabytes", " %9.2f\n", row.peak_rss_bytes / 1e9);
    bench_report_row(files, config, benchmark->name, &row, options->repeats);
    if (options->profile[0]) bench_report_profile(files, config, benchmark->name, &row, facts);
    facts_close(facts);
}

static void say_header(const Benchmark *benchmark, Facts *facts)
{
    facts_text(facts, "bench", "bench %s", benchmark->name);
    facts_text(facts, "source_version", " | polysketch %s", source_version());
    facts_integer(facts, "ranks", " | %lld ranks", world().size);
    facts_integer(facts, "threads", " x %lld threads", omp_get_max_threads());
    facts_text(facts, "blas_library", " | %s", blas_library_name());
    facts_text(facts, "blas_kernel", " %s\n", blas_kernel_name());
    facts_say(facts, "%-15s %8s %12s %10s %10s %9s %9s %9s\n", "variant", "context", "us/token", "GF/s", "sgemm",
              "of peak", "comm.", "peak GB");
}

static void measure_all(const Config *config, const Benchmark *benchmark, const BenchOptions *options, Facts *facts)
{
    Message problem;
    int64_t contexts[MAX_CONTEXTS];
    int count;
    require_all(read_contexts(options->contexts, contexts, &count, &problem), &problem);
    for (int measuring = 0; measuring <= 1; measuring++) { /* all rows are checked before the first is measured */
        BenchFiles files = {0};
        if (measuring) {
            files = bench_files_open(options->csv, options->profile);
            say_header(benchmark, facts);
            facts_open_list(facts, "rows");
        }
        char list[OPTION_TEXT_SIZE], *rest = list;
        snprintf(list, sizeof list, "%s", options->variants);
        for (char *name; (name = strtok_r(rest, ",", &rest));)
            for (int i = 0; i < count; i++) {
                Config row = row_config(config, name, contexts[i]);
                if (measuring) measure_row(&row, name, benchmark, options, &files, facts);
            }
        bench_files_close(&files);
        if (measuring) facts_close(facts);
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
    Message problem;
    const Benchmark *benchmark = bench_find(what);
    if (!benchmark) fail(&problem, "say what to time: polysketch bench step, attention or decode; --help explains");
    require_all(benchmark != NULL, &problem);
    bool fits = strcmp(what, "decode") != 0 || world().size == 1;
    if (!fits) fail(&problem, "bench decode is for one rank, not %d. Start it without mpirun", world().size);
    require_all(fits, &problem);
    if (config.model.vocab_size == 0) config.model.vocab_size = 256;
    Facts *facts = facts_create(options.json);
    measure_all(&config, benchmark, &options, facts);
    facts_finish(facts);
    facts_destroy(facts);
    return EXIT_SUCCESS;
}
