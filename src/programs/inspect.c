/* polysketch inspect: what is in a checkpoint, a token file or a metrics file. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/disk.h"
#include "io/file_format.h"
#include "io/metrics.h"
#include "io/token_file.h"
#include "mpi/world.h"
#include "src/train/config.h"
#include "src/base/memory.h"
#include "src/programs/programs.h"

typedef struct InspectOptions {
    bool help;
} InspectOptions;

static const OptionRow rows[] = {
    {"", "help", OPTION_BOOL, offsetof(InspectOptions, help), "false", 0, 0, "", false, "print this"},
};

static void print_help(const OptionTable *table)
{
    printf("Usage: polysketch inspect FILE\n\n"
           "Prints what is in a checkpoint, a token file or a metrics file, and checks its values.\n\n");
    option_print_help(table, stdout);
    printf("\nExample:\n"
           "  polysketch inspect results/run/checkpoints/step-00000100.h5\n");
}

/* ---- checkpoints ---- */

typedef struct Totals {
    size_t trained, constant, unknown, not_finite;
} Totals;

static void print_tensor(void *context, const CheckpointTensor *tensor)
{
    static const char *const words[] = {"trained", "constant", "-"};
    Totals *totals = context;
    size_t count = tensor_shape_count(&tensor->shape), not_finite = 0;
    double squares = 0, least = INFINITY, greatest = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        double value = (double)tensor->values[i];
        if (!isfinite(value)) not_finite++;
        squares += value * value;
        least = fmin(least, value);
        greatest = fmax(greatest, value);
    }
    char shape[TENSOR_SHAPE_TEXT];
    tensor_shape_format(&tensor->shape, shape);
    printf("%-58s %-16s %-8s %11.4g %11.4g %11.4g%s\n", tensor->name, shape, words[tensor->use], sqrt(squares), least,
           greatest, not_finite ? "  NOT FINITE" : "");
    *(tensor->use == TENSOR_TRAINED    ? &totals->trained
      : tensor->use == TENSOR_CONSTANT ? &totals->constant
                                       : &totals->unknown) += count;
    totals->not_finite += not_finite;
}

/* The states of the optimizer, a line for each. */
typedef struct StateTotals {
    char name[64]; /* of the state under way; "" before the first */
    size_t tensors, values, not_finite;
    double squares, greatest;
} StateTotals;

static void print_state(StateTotals *state)
{
    if (state->name[0])
        printf("%-15s %zu tensors, %zu values, norm %.4g, largest %.4g%s\n", state->name, state->tensors, state->values,
               sqrt(state->squares), state->greatest, state->not_finite ? "  NOT FINITE" : "");
}

static void begin_state(void *context, const char *name)
{
    StateTotals *state = context;
    print_state(state);
    size_t not_finite = state->not_finite;
    *state = (StateTotals){.not_finite = not_finite};
    snprintf(state->name, sizeof state->name, "%s", name);
}

static void add_state_tensor(void *context, const CheckpointTensor *tensor)
{
    StateTotals *state = context;
    size_t count = tensor_shape_count(&tensor->shape);
    state->tensors++;
    state->values += count;
    for (size_t i = 0; i < count; i++) {
        double value = (double)tensor->values[i];
        state->not_finite += !isfinite(value);
        state->squares += value * value;
        state->greatest = fmax(state->greatest, fabs(value));
    }
}

static bool print_states(const char *path, size_t *not_finite, Message *problem)
{
    StateTotals state = {0};
    printf("\noptimizer states\n");
    if (!checkpoint_visit_states(path, begin_state, add_state_tensor, &state, problem)) return false;
    print_state(&state);
    *not_finite += state.not_finite;
    return true;
}

/* The losses of a checkpoint's step stand in the metrics of its run folder. */
typedef struct StepLosses {
    int64_t step;
    size_t row; /* of the step in the group under way */
    bool found;
} StepLosses;

static void print_loss_at_step(void *context, const char *group, const char *column, const double *values, size_t count)
{
    StepLosses *losses = context;
    if (strcmp(column, "step") == 0) {
        losses->found = false;
        for (size_t i = 0; i < count; i++)
            if ((int64_t)values[i] == losses->step) losses->row = i, losses->found = true;
    }
    bool wanted = strcmp(column, "loss") == 0 || strcmp(column, "bits_per_byte") == 0;
    if (!losses->found || !wanted || losses->row >= count) return;
    printf("%-15s %.6g (%s)\n", column, values[losses->row], strcmp(group, "steps") == 0 ? "training" : "validation");
}

static void print_losses(const char *path, int64_t step)
{
    char metrics[DISK_PATH_SIZE], folder[DISK_PATH_SIZE];
    StepLosses losses = {.step = step};
    Message unused;
    disk_folder_of(path, folder);
    snprintf(metrics, sizeof metrics, "%.1000s/../metrics.h5", folder);
    if (access(metrics, R_OK) == 0) metrics_visit(metrics, print_loss_at_step, &losses, &unused);
}

