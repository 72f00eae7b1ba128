#include "io/source.h"

#include "io/source_kind.h"

static const SourceKind source_file = {.name = "file", .summary = "a token file", .reads_file = true, .strata = 1};

static const SourceKind *const kinds[] = {&source_file, &source_copying, &source_induction, &source_recall,
                                          &source_needle};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const SourceKind *kind_of(const SourceSpec *spec) { return kinds[spec->kind]; }

/* ---- options -------------------------------------------------------------------------------------------------------- */

#define AT(field) offsetof(SourceSpec, field)

const OptionRow *source_options(int *count)
{
    static char choices[128];
    static OptionRow rows[] = {
        {"data", "source", OPTION_CHOICE, AT(kind), "file", 0, 0, choices, false,
         "token files, or a test of recall that is made as it goes: selective copying, an induction head, associative "
         "recall, a needle in the text of data.train"},
        {"data", "items", OPTION_INTEGER, AT(items), "16", 1, 1 << 20, "", false,
         "data tokens (copying) or key-value pairs (recall) of a sequence"},
        {"data", "source_vocab", OPTION_INTEGER, AT(alphabet), "0", 0, 1 << 22, "", false,
         "tokens that carry data in copying, induction and recall (half of them keys, half values); 0 = 16, recall 64"},
    };
    for (int i = 0; i < KINDS && (i || !*choices); i++) option_add_choice(choices, sizeof choices, kinds[i]->name);
    *count = sizeof rows / sizeof *rows;
    return rows;
}

/* ---- what follows from a spec --------------------------------------------------------------------------------------- */

const char *source_name(const SourceSpec *spec) { return kind_of(spec)->name; }
const char *source_summary(const SourceSpec *spec) { return kind_of(spec)->summary; }

bool source_is_made(const SourceSpec *spec) { return kind_of(spec)->make != NULL; }
bool source_reads_file(const SourceSpec *spec) { return kind_of(spec)->reads_file; }

void source_resolve(SourceSpec *spec)
{
    if (spec->alphabet == 0) spec->alphabet = kind_of(spec)->alphabet;
}

int64_t source_vocab_size(const SourceSpec *spec)
{
    const SourceKind *kind = kind_of(spec);
    if (!kind->make) return 0;
    bool free_alphabet = !kind->reads_file && spec->alphabet > 0;
    return (free_alphabet ? spec->alphabet : kind->alphabet) + kind->specials;
}

size_t source_counted(const SourceSpec *spec, size_t context_length)
{
    return source_is_made(spec) ? kind_of(spec)->counted(spec) : context_length;
}

int source_strata(const SourceSpec *spec) { return kind_of(spec)->strata; }

bool source_check(const SourceSpec *spec, size_t context_length, Message *problem)
{
    const SourceKind *kind = kind_of(spec);
    return !kind->check || kind->check(spec, context_length, problem);
}

bool source_check_file(const DataSource *source, size_t context_length, Message *problem)
{
    const SourceKind *kind = kind_of(&source->spec);
    return !kind->check_file || kind->check_file(source->file, context_length, problem);
}

/* ---- making --------------------------------------------------------------------------------------------------------- */

/* The context length is part of the key: a run that goes on with another one numbers its sequences anew, and must not meet the
   same answers again. */
RngStream source_stream(const SourcePart *part, const char *purpose)
{
    static const char *const uses[] = {
        [USE_TRAINING] = "sequences to train on", [USE_EVALUATION] = "sequences to evaluate on"};
    RngStream use = rng_stream(part->source->seed, uses[part->use], part->context_length);
    return rng_stream(use.key, purpose, part->number);
}

int64_t source_draw(RngStream stream, uint64_t index, int64_t count)
{
    return (int64_t)(rng_uniform(stream, index) * (double)count);
}

void source_put(const SourcePart *part, size_t place, int32_t token)
{
    size_t i = place - part->range.first; /* of an earlier place a huge number */
    if (i < part->range.count) part->inputs[i] = token;
}

void source_ask(const SourcePart *part, size_t place, int32_t target)
{
    size_t i = place - part->range.first;
    if (i < part->range.count) part->targets[i] = target;
}

bool source_make(const SourcePart *part, Message *problem)
{
    for (size_t i = 0; i < part->range.count; i++) part->targets[i] = -1;
    return kind_of(&part->source->spec)->make(part, problem);
}
