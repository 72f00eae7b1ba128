#include "src/train/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/digest.h"
#include "src/base/log.h"
#include "src/base/memory.h"

#define AT(field) offsetof(Config, field)
#define MODEL_DEFINING true
#define FREE false

static const OptionRow model_rows[] = {
    {"model", "layers", OPTION_INTEGER, AT(model.layers), "4", 1, 1000, "", MODEL_DEFINING, "transformer layers"},
    {"model", "width", OPTION_INTEGER, AT(model.width), "128", 2, 65536, "", MODEL_DEFINING,
     "numbers per token, C; a multiple of 2 x heads"},
    {"model", "heads", OPTION_INTEGER, AT(model.heads), "4", 1, 1024, "", MODEL_DEFINING, "attention heads, H"},
    {"model", "context_length", OPTION_INTEGER, AT(model.context_length), "512", 1, 1e9, "", FREE,
     "tokens of a sequence, T"},
    {"model", "feedforward", OPTION_CHOICE, AT(model.feedforward), "glu", 0, 0, "glu|gelu", MODEL_DEFINING,
     "gated or plain feed-forward"},
    {"model", "feedforward_width", OPTION_INTEGER, AT(model.feedforward_width), "0", 0, 1e6, "", MODEL_DEFINING,
     "F; 0 = 8C/3 rounded down to a multiple of 8 (glu), 4C (gelu)"},
    {"model", "dropout", OPTION_REAL, AT(model.dropout), "0", 0, 0.95, "", FREE,
     "rate after attention and after feed-forward"},
    {"model", "vocab_size", OPTION_INTEGER, AT(model.vocab_size), "0", 0, 1 << 24, "", MODEL_DEFINING,
     "V; 0 = from the training data"},
    {"model", "logit_soft_cap", OPTION_REAL, AT(model.logit_soft_cap), "0", 0, 1e6, "", MODEL_DEFINING,
     "logits z become cap tanh(z / cap), which keeps them between -cap and cap; 0 = off"},
    {"model", "rotary_share", OPTION_REAL, AT(model.rotary_share), "1", 0, 1, "", MODEL_DEFINING,
     "part of the pairs of numbers of a head, those of the highest frequencies, that the rotary embedding turns by the "
     "token's position; the others compare tokens wherever they stand"},
    {"model", "zero_init_branches", OPTION_BOOL, AT(model.zero_init_branches), "false", 0, 0, "", FREE,
     "initial values of attention.out and feedforward.out, which end a residual branch, are 0"},
};

static const OptionRow attention_rows[] = {
    {"attention", "pattern", OPTION_TEXT, AT(pattern), "", 0, 0, "", MODEL_DEFINING,
     "layers of different kinds, in their order: KIND or KIND*N, separated by commas, such as polysketch*3,softmax; "
     "polysketch:random, polysketch:learned and polysketch:projection name the sketch. Empty: all layers are "
     "attention.kind"},
    {"attention", "block_length", OPTION_INTEGER, AT(block_length), "256", 1, 1 << 20, "", MODEL_DEFINING,
     "tokens of a block, b; part of the model unless local = sketch"},
};