static bool inspect_checkpoint(const char *path, Message *problem)
{
    CheckpointInfo info;
    Config config;
    Tokenizer tokenizer;
    OptionTable options = config_defaults(&config);
    if (!checkpoint_read_info(path, &info, problem) || !checkpoint_read_options(path, &options, problem) ||
        !checkpoint_read_tokenizer(path, &tokenizer, problem))
        return false;
    printf("step            %lld\ntokens seen     %lld\ncreated         %s\nsource version  %s\ntokenizer       %s%s\n",
           (long long)info.step, (long long)info.tokens_seen, info.created, info.source_version, tokenizer.name,
           tokenizer_has_pieces(&tokenizer) ? "" : " (no pieces)");
    tokenizer_destroy(&tokenizer);
    print_losses(path, info.step);
    printf("\n");
    option_print_ini(&options, NULL, stdout);
    printf("\n%-58s %-16s %-8s %11s %11s %11s\n", "tensor", "shape", "use", "norm", "min", "max");
    Totals totals = {0};
    if (!checkpoint_visit(path, print_tensor, &totals, problem)) return false;
    if (totals.unknown)
        printf("\n%zu values; without optimizer state it is not said which are trained\n", totals.unknown);
    else
        printf("\n%zu parameters, and %zu values that are not trained\n", totals.trained, totals.constant);
    if (!totals.unknown && !print_states(path, &totals.not_finite, problem)) return false;
    if (totals.not_finite)
        return fail(problem, "'%s': %zu values are not finite: training had diverged. Use an earlier checkpoint", path,
                    totals.not_finite);
    if (checkpoint_examine(path, -1, problem) != CHECKPOINT_WHOLE) return false;
    printf("all values are finite, and agree with their digests\n");
    return true;
}

/* ---- token files ---- */

/* Between quotes, with what cannot be printed as \n, \t or \xNN; UTF-8 goes to the terminal as it is. */
static void print_piece(const uint8_t *piece, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (piece[i] == '\n')
            printf("\\n");
        else if (piece[i] == '\t')
            printf("\\t");
        else if (piece[i] == '\\' || piece[i] == '"')
            printf("\\%c", piece[i]);
        else if (isprint(piece[i]) || (piece[i] >= 0x80 && length > 1))
            putchar(piece[i]);
        else
            printf("\\x%02x", piece[i]);
    }
}

static void print_first_tokens(const Tokenizer *tokenizer, const int32_t *tokens, size_t count)
{
    printf("first tokens    ");
    for (size_t i = 0; i < count && i < 16; i++) printf("%s%d", i ? " " : "", (int)tokens[i]);
    printf("\n");
    if (!tokenizer_has_pieces(tokenizer)) return;
    printf("as text         \"");
    for (size_t i = 0; i < count && i < 64; i++) {
        size_t length;
        const uint8_t *piece = tokenizer_piece(tokenizer, tokens[i], &length);
        print_piece(piece, length);
    }
    printf("\"\n");
}

static void print_most_frequent(const Tokenizer *tokenizer, size_t *counts, size_t total)
{
    printf("\n%10s %12s %8s  %s\n", "token", "count", "percent", tokenizer_has_pieces(tokenizer) ? "piece" : "");
    for (int place = 0; place < 10; place++) {
        int64_t best = 0;
        for (int64_t id = 1; id < tokenizer->vocab_size; id++)
            if (counts[id] > counts[best]) best = id;
        if (counts[best] == 0) return;
        size_t length;
        const uint8_t *piece = tokenizer_piece(tokenizer, best, &length);
        printf("%10lld %12zu %7.2f%%  ", (long long)best, counts[best], 100.0 * (double)counts[best] / (double)total);
        if (piece) {
            putchar('"');
            print_piece(piece, length);
            putchar('"');
        }
        printf("\n");
        counts[best] = 0;
    }
}

static bool print_contents(TokenFile *file, int32_t *tokens, size_t chunk, size_t *counts, Message *problem)
{
    for (size_t first = 0; first < file->count; first += chunk) {
        size_t count = file->count - first < chunk ? file->count - first : chunk;
        if (!token_file_read(file, first, count, tokens, problem)) return false; /* also checks every token */
        if (first == 0) print_first_tokens(&file->tokenizer, tokens, count);
        for (size_t i = 0; i < count; i++) counts[tokens[i]]++;
    }
    size_t used = 0;
    for (int64_t id = 0; id < file->vocab_size; id++) used += counts[id] > 0;
    printf("different       %zu tokens of the vocabulary occur\n", used);
    print_most_frequent(&file->tokenizer, counts, file->count);
    return true;
}

