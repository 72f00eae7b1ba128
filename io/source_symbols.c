/* Tests of recall over an alphabet of their own: selective copying, induction head, associative recall. Tokens 0 ..
   alphabet - 1 carry data, those above are special. */
#include <math.h>
#include <stdlib.h>

#include "io/source_kind.h"
#include "src/base/memory.h"

static void fill(const SourcePart *part, int32_t token)
{
    for (size_t i = 0; i < part->range.count; i++) part->inputs[i] = token;
}

static size_t counted_items(const SourceSpec *spec) { return (size_t)spec->items; }

/* ---- selective copying ---------------------------------------------------------------------------------------------- */

static bool check_copying(const SourceSpec *spec, size_t context_length, Message *problem)
{
    size_t items = (size_t)spec->items;
    return context_length >= 2 * items ||
           fail(
               problem,
               "model.context_length = %zu is too short for data.source = copying: data.items = %zu data tokens and as "
               "many answers need %zu. Lower data.items, or use a longer context",
               context_length, items, 2 * items);
}

static int by_place(const void *a, const void *b)
{
    size_t one = *(const size_t *)a, other = *(const size_t *)b;
    return (one > other) - (one < other);
}

/* The data tokens among blanks, then a separator for each of them: there the items are asked for, in their order. */
static bool make_copying(const SourcePart *part, Message *problem)
{
    (void)problem;
    const SourceSpec *spec = &part->source->spec;
    const int32_t blank = (int32_t)spec->alphabet, separator = blank + 1;
    size_t items = (size_t)spec->items, answers = part->context_length - items;
    RngStream where = source_stream(part, "places"), what = source_stream(part, "items");
    size_t *places = checked_calloc(items, sizeof *places);
    for (size_t i = 0; i < items; i++) places[i] = rng_permute(where, answers, i);
    qsort(places, items, sizeof *places, by_place);
    fill(part, blank);
    for (size_t i = 0; i < items; i++) {
        int32_t item = (int32_t)source_draw(what, i, spec->alphabet);
        source_put(part, places[i], item);
        source_put(part, answers + i, separator);
        source_ask(part, answers + i, item);
    }
    free(places);
    return true;
}

const SourceKind source_copying = {
    .name = "copying",
    .summary = "selective copying: data tokens among blanks, asked for in their order at the end",
    .alphabet = 16,
    .specials = 2,
    .strata = 1,
    .counted = counted_items,
    .check = check_copying,
    .make = make_copying,
};

/* ---- induction head ------------------------------------------------------------------------------------------------- */

static size_t counted_induction(const SourceSpec *spec)
{
    (void)spec;
    return 1;
}

static bool check_induction(const SourceSpec *spec, size_t context_length, Message *problem)
{
    (void)spec;
    return context_length >= 3 ||
           fail(problem, "model.context_length = %zu is too short for data.source = induction. Use at least 3",
                context_length);
}

/* Random tokens; the trigger at one place of them, and at the end, where what followed it is asked for. */
static bool make_induction(const SourcePart *part, Message *problem)
{
    (void)problem;
    const int64_t alphabet = part->source->spec.alphabet;
    const int32_t trigger = (int32_t)alphabet;
    size_t last = part->context_length - 1;
    RngStream what = source_stream(part, "items");
    size_t place = (size_t)source_draw(source_stream(part, "places"), 0, (int64_t)last - 1);
    for (size_t i = 0; i < part->range.count; i++)
        part->inputs[i] = (int32_t)source_draw(what, part->range.first + i, alphabet);
    source_put(part, place, trigger);
    source_put(part, last, trigger);
    source_ask(part, last, (int32_t)source_draw(what, place + 1, alphabet));
    return true;
}

const SourceKind source_induction = {
    .name = "induction",
    .summary = "induction head: a trigger among random tokens comes back at the end; what followed it is asked for",
    .alphabet = 16,
    .specials = 1,
    .strata = 1,
    .counted = counted_induction,
    .check = check_induction,
    .make = make_induction,
};

/* ---- multi-query associative recall --------------------------------------------------------------------------------- */

static bool check_recall(const SourceSpec *spec, size_t context_length, Message *problem)
{
    size_t items = (size_t)spec->items;
    if (spec->alphabet / 2 < spec->items)
        return fail(problem,
                    "data.items = %zu different keys need data.source_vocab = %zu, half of them keys; it is %lld. "
                    "Raise it, or lower data.items",
                    items, 2 * items, (long long)spec->alphabet);
    return context_length >= 4 * items ||
           fail(problem,
                "model.context_length = %zu is too short for data.source = recall: data.items = %zu pairs and their "
                "queries need %zu. Lower data.items, or use a longer context",
                context_length, items, 4 * items);
}

/* A number below `space` with a density proportional to (x + 1)^(POWER - 1), by the inverse of its distribution. */
static size_t power_law(double uniform, size_t space)
{
    static const double POWER = 0.01;
    double x = pow(1 + uniform * (pow((double)space + 1, POWER) - 1), 1 / POWER) - 1;
    return x < (double)space ? (size_t)x : space - 1;
}

/* The pairs key, value; then blanks, with each key once more at a place of its own, where its value is asked for. A place that is
   taken gives way to the next free one. */
static bool make_recall(const SourcePart *part, Message *problem)
{
    (void)problem;
    const SourceSpec *spec = &part->source->spec;
    size_t items = (size_t)spec->items, space = (part->context_length - 2 * items) / 2;
    int64_t keys = spec->alphabet / 2, values = spec->alphabet - keys;
    RngStream key_stream = source_stream(part, "keys"), value_stream = source_stream(part, "values");
    RngStream where = source_stream(part, "places");
    bool *taken = checked_calloc(space, sizeof *taken);
    fill(part, (int32_t)spec->alphabet);
    for (size_t i = 0; i < items; i++) {
        int32_t key = (int32_t)rng_permute(key_stream, (uint64_t)keys, i);
        int32_t value = (int32_t)(keys + (int64_t)rng_permute(value_stream, (uint64_t)values, i));
        size_t gap = power_law(rng_uniform(where, i), space);
        while (taken[gap]) gap = (gap + 1) % space;
        taken[gap] = true;
        source_put(part, 2 * i, key);
        source_put(part, 2 * i + 1, value);
        source_put(part, 2 * (items + gap), key);
        source_ask(part, 2 * (items + gap), value);
    }
    free(taken);
    return true;
}

const SourceKind source_recall = {
    .name = "recall",
    .summary = "multi-query associative recall: pairs of key and value, then keys again; their values are asked for",
    .alphabet = 64,
    .specials = 1,
    .strata = 1,
    .counted = counted_items,
    .check = check_recall,
    .make = make_recall,
};