static const OptionRow train_rows[] = {
    {"train", "steps", OPTION_INTEGER, AT(train.steps), "1000", 0, 1e9, "", FREE, "optimizer steps in all"},
    {"train", "batch_sequences", OPTION_INTEGER, AT(train.batch_sequences), "8", 1, 1 << 24, "", FREE,
     "sequences per step, whole job"},
    {"train", "micro_batch_sequences", OPTION_INTEGER, AT(train.micro_batch_sequences), "0", 0, 1 << 24, "", FREE,
     "sequences computed at a time by a rank; 0 = all of its share"},
    {"train", "min_learning_rate", OPTION_REAL, AT(train.min_learning_rate), "0", 0, 1000, "", FREE,
     "learning rate at the last step"},
    {"train", "warmup_steps", OPTION_INTEGER, AT(train.warmup_steps), "100", 0, 1e9, "", FREE,
     "steps of linear warm-up"},
    {"train", "schedule", OPTION_CHOICE, AT(train.schedule), "cosine", 0, 0, "cosine|linear|constant|wsd", FREE,
     "course of the learning rate after the warm-up; wsd = constant, then linear over the last steps"},
    {"train", "decay_share", OPTION_REAL, AT(train.decay_share), "0.2", 1e-6, 1, "", FREE,
     "part of all steps, at their end, over which the learning rate of schedule = wsd falls"},
    {"train", "z_loss", OPTION_REAL, AT(train.z_loss), "0", 0, 1000, "", FREE,
     "training minimises, besides, this times (log of the sum of e^logit)^2, the mean over all positions; reported "
     "losses stay plain cross-entropy. 0 = off"},
    {"train", "label_smoothing", OPTION_REAL, AT(train.label_smoothing), "0", 0, 0.95, "", FREE,
     "part s of the probability of the next token that training spreads evenly over all V tokens, itself included; "
     "reported losses stay plain cross-entropy. 0 = off"},
    {"train", "clip_norm", OPTION_REAL, AT(train.clip_norm), "1", 0, 1e9, "", FREE,
     "largest norm of the whole gradient; 0 = off"},
    {"train", "max_skipped_steps", OPTION_INTEGER, AT(train.max_skipped_steps), "10", 0, 1e9, "", FREE,
     "steps in a row that may be skipped, their loss or gradient not finite (or too long); one more ends the run"},
    {"train", "skip_above_norm", OPTION_REAL, AT(train.skip_above_norm), "0", 0, 1e9, "", FREE,
     "skip steps whose gradient is longer than this times the usual; 0 = off"},
    {"train", "seed", OPTION_INTEGER, AT(train.seed), "1", 0, 9e15, "", FREE,
     "of initial values, data order and dropout"},
    {"train", "init_from", OPTION_TEXT, AT(train.init_from), "", 0, 0, "", FREE,
     "checkpoint of another run, with whose tensors, where name and shape are the same, a new run begins; optimizer "
     "and "
     "step begin anew. A run that has a checkpoint does not read it again"},
    {"train", "recompute", OPTION_CHOICE, AT(train.recompute), "none", 0, 0, "none|attention|layer", FREE,
     "what the backward pass computes again instead of keeping it"},
    {"train", "stretch_length", OPTION_INTEGER, AT(train.stretch_length), "0", 0, 1e9, "", FREE,
     "tokens of a sequence computed at a time, about; 0 = all. Linear kinds: memory then does not grow with T"},
    {"train", "document_mask", OPTION_BOOL, AT(train.document_mask), "false", 0, 0, "", FREE,
     "tokens attend only to tokens of their own document, whose starts the token file says"},
};

static const OptionRow run_rows[] = {
    {"data", "train", OPTION_TEXT, AT(data.train), "", 0, 0, "", FREE,
     "token file to train on, or several with their shares of the sequences: a.h5:0.7,b.h5:0.3"},
    {"data", "validation", OPTION_TEXT, AT(data.validation), "", 0, 0, "", FREE, "token file to evaluate on"},

    {"evaluate", "every", OPTION_INTEGER, AT(evaluate.every), "0", 0, 1e9, "", FREE,
     "steps between evaluations; 0 = only after the last step"},
    {"evaluate", "sequences", OPTION_INTEGER, AT(evaluate.sequences), "0", 0, 1e12, "", FREE,
     "windows of the validation file, from its start; 0 = all, each token once. Of a made source 0 = 256 sequences"},
    {"evaluate", "stride", OPTION_INTEGER, AT(evaluate.stride), "0", 0, 1e9, "", FREE,
     "tokens from one window to the next, of which the last so many count; 0 = the context length"},

    {"output", "folder", OPTION_TEXT, AT(output.folder), "results/run", 1, 0, "", FREE, "the run folder"},
    {"output", "checkpoint_every", OPTION_INTEGER, AT(output.checkpoint_every), "0", 0, 1e9, "", FREE,
     "steps between checkpoints; the last step is always written"},
    {"output", "checkpoint_minutes", OPTION_REAL, AT(output.checkpoint_minutes), "30", 0, 1e6, "", FREE,
     "minutes between checkpoints, whatever the steps; 0 = by steps alone"},
    {"output", "checkpoint_at_start", OPTION_BOOL, AT(output.checkpoint_at_start), "false", 0, 0, "", FREE,
     "keep step 0, which otherwise goes when there is a later one"},
    {"output", "keep", OPTION_INTEGER, AT(output.keep), "3", 0, 1e9, "", FREE, "newest checkpoints that stay; 0 = all"},
    {"output", "keep_every", OPTION_INTEGER, AT(output.keep_every), "0", 0, 1e9, "", FREE,
     "checkpoints whose step is a multiple of this stay for ever; 0 = none"},
    {"output", "stop_after_minutes", OPTION_REAL, AT(output.stop_after_minutes), "0", 0, 1e7, "", FREE,
     "save and end with exit code 85 before so many minutes are over; 0 = no limit"},
    {"output", "log_every", OPTION_INTEGER, AT(output.log_every), "10", 1, 1e9, "", FREE,
     "steps between progress lines"},
    {"output", "heartbeat_seconds", OPTION_REAL, AT(output.heartbeat_seconds), "20", 0, 1e6, "", FREE,
     "say so where a step or an evaluation takes longer; 0 = never"},
};

