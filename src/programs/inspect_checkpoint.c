/* polysketch inspect CHECKPOINT. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/disk.h"
#include "io/metrics.h"
#include "src/programs/inspect.h"
#include "src/train/config.h"

/* ---- what it is ---- */

/* The losses of a checkpoint's step stand in the metrics of its run folder. */
typedef struct StepLosses {
    int64_t step;
    size_t row; /* of the step in the group under way */
    bool found;
    Facts *facts;
} StepLosses;

static void say_loss_at_step(void *context, const char *group, const char *column, const double *values, size_t count)
{
    StepLosses *losses = context;
    if (strcmp(column, "step") == 0) {
        losses->found = false;
        for (size_t i = 0; i < count; i++)
            if ((int64_t)values[i] == losses->step) losses->row = i, losses->found = true;
    }
    bool wanted = strcmp(column, "loss") == 0 || strcmp(column, "bits_per_byte") == 0;
    if (!losses->found || !wanted || losses->row >= count) return;
    const char *where = strcmp(group, "steps") == 0 ? "training" : "validation";
    char name[64];
    snprintf(name, sizeof name, "%s_%s", where, column);
    facts_say(losses->facts, "%-15s ", column);
    facts_real(losses->facts, name, "%.6g", values[losses->row]);
    facts_say(losses->facts, " (%s)\n", where);
}

static void say_losses(const char *path, int64_t step, Facts *facts)
{
    char metrics[DISK_PATH_SIZE], folder[DISK_PATH_SIZE];
    StepLosses losses = {.step = step, .facts = facts};
    Message unused;
    disk_folder_of(path, folder);
    snprintf(metrics, sizeof metrics, "%.1000s/../metrics.h5", folder);
    if (access(metrics, R_OK) == 0) metrics_visit(metrics, say_loss_at_step, &losses, &unused);
}

static void say_option(const OptionRow *row, const void *values, Facts *facts)
{
    char name[128], text[OPTION_TEXT_SIZE];
    const char *value = (const char *)values + row->offset;
    option_name(row, name);
    option_format(row, values, text);
    switch (row->type) {
    case OPTION_INTEGER: facts_integer(facts, name, NULL, *(const int64_t *)value); break;
    case OPTION_REAL: facts_real(facts, name, NULL, *(const double *)value); break;
    case OPTION_BOOL: facts_flag(facts, name, *(const bool *)value); break;
    default: facts_text(facts, name, NULL, text);
    }
}

/* As text in the form of a configuration file. */
static void say_options(const OptionTable *options, bool json, Facts *facts)
{
    facts_open(facts, "options");
    for (int i = 0; i < options->count; i++) say_option(&options->rows[i], options->values, facts);
    facts_close(facts);
    if (!json) option_print_ini(options, NULL, stdout);
}

/* ---- its tensors ---- */

enum { HISTOGRAM_BINS = 16 };

typedef struct TensorStats {
    size_t count, not_finite;
    double norm, mean, deviation, least, greatest; /* of all values */
    size_t histogram[HISTOGRAM_BINS]; /* of values from the least to the greatest, where these are finite */
} TensorStats;

static void fill_histogram(TensorStats *stats, const float *values)
{
    double range = stats->greatest - stats->least;
    for (size_t i = 0; i < stats->count && isfinite(range); i++) {
        if (!isfinite(values[i])) continue;
        int bin = range > 0 ? (int)(((double)values[i] - stats->least) / range * HISTOGRAM_BINS) : 0;
        stats->histogram[bin < HISTOGRAM_BINS ? bin : HISTOGRAM_BINS - 1]++;
    }
}

static TensorStats stats_of(const CheckpointTensor *tensor)
{
    TensorStats stats = {.count = tensor_shape_count(&tensor->shape), .least = INFINITY, .greatest = -INFINITY};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < stats.count; i++) {
        double value = (double)tensor->values[i];
        stats.not_finite += !isfinite(value);
        sum += value;
        squares += value * value;
        stats.least = fmin(stats.least, value); /* leaves out what is not a number */
        stats.greatest = fmax(stats.greatest, value);
    }
    double count = (double)stats.count;
    stats.norm = sqrt(squares);
    stats.mean = sum / count;
    stats.deviation = sqrt(fmax(0, squares / count - stats.mean * stats.mean));
    fill_histogram(&stats, tensor->values);
    return stats;
}

/* A character for each bin, the darker the more are in it; a blank where nothing is. */
static void draw_histogram(const TensorStats *stats, char text[HISTOGRAM_BINS + 1])
{
    static const char ramp[] = " .:-=+*#%@";
    enum { DARKEST = sizeof ramp - 2 };
    size_t most = 1;
    for (int i = 0; i < HISTOGRAM_BINS; i++) most = stats->histogram[i] > most ? stats->histogram[i] : most;
    for (int i = 0; i < HISTOGRAM_BINS; i++) text[i] = ramp[(stats->histogram[i] * DARKEST + most - 1) / most];
    text[HISTOGRAM_BINS] = 0;
}

static void say_histogram(const TensorStats *stats, Facts *facts)
{
    char text[HISTOGRAM_BINS + 1];
    draw_histogram(stats, text);
    facts_say(facts, " |%s|", text);
    facts_open_list(facts, "histogram");
    for (int i = 0; i < HISTOGRAM_BINS; i++) facts_integer(facts, NULL, NULL, (int64_t)stats->histogram[i]);
    facts_close(facts);
}

typedef struct Totals {
    bool stats;
    Facts *facts;
    size_t values[TENSOR_USE_UNKNOWN + 1]; /* by use */
    size_t not_finite;
} Totals;

static const char *const use_words[] = {
    [TENSOR_TRAINED] = "trained", [TENSOR_CONSTANT] = "constant", [TENSOR_USE_UNKNOWN] = "-"};

