#define _GNU_SOURCE
#include "src/train/init_from.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/train/resume.h"

/* Names by what becomes of their tensors. */
typedef struct Fates {
    char **names[TENSOR_FATES];
    size_t counts[TENSOR_FATES], capacities[TENSOR_FATES];
} Fates;

static void add_name(void *context, TensorFate fate, const char *name)
{
    Fates *fates = context;
    size_t count = fates->counts[fate]++;
    char *copy = strdup(name);
    CHECK(copy, "cannot allocate a list of %zu names", count);
    fates->names[fate] = checked_grow(fates->names[fate], count, &fates->capacities[fate], sizeof *fates->names[fate]);
    fates->names[fate][count] = copy;
}

static void free_names(Fates *fates)
{
    for (int fate = 0; fate < TENSOR_FATES; fate++) {
        for (size_t i = 0; i < fates->counts[fate]; i++) free(fates->names[fate][i]);
        free(fates->names[fate]);
    }
}

/* Shapes do not tell how many heads share them. */
static bool same_heads(const Config *config, const Config *theirs, Message *problem)
{
    return theirs->model.heads == config->model.heads ||
           fail(problem, "'%.300s' has model.heads = %lld, this configuration %lld. Use the same number",
                config->train.init_from, (long long)theirs->model.heads, (long long)config->model.heads);
}

/* May the model begin with the file? `fates` and `theirs`, what it was trained with, are for saying so. Local. */
static bool examine(const Config *config, const ParamTable *params, const TokenFile *train, Fates *fates,
                    Config *theirs, Message *problem)
{
    const char *path = config->train.init_from;
    OptionTable options = config_defaults(theirs); /* what older files do not say was so */
    Message cause;
    bool good = checkpoint_match(path, params, add_name, fates, &cause) &&
                checkpoint_read_options(path, &options, &cause) && same_heads(config, theirs, &cause) &&
                (!train || resume_same_tokenizer(path, train, &cause));
    return good || fail(problem, "train.init_from: %.900s", cause.text);
}

void init_from_check(const Config *config, const ParamTable *params, const TokenFile *train)
{
    static Config theirs;
    Message problem;
    Fates fates = {0};
    if (!config->train.init_from[0]) return;
    require_all(world().rank > 0 || examine(config, params, train, &fates, &theirs, &problem), &problem);
    free_names(&fates);
}

/* ---- what is said ---- */

/* The layer of a tensor, -1 outside of layers; `own`: its name there. */
static int layer_of(const char *name, const char **own)
{
    int layer = -1, length = 0;
    if (sscanf(name, "layers.%d.%n", &layer, &length) < 1 || length == 0) layer = -1, length = 0;
    *own = name + length;
    return layer;
}

/* What follows the part that it shares with the name before, up to its last dot: "norm.weight, .bias". */
static const char *shorten(const char *name, const char *before)
{
    const char *dot = strrchr(name, '.'), *last = strrchr(before, '.');
    bool shared = dot && last && dot - name == last - before && strncmp(name, before, (size_t)(dot - name)) == 0;
    return shared ? dot : name;
}

/* Names of one layer, or outside of layers, from `names` on: all in one text, which the caller frees. */
static char *join_layer(char **names, size_t count, size_t *used)
{
    char *text = NULL;
    size_t length;
    const char *own, *before = "";
    int layer = layer_of(names[0], &own);
    FILE *joined = open_memstream(&text, &length);
    CHECK(joined, "cannot allocate a list of names");
    for (*used = 0; *used < count && layer_of(names[*used], &own) == layer; ++*used, before = own)
        fprintf(joined, "%s%s", *used ? ", " : "", shorten(own, before));
    fclose(joined);
    return text;
}

static void say_layers(int first, int last, const char *text)
{
    if (first < 0)
        log_line("  %s", text);
    else if (first == last)
        log_line("  layer %d: %s", first, text);
    else
        log_line("  layers %d to %d: %s", first, last, text);
}

/* Layers that follow one another and have the same names share a line. */
static void say_names(char **names, size_t count)
{
    char *text = NULL;
    const char *own;
    int first = -1, last = -1;
    for (size_t i = 0, used; i < count; i += used) {
        int layer = layer_of(names[i], &own);
        char *next = join_layer(names + i, count - i, &used);
        if (text && layer == last + 1 && layer > 0 && strcmp(text, next) == 0) {
            free(next);
        } else {
            if (text) say_layers(first, last, text);
            free(text);
            text = next;
            first = layer;
        }
        last = layer;
    }
    if (text) say_layers(first, last, text);
    free(text);
}

static void say_fates(const char *path, Fates *fates)
{
    static const char *const words[TENSOR_FATES] = {"taken from the file", "new, with initial values",
                                                    "left in the file"};
    log_line("weights from %s: %zu tensors taken, %zu new, %zu left", path, fates->counts[TENSOR_TAKEN],
             fates->counts[TENSOR_NEW], fates->counts[TENSOR_LEFT]);
    for (int fate = 0; fate < TENSOR_FATES; fate++) {
        if (fates->counts[fate] == 0) continue;
        log_line("%s:", words[fate]);
        say_names(fates->names[fate], fates->counts[fate]);
    }
}

static void say_all(const Config *config, const Config *theirs, Fates *fates)
{
    const char *path = config->train.init_from;
    OptionTable known = config_options((Config *)config);
    Message unknown;
    say_fates(path, fates);
    /* what tensors mean may be another thing, though their shapes are the same */
    config_say_differences(config, theirs, true, "other than in that file", "there");
    if (checkpoint_has_unknown_options(path, &known, &unknown)) log_line("warning: %s", unknown.text);
}

void init_from_load(const Config *config, ParamStore *store, const TokenFile *train)
{
    static Config theirs;
    Message problem;
    Fates fates = {0};
    bool first = world().rank == 0;
    if (!config->train.init_from[0]) return;
    require_all(!first || examine(config, store->params, train, &fates, &theirs, &problem), &problem);
    require_all(checkpoint_load_matching(config->train.init_from, store, &problem), &problem);
    if (first) say_all(config, &theirs, &fates);
    free_names(&fates);
}