/* ---- one table of all rows ------------------------------------------------------------------------------------------ */

enum { MAX_ROWS = 128 };
static OptionRow rows[MAX_ROWS];
static int row_count;

static void append(const OptionRow *more, int count, size_t offset)
{
    option_append_rows(rows, &row_count, MAX_ROWS, more, count, offset);
}

static void make_rows(void)
{
    int attention, optimizer, parallel, source, sample;
    if (row_count) return;
    append(model_rows, sizeof model_rows / sizeof *model_rows, 0);
    const OptionRow *more = attention_options(&attention);
    append(more, attention, AT(attention));
    append(attention_rows, sizeof attention_rows / sizeof *attention_rows, 0);
    append(train_rows, sizeof train_rows / sizeof *train_rows, 0);
    more = optimizer_options(&optimizer);
    append(more, optimizer, AT(train.optimizer));
    more = parallel_options(&parallel);
    append(more, parallel, AT(parallel));
    more = source_options(&source);
    append(more, source, AT(data.source));
    append(run_rows, sizeof run_rows / sizeof *run_rows, 0);
    more = sample_options(&sample);
    append(more, sample, AT(sample));
}

OptionTable config_options(Config *config)
{
    make_rows();
    return (OptionTable){rows, row_count, config};
}

OptionTable config_defaults(Config *config)
{
    OptionTable table = config_options(config);
    option_set_defaults(&table);
    return table;
}

uint64_t config_hash(const Config *config)
{
    uint64_t digests[MAX_ROWS];
    char text[OPTION_TEXT_SIZE];
    make_rows();
    for (int i = 0; i < row_count; i++) {
        option_format(&rows[i], config, text);
        digests[i] = digest_bytes(text, strlen(text));
    }
    return digest_bytes(digests, (size_t)row_count * sizeof *digests);
}

/* ---- what follows from it ------------------------------------------------------------------------------------------- */

DataSource config_data_source(const Config *config, TokenFile *file)
{
    return (DataSource){config->data.source, file, (uint64_t)config->train.seed};
}

double config_counted_targets(const Config *config)
{
    size_t in_sequence = source_counted(&config->data.source, (size_t)config->model.context_length);
    return (double)config->train.batch_sequences * (double)in_sequence;
}

int config_sequence_ranks(const Config *config, int ranks) { return ranks / (int)config->parallel.data_ranks; }

/* Into which train.stretch_length cuts a sequence, equal to a block; 1 when it does not. */
static int64_t stretches_of(const Config *config)
{
    int64_t context = config->model.context_length, length = config->train.stretch_length;
    return length > 0 && length < context ? (context + length - 1) / length : 1;
}

/* Of all layers, in memory of this function. */
static AttentionSpec *layer_specs(const Config *config, Message *problem)
{
    static AttentionSpec *specs;
    size_t layers = (size_t)config->model.layers, head_width = (size_t)(config->model.width / config->model.heads);
    specs = realloc(specs, layers * sizeof *specs);
    CHECK(specs, "cannot allocate the description of %zu layers", layers);
    return attention_specs(&config->attention, config->pattern, layers, head_width, specs, problem) ? specs : NULL;
}

ModelSpec config_model_spec(const Config *config)
{
    Message problem;
    const AttentionSpec *specs = layer_specs(config, &problem);
    CHECK(specs, "internal error: %s", problem.text);
    return (ModelSpec){
        .layers = (size_t)config->model.layers,
        .width = (size_t)config->model.width,
        .heads = (size_t)config->model.heads,
        .vocab_size = (size_t)config->model.vocab_size,
        .feedforward_width = (size_t)config->model.feedforward_width,
        .feedforward = (FeedForwardKind)config->model.feedforward,
        .logit_soft_cap = config->model.logit_soft_cap,
        .rotary_share = config->model.rotary_share,
        .zero_init_branches = config->model.zero_init_branches,
        .attention = specs,
    };
}

PassSpec config_pass_spec(const Config *config)
{
    return (PassSpec){
        .sequences = (size_t)config->train.micro_batch_sequences,
        .context_length = (size_t)config->model.context_length,
        .block_length = (size_t)config->block_length,
        .stretches = (size_t)stretches_of(config),
        .recompute = (RecomputeKind)config->train.recompute,
        .documents = config->train.document_mask,
        .dropout = config->model.dropout,
        .z_loss = config->train.z_loss,
        .label_smoothing = config->train.label_smoothing,
    };
}

