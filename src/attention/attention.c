#include "src/attention/attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/attention/gate.h"
#include "src/attention/kinds.h"
#include "src/base/memory.h"

static const AttentionKind *const kinds[] = {&attention_softmax, &attention_polynomial, &attention_polysketch,
                                             &attention_performer};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- options -------------------------------------------------------------------------------------------------------- */

#define AT(field) offsetof(AttentionSpec, field)

/* What several kinds read. */
static const OptionRow common_rows[] = {
    {"attention", "kind", OPTION_CHOICE, AT(kind), "polysketch", 0, 0, NULL, true, "how tokens attend to earlier ones"},
    {"attention", "degree", OPTION_INTEGER, AT(degree), "4", 2, 16, "", true,
     "p of <q,k>^p, even; 2, 4 or 8 with random sketches"},
    {"attention", "scale", OPTION_REAL, AT(scale), "auto", 1e-6, 1e6, "", true,
     "factor of <q,k> before the power or exponential; auto = 1/sqrt(head width)"},
    {"attention", "denominator_one", OPTION_REAL, AT(denominator_one), "1", 0, 1e9, "", true,
     "constant added to the normaliser"},
    {"attention", "gate", OPTION_CHOICE, AT(gate), "none", 0, 0, "none|constant|data", true,
     "forgetting of earlier tokens, by head: at a learned rate, or at one that depends on the token"},
};
enum { COMMON = sizeof common_rows / sizeof *common_rows, MAX_ROWS = 64 };

/* softmax|polynomial|... */
static const char *kind_choices(void)
{
    static char text[256];
    for (int i = 0; i < KINDS && (i || !*text); i++) option_add_choice(text, sizeof text, kinds[i]->name);
    return text;
}

const OptionRow *attention_options(int *count)
{
    static OptionRow rows[MAX_ROWS];
    static int filled;
    *count = filled;
    if (filled) return rows;
    option_append_rows(rows, &filled, MAX_ROWS, common_rows, COMMON, 0);
    rows[0].choices = kind_choices();
    for (int i = 0; i < KINDS; i++) {
        int own = 0;
        const OptionRow *more = kinds[i]->options ? kinds[i]->options(&own) : NULL;
        option_append_rows(rows, &filled, MAX_ROWS, more, own, 0);
    }
    *count = filled;
    return rows;
}

/* ---- specs of layers ------------------------------------------------------------------------------------------------ */

const AttentionKind *attention_kind(const AttentionSpec *spec) { return kinds[spec->kind]; }

bool attention_same(const AttentionSpec *spec, const AttentionSpec *other)
{
    int count;
    const OptionRow *rows = attention_options(&count);
    for (int i = 0; i < count; i++)
        if (!option_equal(&rows[i], spec, other)) return false;
    return true;
}

bool attention_blocks_matter(const AttentionSpec *spec)
{
    const AttentionKind *kind = attention_kind(spec);
    return kind->blocks_matter && kind->blocks_matter(spec);
}

/* KIND or KIND:WORD */
static bool set_kind(AttentionSpec *spec, char *entry, Message *problem)
{
    char *word = strchr(entry, ':');
    if (word) *word++ = 0;
    for (spec->kind = 0; spec->kind < KINDS && strcmp(entry, kinds[spec->kind]->name) != 0; spec->kind++)
        ;
    if (spec->kind == KINDS)
        return fail(problem, "attention.pattern: there is no kind '%.60s'. Kinds are %s", entry, kind_choices());
    const AttentionKind *kind = kinds[spec->kind];
    if (!word || (kind->set_variant && kind->set_variant(spec, word))) return true;
    return fail(problem, "attention.pattern: kind '%s' has no variant '%.60s'. Write '%s' alone%s", entry, word, entry,
                kind->variants ? kind->variants : "");
}

/* KIND*N without its *N, which is returned; 0 when it is no number. */
static size_t take_repeats(char *entry)
{
    char *star = strchr(entry, '*'), *end;
    if (!star) return 1;
    *star = 0;
    unsigned long repeats = strtoul(star + 1, &end, 10);
    return star[1] >= '1' && star[1] <= '9' && *end == 0 ? repeats : 0;
}

/* Fills `specs` from the pattern; `*filled` counts on beyond `layers`. */
static bool read_pattern(const AttentionSpec *common, char *pattern, size_t layers, AttentionSpec *specs,
                         size_t *filled, Message *problem)
{
    char *rest = pattern, *entry;
    while ((entry = strsep(&rest, ","))) {
        AttentionSpec spec = *common;
        size_t repeats = take_repeats(entry);
        if (repeats == 0 || repeats > 100000)
            return fail(problem, "attention.pattern: '%.60s*' is not followed by a number of layers. Write KIND*N",
                        entry);
        if (!set_kind(&spec, entry, problem)) return false;
        for (size_t i = 0; i < repeats; i++, (*filled)++)
            if (*filled < layers) specs[*filled] = spec;
    }
    return true;
}

static bool finish_spec(AttentionSpec *spec, size_t head_width, Message *problem)
{
    const AttentionKind *kind = attention_kind(spec);
    if (isnan(spec->scale)) spec->scale = 1 / sqrt((double)(head_width ? head_width : 1));
    if (kind->resolve) kind->resolve(spec, head_width);
    return !kind->check || kind->check(spec, problem);
}

bool attention_specs(const AttentionSpec *common, const char *pattern, size_t layers, size_t head_width,
                     AttentionSpec *specs, Message *problem)
{
    char text[OPTION_TEXT_SIZE];
    size_t filled = 0;
    snprintf(text, sizeof text, "%s", pattern);
    for (size_t i = 0; i < layers; i++) specs[i] = *common;
    if (*pattern && !read_pattern(common, text, layers, specs, &filled, problem)) return false;
    if (*pattern && filled != layers)
        return fail(
            problem,
            "attention.pattern = '%.200s' is for %zu layers, but model.layers = %zu. Make the entries KIND*N add "
            "up to model.layers",
            pattern, filled, layers);
    for (size_t i = 0; i < layers; i++)
        if (!finish_spec(&specs[i], head_width, problem)) return false;
    return true;
}

AttentionLayer attention_declare(const AttentionSpec *spec, size_t heads, size_t head_width, ParamTable *table,
                                 const char *prefix)
{
    AttentionLayer layer = {.spec = *spec, .kind = attention_kind(spec), .heads = heads, .head_width = head_width};
    layer.gate_weight = layer.gate_bias = layer.far_scale = -1;
    layer.kind->declare(&layer, table, prefix);
    if (attention_has_gate(&layer)) gate_declare(&layer, table, prefix);
    return layer;
}
