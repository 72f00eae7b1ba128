/* polysketch inspect CHECKPOINT OTHER: what is different in them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/checkpoint.h"
#include "src/programs/inspect.h"
#include "src/train/config.h"

/* The sums of all pairs, and the one that differs most. */
typedef struct Pairs {
    Facts *facts;
    size_t compared, same, unpaired; /* tensors */
    double relative;
    char farthest[160];
} Pairs;

typedef struct Difference {
    double largest, relative; /* |a - b| at its largest; norm of a - b over that of a */
} Difference;

static Difference difference_of(const CheckpointTensor *a, const CheckpointTensor *b)
{
    double largest = 0, squares = 0, norm = 0;
    size_t count = tensor_shape_count(&a->shape);
    for (size_t i = 0; i < count; i++) {
        double of_a = (double)a->values[i], difference = fabs((double)b->values[i] - of_a);
        if (!(difference <= largest) && !isnan(largest)) largest = difference; /* what is not a number stays */
        squares += difference * difference;
        norm += of_a * of_a;
    }
    return (Difference){largest, squares == 0 ? 0 : sqrt(squares / norm)};
}

/* One that has no counterpart of its shape. */
static void say_unpaired(Pairs *pairs, const CheckpointTensor *a, const CheckpointTensor *b)
{
    char shape[TENSOR_SHAPE_TEXT] = "";
    if (b) tensor_shape_format(&b->shape, shape);
    pairs->unpaired++;
    facts_text(pairs->facts, "where", NULL, a && b ? "both, of other shapes" : a ? "first" : "second");
    if (a && b)
        facts_say(pairs->facts, "  %s in the second\n", shape);
    else
        facts_say(pairs->facts, "  only in the %s\n", a ? "first" : "second");
}

static void say_difference(Pairs *pairs, const CheckpointTensor *a, const CheckpointTensor *b)
{
    Difference difference = difference_of(a, b);
    pairs->compared++;
    pairs->same += difference.largest == 0;
    if (!(difference.relative <= pairs->relative) && !isnan(pairs->relative)) {
        pairs->relative = difference.relative;
        snprintf(pairs->farthest, sizeof pairs->farthest, "%s", a->name);
    }
    facts_text(pairs->facts, "where", NULL, "both");
    facts_real(pairs->facts, "max_difference", " %14.6g", difference.largest);
    facts_real(pairs->facts, "relative_difference", " %14.6g", difference.relative);
    facts_say(pairs->facts, "%s\n", difference.largest == 0 ? "  same" : "");
}

static void say_pair(void *context, const CheckpointTensor *a, const CheckpointTensor *b)
{
    Pairs *pairs = context;
    const CheckpointTensor *present = a ? a : b;
    facts_open(pairs->facts, NULL);
    facts_text(pairs->facts, "name", "%-58s", present->name);
    inspect_say_shape(&present->shape, pairs->facts);
    if (a && b && tensor_shape_equal(&a->shape, &b->shape))
        say_difference(pairs, a, b);
    else
        say_unpaired(pairs, a, b);
    facts_close(pairs->facts);
}

static bool say_file(const char *name, const char *path, Config *config, Facts *facts, Message *problem)
{
    CheckpointInfo info;
    OptionTable options = config_defaults(config);
    if (!checkpoint_read_info(path, &info, problem) || !checkpoint_read_options(path, &options, problem) ||
        checkpoint_examine(path, -1, problem) != CHECKPOINT_WHOLE)
        return false;
    facts_open(facts, name);
    facts_say(facts, "%-15s ", name);
    facts_text(facts, "file", "%s", path);
    facts_integer(facts, "step", " (step %lld)\n", info.step);
    facts_close(facts);
    return true;
}

/* Those that are not the same in both. */
static void say_options(Config *first, Config *second, Facts *facts)
{
    OptionTable options = config_options(first);
    facts_open_list(facts, "options");
    for (int i = 0; i < options.count; i++) {
        char name[128], value[OPTION_TEXT_SIZE], other[OPTION_TEXT_SIZE];
        if (option_equal(&options.rows[i], first, second)) continue;
        option_name(&options.rows[i], name);
        option_format(&options.rows[i], first, value);
        option_format(&options.rows[i], second, other);
        facts_open(facts, NULL);
        facts_text(facts, "name", "option          %s", name);
        facts_text(facts, "first", " = %s", value);
        facts_text(facts, "second", ", in the second %s\n", other);
        facts_close(facts);
    }
    facts_close(facts);
}

bool inspect_difference(const char *path, const char *other, Facts *facts, Message *problem)
{
    static Config first, second;
    Pairs pairs = {.facts = facts};
    if (!say_file("first", path, &first, facts, problem) || !say_file("second", other, &second, facts, problem))
        return false;
    say_options(&first, &second, facts);
    facts_say(facts, "\n%-58s %-16s %14s %14s\n", "tensor", "shape", "largest |a-b|", "|a-b| / |a|");
    facts_open_list(facts, "tensors");
    if (!checkpoint_visit_both(path, other, say_pair, &pairs, problem)) return false;
    facts_close(facts);
    facts_integer(facts, "compared", "\n%lld tensors compared", (int64_t)pairs.compared);
    facts_integer(facts, "same", ", %lld of them the same", (int64_t)pairs.same);
    facts_integer(facts, "unpaired", ", %lld without a counterpart\n", (int64_t)pairs.unpaired);
    if (pairs.farthest[0]) {
        facts_text(facts, "farthest", "farthest apart  %s", pairs.farthest);
        facts_real(facts, "farthest_relative_difference", ": %.6g\n", pairs.relative);
    }
    facts_say(facts, "the values of both files agree with their digests\n");
    return true;
}