/* ---- finishing ------------------------------------------------------------------------------------------------------ */

#define REQUIRE(condition, ...)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) return fail(problem, __VA_ARGS__);                                                           \
    } while (0)

/* What a made source decides. */
static bool finish_source(Config *config, Message *problem)
{
    enum { EVALUATED = 256 };
    SourceSpec *source = &config->data.source;
    int64_t *vocab_size = &config->model.vocab_size;
    if (!source_is_made(source)) return true;
    source_resolve(source);
    long long needed = source_vocab_size(source);
    if (*vocab_size == 0) *vocab_size = needed;
    if (config->evaluate.sequences == 0) config->evaluate.sequences = EVALUATED;
    REQUIRE(
        *vocab_size >= needed,
        "model.vocab_size = %lld is too small for data.source = %s, which has %lld tokens. Lower data.source_vocab, or "
        "set model.vocab_size = %lld for a new model",
        (long long)*vocab_size, source_name(source), needed, needed);
    return true;
}

static bool finish_model(Config *config, Message *problem)
{
    ModelConfig *model = &config->model;
    long long width = model->width, heads = model->heads;
    if (model->feedforward_width == 0)
        model->feedforward_width =
            model->feedforward == FEEDFORWARD_GLU ? model->width * 8 / 3 / 8 * 8 : 4 * model->width;
    if (model->feedforward_width == 0) model->feedforward_width = 8; /* widths below 3 */
    REQUIRE(width % heads == 0, "model.width = %lld is not divisible by model.heads = %lld. Try model.width = %lld",
            width, heads, (width / heads + 1) * heads);
    REQUIRE(width / heads % 2 == 0,
            "the head width model.width / model.heads = %lld is odd, but rotary embedding pairs numbers. Try "
            "model.width = %lld",
            width / heads, 2 * heads * (width / heads / 2 + 1));
    REQUIRE(model->vocab_size >= 2, "model.vocab_size = %lld: a vocabulary has at least 2 tokens",
            (long long)model->vocab_size);
    const AttentionSpec *specs = layer_specs(config, problem);
    if (!specs) return false;
    if (config->pattern[0]) /* layers differ: what is by rule stays so, but for what is the same in all */
        config->attention.scale = specs[0].scale;
    else
        config->attention = specs[0];
    return true;
}

/* How ranks and the batch are divided. */
static bool finish_batch(Config *config, int ranks, Message *problem)
{
    TrainConfig *train = &config->train;
    long long data_ranks = config->parallel.data_ranks, batch = train->batch_sequences;
    if (!parallel_check(&config->parallel, ranks, problem)) return false;
    REQUIRE(
        batch % data_ranks == 0,
        "train.batch_sequences = %lld is not divisible by parallel.data_ranks = %lld. Try train.batch_sequences = %lld",
        batch, data_ranks, (batch / data_ranks + 1) * data_ranks);
    if (train->micro_batch_sequences == 0) train->micro_batch_sequences = batch / data_ranks;
    long long micro = train->micro_batch_sequences;
    REQUIRE(batch / data_ranks % micro == 0,
            "train.micro_batch_sequences = %lld does not divide the %lld sequences of a data rank. Try 0 (all at once) "
            "or 1",
            micro, batch / data_ranks);
    return true;
}

const AttentionKind *config_quadratic_kind(const Config *config)
{
    ModelSpec spec = config_model_spec(config);
    for (size_t i = 0; i < spec.layers; i++)
        if (!attention_kind(&spec.attention[i])->carried) return attention_kind(&spec.attention[i]);
    return NULL;
}

static bool check_stretches(const Config *config, int sequence_ranks, Message *problem)
{
    long long stretches = stretches_of(config), length = config->train.stretch_length, block = config->block_length;
    long long blocks = (config->model.context_length + block - 1) / block;
    if (stretches == 1) return true;
    const AttentionKind *quadratic = config_quadratic_kind(config);
    REQUIRE(!quadratic,
            "train.stretch_length = %lld needs linear kinds in all layers, but %s looks back at all keys. Set it to 0",
            length, quadratic->name);
    REQUIRE(
        blocks / stretches >= sequence_ranks,
        "train.stretch_length = %lld is too short: a stretch needs a block of attention.block_length = %lld tokens for "
        "each of the %d ranks that share it. Try train.stretch_length = %lld",
        length, block, sequence_ranks, 2 * block * sequence_ranks);
    return true;
}

