#include "src/programs/bench_report.h"

#include <omp.h>
#include <string.h>

#include "io/disk.h"
#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/version.h"
#include "src/tensor/blas.h"

static FILE *open_csv(const char *path, const char *option, const char *header, Message *problem)
{
    FILE *file = fopen(path, "a+");
    if (!file) {
        fail(problem, "cannot write '%s'. Choose a writable --%s", path, option);
        return NULL;
    }
    char line[2048];
    rewind(file);
    if (!fgets(line, sizeof line, file)) {
        fprintf(file, "%s\n", header);
        return file;
    }
    line[strcspn(line, "\n")] = 0;
    if (strcmp(line, header) == 0) return file;
    fail(problem, "'%s' has other columns than are written now. Choose another --%s", path, option);
    fclose(file);
    return NULL;
}

/* The first of them is there by now. */
static bool separate_files(const char *rows_path, const char *profile_path, Message *problem)
{
    return !disk_same_file(rows_path, profile_path) ||
           fail(problem, "--csv and --profile name the same file '%s'. Give each its own", profile_path);
}

static const char rows_header[] =
    "kind,sketch,local,sketch_size,block_length,context,layers,ranks,threads,microseconds_per_token,useful_gflops,"
    "sgemm_gflops,fraction_of_peak,communication_fraction,peak_rss_bytes,source_version,what,"
    "shard,width,heads,vocab_size,"
    "batch_sequences,recompute,stretch_length,scan,planned_bytes,waiting_fraction,repeats,kernel,pattern,optimizer,"
    "gradient_sums,gate,local_weight,window_blocks,sketch_levels,sketch_expansion,node_shared";
static const char profile_header[] =
    "kind,sketch,local,sketch_size,block_length,context,layers,ranks,threads,what,vocab_size,"
    "phase,microseconds_per_token,share,source_version,shard,sketch_levels,sketch_expansion,node_shared";

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

/* The same at the end of a row: each after a comma. */
static void write_last_options(FILE *file, const Config *config, const char *const *names, size_t count)
{
    char word[OPTION_TEXT_SIZE];
    for (size_t i = 0; i < count; i++) {
        option_word(config, names[i], word);
        fprintf(file, ",%s", word);
    }
    fputc('\n', file);
    fflush(file);
}

static const char *const leading_options[] = {"attention.kind",        "attention.sketch",       "attention.local",
                                              "attention.sketch_size", "attention.block_length", "model.context_length",
                                              "model.layers"};
static const char *const trailing_options[] = {"model.width",           "model.heads",     "model.vocab_size",
                                               "train.batch_sequences", "train.recompute", "train.stretch_length",
                                               "parallel.scan"};
static const char *const last_options[] = {"train.optimizer",
                                           "parallel.gradient_sums",
                                           "attention.gate",
                                           "attention.local_weight",
                                           "attention.window_blocks",
                                           "attention.sketch_levels",
                                           "attention.sketch_expansion",
                                           "parallel.node_shared"};
static const char *const last_of_profile[] = {"parallel.shard", "attention.sketch_levels", "attention.sketch_expansion",
                                              "parallel.node_shared"};
#define COUNT(array) (sizeof(array) / sizeof *(array))

void bench_report_row(const BenchFiles *files, const Config *config, const char *what, const BenchRow *row,
                      int64_t repeats)
{
    FILE *file = files->rows;
    if (!file) return;
    char word[OPTION_TEXT_SIZE];
    option_word(config, "parallel.shard", word);
    write_options(file, config, leading_options, COUNT(leading_options));
    fprintf(file, "%d,%d,%.6g,%.6g,%.6g,%.4f,%.4f,%.0f,%s,%s,%s,", world().size, omp_get_max_threads(),
            row->microseconds_per_token, row->times.useful_gflops, row->times.sgemm_gflops, row->times.fraction_of_peak,
            row->communication_fraction, row->peak_rss_bytes, source_version(), what, word);
    write_options(file, config, trailing_options, COUNT(trailing_options));
    option_word(config, "attention.pattern", word);
    fprintf(file, "%.0f,%.4f,%lld,%s,\"%s\"", row->planned_bytes, row->waiting_fraction, (long long)repeats,
            blas_kernel_name(), word);
    write_last_options(file, config, last_options, COUNT(last_options));
}

/* Phases that took no time are left out. */
void bench_report_profile(const BenchFiles *files, const Config *config, const char *what, const BenchRow *row,
                          Facts *facts)
{
    FILE *file = files->profile;
    facts_open_list(facts, "phases");
    for (int p = 0; p < PHASE_COUNT; p++) {
        double share = row->phases[p] / row->times.seconds;
        if (share < 5e-5) continue;
        facts_open(facts, NULL);
        facts_text(facts, "phase", "    %-28s", phase_name((Phase)p));
        facts_real(facts, "microseconds_per_token", " %10.3f us/token", share * row->microseconds_per_token);
        facts_real(facts, "percent", " %6.1f %%\n", 100 * share);
        facts_close(facts);
        if (!file) continue;
        write_options(file, config, leading_options, COUNT(leading_options));
        fprintf(file, "%d,%d,%s,%lld,\"%s\",%.6g,%.4f,%s", world().size, omp_get_max_threads(), what,
                (long long)config->model.vocab_size, phase_name((Phase)p), share * row->microseconds_per_token, share,
                source_version());
        write_last_options(file, config, last_of_profile, COUNT(last_of_profile));
    }
    facts_close(facts);
}

BenchFiles bench_files_open(const char *rows_path, const char *profile_path)
{
    Message problem;
    BenchFiles files = {0};
    bool ok = true;
    if (world().rank == 0) {
        if (rows_path[0]) ok = (files.rows = open_csv(rows_path, "csv", rows_header, &problem)) != NULL;
        if (ok && profile_path[0])
            ok = separate_files(rows_path, profile_path, &problem) &&
                 (files.profile = open_csv(profile_path, "profile", profile_header, &problem)) != NULL;
    }
    require_all(ok, &problem);
    return files;
}

void bench_files_close(BenchFiles *files)
{
    if (files->rows) fclose(files->rows);
    if (files->profile) fclose(files->profile);
}
