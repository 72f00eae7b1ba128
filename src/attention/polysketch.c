/* Sketched polynomial attention: weights <u(q), u(k)>^2 with a sketch u, near pairs exact or sketched too. linear.c computes it;
   here are its options and its tensors. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/attention/kinds.h"
#include "src/attention/linear.h"
#include "src/attention/power_scale.h"
#include "src/attention/qk_norm.h"

static const FeatureMap *const sketches[] = {&feature_map_sketch_random, &feature_map_sketch_learned,
                                             &feature_map_sketch_projection};
enum { SKETCHES = sizeof sketches / sizeof *sketches };

static const FeatureMap *sketch_of(const AttentionSpec *spec) { return sketches[spec->sketch]; }

#define AT(field) offsetof(AttentionSpec, field)

static const OptionRow *polysketch_options(int *count)
{
    static OptionRow rows[] = {
        {"attention", "sketch", OPTION_CHOICE, AT(sketch), "learned", 0, 0, NULL, true,
         "polysketch: fixed Gaussian, learned network, or learned projection"},
        {"attention", "sketch_size", OPTION_INTEGER, AT(sketch_size), "32", 1, 65536, "", true,
         "polysketch: r; the prefix state has r(r+1)/2 rows (random, degree 2: always the head width)"},
        {"attention", "sketch_levels", OPTION_INTEGER, AT(sketch_levels), "2", 1, ATTENTION_MAX_SKETCH_LEVELS, "", true,
         "learned sketch: levels in series in each of its two branches, each a layer norm, a matrix, a GELU, a matrix"},
        {"attention", "sketch_expansion", OPTION_INTEGER, AT(sketch_expansion), "8", 1, 64, "", true,
         "learned sketch: hidden numbers of a level for each of the r that it hands on"},
        {"attention", "local", OPTION_CHOICE, AT(local), "exact", 0, 0, "exact|window|sketch", true,
         "polysketch: exact weights inside a block; also with the blocks just before it; or the sketch everywhere"},
        {"attention", "window_blocks", OPTION_INTEGER, AT(window_blocks), "1", 1, 1 << 20, "", true,
         "polysketch: how many earlier blocks a query sees exactly with local = window"},
        {"attention", "local_weight", OPTION_CHOICE, AT(local_weight), "power", 0, 0, "power|exp", true,
         "polysketch: exact weights are the power that the sketch approximates, or exp(scale <q',k'>)"},
        {"attention", "far_scale", OPTION_REAL, AT(far_scale), "0", 0, 1e6, "", true,
         "polysketch: sketched weights are multiplied by a learned factor of their head, with this initial value; 0 = "
         "none"},
    };
    static char choices[128];
    for (int i = 0; i < SKETCHES && (i || !*choices); i++)
        option_add_choice(choices, sizeof choices, sketches[i]->name);
    rows[0].choices = choices;
    *count = sizeof rows / sizeof *rows;
    return rows;
}

static bool polysketch_set_variant(AttentionSpec *spec, const char *word)
{
    for (spec->sketch = 0; spec->sketch < SKETCHES; spec->sketch++)
        if (strcmp(word, sketch_of(spec)->name) == 0) return true;
    return false;
}

static void polysketch_resolve(AttentionSpec *spec, size_t head_width)
{
    if (sketch_of(spec)->resolve) sketch_of(spec)->resolve(spec, head_width);
}

static bool polysketch_check(const AttentionSpec *spec, Message *problem)
{
    return power_degree_check(spec, problem) && (!sketch_of(spec)->check || sketch_of(spec)->check(spec, problem));
}

static bool polysketch_blocks_matter(const AttentionSpec *spec) { return spec->local != LOCAL_SKETCH; }

/* Learned as a logarithm. */
static void declare_far_scale(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    char name[128];
    snprintf(name, sizeof name, "%s.far_scale", prefix);
    layer->far_scale = param_table_add_vector(table, name, layer->heads, log(layer->spec.far_scale));
}

static void polysketch_declare(AttentionLayer *layer, ParamTable *table, const char *prefix)
{
    layer->map = sketch_of(&layer->spec);
    if (linear_uses_qk_norm(layer)) qk_norm_declare(layer, table, prefix);
    layer->map->declare(layer, table, prefix);
    if (layer->spec.far_scale > 0) declare_far_scale(layer, table, prefix);
}

const AttentionKind attention_polysketch = {
    .name = "polysketch",
    .summary = "<u(q),u(k)>^2 by random or learned sketches or projections, near pairs exact; time linear in the "
               "context",
    .options = polysketch_options,
    .variants = ", or with a sketch: polysketch:random, polysketch:learned, polysketch:projection",
    .set_variant = polysketch_set_variant,
    .resolve = polysketch_resolve,
    .check = polysketch_check,
    .blocks_matter = polysketch_blocks_matter,
    .declare = polysketch_declare,
    LINEAR_FUNCTIONS,
};