static bool print_documents(TokenFile *file, Message *problem)
{
    enum { CHUNK = 1 << 16 };
    if (file->document_count == 0) {
        printf("documents       the file does not say where they start\n");
        return true;
    }
    int64_t *starts = checked_calloc(CHUNK, sizeof *starts);
    size_t least = file->count, most = 0, start = 0;
    bool good = true;
    for (size_t first = 1; first <= file->document_count && good;
         first += CHUNK) { /* the last one ends with the file */
        size_t left = file->document_count - first, count = left < CHUNK ? left : CHUNK;
        good = token_file_documents(file, first, count, starts, problem);
        if (count < CHUNK) starts[count++] = (int64_t)file->count;
        for (size_t i = 0; i < count && good; start = (size_t)starts[i++]) {
            size_t length = (size_t)starts[i] - start;
            least = length < least ? length : least;
            most = length > most ? length : most;
        }
    }
    free(starts);
    if (good) printf("documents       %zu, of %zu to %zu tokens\n", file->document_count, least, most);
    return good;
}

static bool inspect_tokens(const char *path, Message *problem)
{
    enum { CHUNK = 1 << 20 };
    TokenFile *file = token_file_open(path, problem);
    if (!file) return false;
    printf("tokens          %zu, stored as uint%d\nvocabulary      %lld\ntokenizer       %s%s\n", file->count,
           8 * file->token_bytes, (long long)file->vocab_size, file->tokenizer.name,
           tokenizer_has_pieces(&file->tokenizer) ? "" : " (no pieces)");
    int32_t *tokens = checked_calloc(CHUNK, sizeof *tokens);
    size_t *counts = checked_calloc((size_t)file->vocab_size, sizeof *counts);
    bool good = print_documents(file, problem) && print_contents(file, tokens, CHUNK, counts, problem) &&
                token_file_examine(file, problem);
    free(counts);
    free(tokens);
    token_file_close(file);
    return good;
}

/* ---- metrics ---- */

static void print_column(void *context, const char *group, const char *column, const double *values, size_t count)
{
    (void)context;
    char name[160];
    snprintf(name, sizeof name, "/%s/%s", group, column);
    printf("%-40s %10zu ", name, count);
    for (size_t i = count > 3 ? count - 3 : 0; i < count; i++) printf(" %14.8g", values[i]);
    printf("\n");
}

static bool inspect_metrics(const char *path, Message *problem)
{
    printf("%-40s %10s  %14s\n", "column", "rows", "last values");
    return metrics_visit(path, print_column, NULL, problem);
}

/* ---- any file ---- */

/* A folder or a table as text has something beside or in it that can be inspected. */
static bool check_is_file(const char *path, Message *problem)
{
    char newest[CHECKPOINT_PATH_SIZE], folder[DISK_PATH_SIZE];
    int64_t step;
    struct stat status;
    bool is_folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    const char *end = strrchr(path, '.');
    if (is_folder && checkpoint_find_newest(path, INT64_MAX, newest, &step))
        return fail(problem, "'%s' is the folder of a run. Name a file in it, such as '%s'", path, newest);
    if (is_folder)
        return fail(problem, "'%s' is a folder. Name a checkpoint, a token file or a metrics file in it", path);
    if (!end || strcmp(end, ".csv") || access(path, R_OK)) return true;
    disk_folder_of(path, folder);
    return fail(problem, "'%s' is a table as text: look at it with any program. Of a run, '%s/metrics.h5' has the same",
                path, folder);
}

static bool inspect(const char *path, Message *problem)
{
    char format[64];
    int64_t version;
    if (!check_is_file(path, problem) || !file_format_read(path, format, &version, problem)) return false;
    printf("file            %s\nformat          %s, version %lld\n", path, format, (long long)version);
    if (strcmp(format, FORMAT_CHECKPOINT) == 0) return inspect_checkpoint(path, problem);
    if (strcmp(format, FORMAT_TOKENS) == 0) return inspect_tokens(path, problem);
    if (strcmp(format, FORMAT_METRICS) == 0) return inspect_metrics(path, problem);
    if (strcmp(format, FORMAT_LOSSES) == 0) {
        printf("losses per token of an evaluation: dataset /per_token_loss (sequences, T). Try: h5ls %s\n", path);
        return true;
    }
    if (strcmp(format, FORMAT_STATE) == 0) {
        printf("recurrent state of a text, for generate --load_state: groups layers.N. Try: h5ls -r %s\n", path);
        return true;
    }
    return fail(problem, "'%s' says it has the format '%.63s', which is unknown here. Try: h5ls -r %s", path, format,
                path);
}

int inspect_main(int argc, char **argv)
{
    InspectOptions options;
    OptionTable table = {rows, (int)(sizeof rows / sizeof *rows), &options};
    Message problem;
    const char *path = NULL;
    option_set_defaults(&table);
    bool good = option_read_arguments(&table, 1, argc, argv, &path, 1, &problem);
    if (good && !path && !options.help)
        good = fail(&problem, "which file? Usage: polysketch inspect FILE; --help explains");
    require_all(good, &problem);
    if (options.help) {
        if (world().rank == 0) print_help(&table);
        return EXIT_SUCCESS;
    }
    good = world().rank > 0 || inspect(path, &problem); /* the others only wait */
    require_all(good, &problem);
    return EXIT_SUCCESS;
}