static bool check_sequences(const Config *config, int ranks, Message *problem)
{
    long long context = config->model.context_length, block = config->block_length;
    long long blocks = (context + block - 1) / block;
    int sequence_ranks = config_sequence_ranks(config, ranks);
    REQUIRE(
        sequence_ranks <= blocks,
        "%d ranks share a sequence, but it has only %lld blocks (model.context_length = %lld, attention.block_length "
        "= %lld). Use fewer ranks, more parallel.data_ranks or shorter blocks",
        sequence_ranks, blocks, context, block);
    REQUIRE(config->evaluate.stride == 0 || !source_is_made(&config->data.source),
            "evaluate.stride = %lld is for windows of a file, but data.source = %s has whole sequences. Set it to 0",
            (long long)config->evaluate.stride, source_name(&config->data.source));
    REQUIRE(
        !config->train.document_mask || !source_is_made(&config->data.source),
        "train.document_mask = true is for the documents of a file, but data.source = %s has whole sequences. Set it "
        "to false",
        source_name(&config->data.source));
    REQUIRE(
        config->evaluate.stride <= context,
        "evaluate.stride = %lld is longer than a sequence of model.context_length = %lld: tokens would be left out. "
        "Use 0 or at most %lld",
        (long long)config->evaluate.stride, context, context);
    return source_check(&config->data.source, (size_t)context, problem) &&
           check_stretches(config, sequence_ranks, problem);
}

bool config_finish(Config *config, int ranks, Message *problem)
{
    if (ranks > 0 && !finish_batch(config, ranks, problem)) return false;
    if (!finish_source(config, problem)) return false;
    return finish_model(config, problem) && (ranks == 0 || check_sequences(config, ranks, problem));
}

/* ---- comparing ------------------------------------------------------------------------------------------------------ */

static bool blocks_matter(const Config *config)
{
    ModelSpec spec = config_model_spec(config);
    for (size_t i = 0; i < spec.layers; i++)
        if (attention_blocks_matter(&spec.attention[i])) return true;
    return false;
}

/* Layer by layer, however the pattern is written. */
static bool same_layers(const Config *config, const Config *saved, Message *problem)
{
    size_t layers = (size_t)saved->model.layers;
    const AttentionSpec *specs = layer_specs(saved, problem);
    if (!specs) return false;
    AttentionSpec *theirs = checked_calloc(layers, sizeof *theirs);
    memcpy(theirs, specs, layers * sizeof *theirs);
    size_t other = 0;
    specs = layer_specs(config, problem);
    while (specs && other < layers && attention_same(&specs[other], &theirs[other])) other++;
    bool same = specs && other == layers;
    if (specs && !same)
        fail(problem,
             "the checkpoint has another attention in layer %zu: %s (attention.pattern = '%s'), this configuration %s "
             "(attention.pattern = '%s'). Use its pattern, or another output.folder",
             other, attention_kind(&theirs[other])->name, saved->pattern, attention_kind(&specs[other])->name,
             config->pattern);
    free(theirs);
    return same;
}

/* Where layers may differ, the options of attention are those of some only. */
static bool of_layers(const OptionRow *row)
{
    return strcmp(row->section, "attention") == 0 && row->offset != AT(block_length);
}

bool config_same_model(const Config *config, const Config *saved, Message *problem)
{
    Message cause;
    if (!layer_specs(saved, &cause)) return fail(problem, "the checkpoint's options: %.700s", cause.text);
    bool blocks = blocks_matter(saved), patterns = config->pattern[0] || saved->pattern[0];
    make_rows();
    for (int i = 0; i < row_count; i++) {
        bool defining = rows[i].model_defining && (rows[i].offset != AT(block_length) || blocks);
        if (!defining || (patterns && of_layers(&rows[i])) || option_equal(&rows[i], config, saved)) continue;
        char name[128], mine[OPTION_TEXT_SIZE], theirs[OPTION_TEXT_SIZE];
        option_name(&rows[i], name);
        option_format(&rows[i], config, mine);
        option_format(&rows[i], saved, theirs);
        return fail(problem,
                    "the checkpoint has %s = %s, this configuration %s. Use that value, or another output.folder", name,
                    theirs, mine);
    }
    return !patterns || same_layers(config, saved, problem);
}

void config_say_differences(const Config *config, const Config *other, bool model_alone, const char *what,
                            const char *where)
{
    make_rows();
    for (int i = 0; i < row_count; i++) {
        if ((model_alone && !rows[i].model_defining) || option_equal(&rows[i], config, other)) continue;
        char name[128], here[OPTION_TEXT_SIZE], there[OPTION_TEXT_SIZE];
        option_name(&rows[i], name);
        option_format(&rows[i], config, here);
        option_format(&rows[i], other, there);
        log_line("%s: %s = %s (%s %s)", what, name, here, where, there);
    }
}