void inspect_say_shape(const TensorShape *shape, Facts *facts)
{
    char text[TENSOR_SHAPE_TEXT];
    tensor_shape_format(shape, text);
    facts_say(facts, " %-16s", text);
    facts_open_list(facts, "shape");
    for (int i = 0; i < shape->dimensions; i++) facts_integer(facts, NULL, NULL, (int64_t)shape->extents[i]);
    facts_close(facts);
}

static void say_tensor(void *context, const CheckpointTensor *tensor)
{
    Totals *totals = context;
    Facts *facts = totals->facts;
    TensorStats stats = stats_of(tensor);
    facts_open(facts, NULL);
    facts_text(facts, "name", "%-58s", tensor->name);
    inspect_say_shape(&tensor->shape, facts);
    facts_text(facts, "use", totals->stats ? NULL : " %-8s", use_words[tensor->use]);
    facts_real(facts, "norm", " %11.4g", stats.norm);
    facts_real(facts, "min", " %11.4g", stats.least);
    facts_real(facts, "max", " %11.4g", stats.greatest);
    if (totals->stats) {
        facts_real(facts, "mean", NULL, stats.mean);
        facts_real(facts, "deviation", NULL, stats.deviation);
        say_histogram(&stats, facts);
    }
    facts_say(facts, "%s\n", stats.not_finite ? "  NOT FINITE" : "");
    facts_close(facts);
    totals->values[tensor->use] += stats.count;
    totals->not_finite += stats.not_finite;
}

static bool say_tensors(const char *path, Totals *totals, Message *problem)
{
    Facts *facts = totals->facts;
    facts_say(facts, "\n%-58s %-16s%s %11s %11s %11s%s\n", "tensor", "shape", totals->stats ? "" : " use     ", "norm",
              "min", "max", totals->stats ? " |min ........ max|" : "");
    facts_open_list(facts, "tensors");
    if (!checkpoint_visit(path, say_tensor, totals, problem)) return false;
    facts_close(facts);
    size_t unknown = totals->values[TENSOR_USE_UNKNOWN];
    if (unknown) {
        facts_integer(facts, "values", "\n%lld values; without optimizer state it is not said which are trained\n",
                      (int64_t)unknown);
        return true;
    }
    facts_integer(facts, "trained", "\n%lld parameters", (int64_t)totals->values[TENSOR_TRAINED]);
    facts_integer(facts, "constant", ", and %lld values that are not trained\n",
                  (int64_t)totals->values[TENSOR_CONSTANT]);
    return true;
}

/* ---- the states of the optimizer, a line for each ---- */

typedef struct StateTotals {
    Facts *facts;
    char name[64]; /* of the state under way; "" before the first */
    size_t tensors, values, not_finite;
    double squares, greatest;
} StateTotals;

static void say_state(const StateTotals *state)
{
    Facts *facts = state->facts;
    if (!state->name[0]) return;
    facts_open(facts, NULL);
    facts_text(facts, "name", "%-15s", state->name);
    facts_integer(facts, "tensors", " %lld tensors", (int64_t)state->tensors);
    facts_integer(facts, "values", ", %lld values", (int64_t)state->values);
    facts_real(facts, "norm", ", norm %.4g", sqrt(state->squares));
    facts_real(facts, "max", ", largest %.4g", state->greatest);
    facts_say(facts, "%s\n", state->not_finite ? "  NOT FINITE" : "");
    facts_close(facts);
}

static void begin_state(void *context, const char *name)
{
    StateTotals *state = context;
    say_state(state);
    *state = (StateTotals){.facts = state->facts, .not_finite = state->not_finite};
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

static bool say_states(const char *path, Totals *totals, Message *problem)
{
    StateTotals state = {.facts = totals->facts};
    facts_say(totals->facts, "\noptimizer states\n");
    facts_open_list(totals->facts, "optimizer_states");
    if (!checkpoint_visit_states(path, begin_state, add_state_tensor, &state, problem)) return false;
    say_state(&state);
    facts_close(totals->facts);
    totals->not_finite += state.not_finite;
    return true;
}

/* ---- all of it ---- */

bool inspect_checkpoint(const char *path, const InspectOptions *asked, Facts *facts, Message *problem)
{
    CheckpointInfo info;
    Config config;
    Tokenizer tokenizer;
    OptionTable options = config_defaults(&config);
    if (!checkpoint_read_info(path, &info, problem) || !checkpoint_read_options(path, &options, problem) ||
        !checkpoint_read_tokenizer(path, &tokenizer, problem))
        return false;
    facts_integer(facts, "step", "step            %lld\n", info.step);
    facts_integer(facts, "tokens_seen", "tokens seen     %lld\n", info.tokens_seen);
    facts_text(facts, "created", "created         %s\n", info.created);
    facts_text(facts, "source_version", "source version  %s\n", info.source_version);
    inspect_say_tokenizer(&tokenizer, facts);
    tokenizer_destroy(&tokenizer);
    say_losses(path, info.step, facts);
    facts_say(facts, "\n");
    say_options(&options, asked->json, facts);
    Totals totals = {.stats = asked->stats, .facts = facts};
    if (!say_tensors(path, &totals, problem)) return false;
    if (!totals.values[TENSOR_USE_UNKNOWN] && !say_states(path, &totals, problem)) return false;
    if (totals.not_finite)
        return fail(problem, "'%s': %zu values are not finite: training had diverged. Use an earlier checkpoint", path,
                    totals.not_finite);
    if (checkpoint_examine(path, -1, problem) != CHECKPOINT_WHOLE) return false;
    facts_say(facts, "all values are finite, and agree with their digests\n");
    return true;
}
