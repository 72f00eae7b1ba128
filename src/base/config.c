#include "src/base/config.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#define AT(field) offsetof(Config, field)
#define MODEL_DEFINING true
#define FREE false

static const OptionRow rows[] = {
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

    {"attention", "kind", OPTION_CHOICE, AT(attention.kind), "polysketch", 0, 0,
     "softmax|polynomial|polysketch|performer", MODEL_DEFINING, "how tokens attend to earlier ones"},
    {"attention", "degree", OPTION_INTEGER, AT(attention.degree), "4", 2, 16, "", MODEL_DEFINING,
     "p of <q,k>^p, even; 2, 4 or 8 with random sketches"},
    {"attention", "scale", OPTION_REAL, AT(attention.scale), "auto", 1e-6, 1e6, "", MODEL_DEFINING,
     "factor of <q,k> before the power; auto = 1/sqrt(head width)"},
    {"attention", "denominator_one", OPTION_REAL, AT(attention.denominator_one), "1", 0, 1e9, "", MODEL_DEFINING,
     "constant added to the normaliser"},
    {"attention", "block_length", OPTION_INTEGER, AT(block_length), "256", 1, 1 << 20, "", MODEL_DEFINING,
     "tokens of a block, b; part of the model when local = exact"},
    {"attention", "sketch", OPTION_CHOICE, AT(attention.sketch), "learned", 0, 0, "random|learned", MODEL_DEFINING,
     "polysketch: fixed Gaussian or learned sketch"},
    {"attention", "sketch_size", OPTION_INTEGER, AT(attention.sketch_size), "32", 1, 1024, "", MODEL_DEFINING,
     "polysketch: r; the prefix state has r(r+1)/2 rows (random, degree 2: always the head width)"},
    {"attention", "local", OPTION_CHOICE, AT(attention.local), "exact", 0, 0, "exact|sketch", MODEL_DEFINING,
     "polysketch: exact polynomial inside a block, or the sketch everywhere"},
    {"attention", "features", OPTION_INTEGER, AT(attention.features), "256", 1, 1 << 20, "", MODEL_DEFINING,
     "performer: random features, m"},

    {"train", "steps", OPTION_INTEGER, AT(train.steps), "1000", 0, 1e9, "", FREE, "optimizer steps in all"},
    {"train", "batch_sequences", OPTION_INTEGER, AT(train.batch_sequences), "8", 1, 1 << 24, "", FREE,
     "sequences per step, whole job"},
    {"train", "micro_batch_sequences", OPTION_INTEGER, AT(train.micro_batch_sequences), "0", 0, 1 << 20, "", FREE,
     "sequences computed at a time by a rank; 0 = all of its share"},
    {"train", "learning_rate", OPTION_REAL, AT(train.learning_rate), "0.001", 0, 1000, "", FREE, "peak learning rate"},
    {"train", "min_learning_rate", OPTION_REAL, AT(train.min_learning_rate), "0", 0, 1000, "", FREE,
     "learning rate at the last step"},
    {"train", "warmup_steps", OPTION_INTEGER, AT(train.warmup_steps), "100", 0, 1e9, "", FREE,
     "steps of linear warm-up"},
    {"train", "schedule", OPTION_CHOICE, AT(train.schedule), "cosine", 0, 0, "cosine|linear|constant", FREE,
     "course of the learning rate after the warm-up"},
    {"train", "weight_decay", OPTION_REAL, AT(train.weight_decay), "0.1", 0, 100, "", FREE,
     "AdamW decay of matrices (not of norms, biases, the embedding)"},
    {"train", "beta1", OPTION_REAL, AT(train.beta1), "0.9", 0, 0.999999, "", FREE, "AdamW"},
    {"train", "beta2", OPTION_REAL, AT(train.beta2), "0.95", 0, 0.999999, "", FREE, "AdamW"},
    {"train", "epsilon", OPTION_REAL, AT(train.epsilon), "1e-8", 1e-30, 1, "", FREE, "AdamW"},
    {"train", "clip_norm", OPTION_REAL, AT(train.clip_norm), "1", 0, 1e9, "", FREE,
     "largest norm of the whole gradient; 0 = off"},
    {"train", "max_skipped_steps", OPTION_INTEGER, AT(train.max_skipped_steps), "10", 0, 1e9, "", FREE,
     "steps in a row that may be skipped because their loss or gradient is not finite (or too long); one more ends the "
     "run"},
    {"train", "skip_above_norm", OPTION_REAL, AT(train.skip_above_norm), "0", 0, 1e9, "", FREE,
     "skip steps whose gradient is longer than this times the usual; 0 = off"},
    {"train", "seed", OPTION_INTEGER, AT(train.seed), "1", 0, 9e15, "", FREE,
     "of initial values, data order and dropout"},
    {"train", "recompute", OPTION_CHOICE, AT(train.recompute), "none", 0, 0, "none|attention|layer", FREE,
     "what the backward pass computes again instead of keeping it"},
    {"train", "stretch_length", OPTION_INTEGER, AT(train.stretch_length), "0", 0, 1e9, "", FREE,
     "tokens of a sequence computed at a time, about; 0 = all. Linear kinds: memory for activations then does not grow "
     "with T"},

    {"data", "train", OPTION_TEXT, AT(data.train), "", 0, 0, "", FREE, "token file to train on"},
    {"data", "validation", OPTION_TEXT, AT(data.validation), "", 0, 0, "", FREE, "token file to evaluate on"},

    {"evaluate", "every", OPTION_INTEGER, AT(evaluate.every), "0", 0, 1e9, "", FREE,
     "steps between evaluations; 0 = only after the last step"},
    {"evaluate", "sequences", OPTION_INTEGER, AT(evaluate.sequences), "0", 0, 1e12, "", FREE,
     "windows of the validation file, from its start; 0 = all, each token once"},
    {"evaluate", "stride", OPTION_INTEGER, AT(evaluate.stride), "0", 0, 1e9, "", FREE,
     "tokens from one window to the next, of which the last so many count; 0 = the context length"},

    {"parallel", "data_ranks", OPTION_INTEGER, AT(parallel.data_ranks), "1", 1, 1 << 20, "", FREE,
     "groups of ranks that hold different sequences; ranks / data_ranks ranks share a sequence"},
    {"parallel", "scan", OPTION_CHOICE, AT(parallel.scan), "iexscan", 0, 0, "exscan|iexscan|chain", FREE,
     "prefix states by MPI_Exscan; by MPI_Iexscan, or a segmented chain, under way during the local part"},

    {"output", "folder", OPTION_TEXT, AT(output.folder), "results/run", 0, 0, "", FREE, "the run folder"},
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
};

OptionTable config_options(Config *config) { return (OptionTable){rows, (int)(sizeof rows / sizeof *rows), config}; }

uint64_t config_hash(const Config *config)
{
    uint64_t hash = 0;
    char text[OPTION_TEXT_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        option_format(&rows[i], config, text);
        hash = XXH64(text, strlen(text), hash);
    }
    return hash;
}

int config_sequence_ranks(const Config *config, int ranks) { return ranks / (int)config->parallel.data_ranks; }

int64_t config_stretches(const Config *config)
{
    int64_t context = config->model.context_length, length = config->train.stretch_length;
    return length > 0 && length < context ? (context + length - 1) / length : 1;
}

void config_resolve(Config *config)
{
    ModelConfig *model = &config->model;
    AttentionConfig *attention = &config->attention;
    if (model->feedforward_width == 0)
        model->feedforward_width =
            model->feedforward == FEEDFORWARD_GLU ? model->width * 8 / 3 / 8 * 8 : 4 * model->width;
    if (model->feedforward_width == 0) model->feedforward_width = 8; /* widths below 3 */
    int64_t head_width = model->width / model->heads;
    if (isnan(attention->scale)) attention->scale = 1 / sqrt((double)(head_width ? head_width : 1));
    if (attention->kind == ATTENTION_POLYSKETCH && attention->sketch == SKETCH_RANDOM && attention->degree == 2)
        attention->sketch_size = head_width;
    TrainConfig *train = &config->train;
    if (train->micro_batch_sequences == 0)
        train->micro_batch_sequences = train->batch_sequences / config->parallel.data_ranks;
}

#define REQUIRE(condition, ...)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) return fail(problem, __VA_ARGS__);                                                           \
    } while (0)

bool config_check_model(const Config *config, Message *problem)
{
    const ModelConfig *model = &config->model;
    const AttentionConfig *attention = &config->attention;
    long long width = model->width, heads = model->heads, degree = attention->degree;
    REQUIRE(width % heads == 0, "model.width = %lld is not divisible by model.heads = %lld. Try model.width = %lld",
            width, heads, (width / heads + 1) * heads);
    REQUIRE(width / heads % 2 == 0,
            "the head width model.width / model.heads = %lld is odd, but rotary embedding pairs numbers. Try "
            "model.width = %lld",
            width / heads, 2 * heads * (width / heads / 2 + 1));
    REQUIRE(model->vocab_size >= 2, "model.vocab_size = %lld: a vocabulary has at least 2 tokens",
            (long long)model->vocab_size);
    REQUIRE(degree % 2 == 0,
            "attention.degree = %lld is odd, but weights must not be negative. Try attention.degree = %lld", degree,
            degree + 1);
    bool random = attention->kind == ATTENTION_POLYSKETCH && attention->sketch == SKETCH_RANDOM;
    REQUIRE(!random || degree == 2 || degree == 4 || degree == 8,
            "attention.degree = %lld: random sketches exist for degree 2, 4 and 8", degree);
    return true;
}

bool config_check_data_ranks(const Config *config, int ranks, Message *problem)
{
    long long data_ranks = config->parallel.data_ranks, batch = config->train.batch_sequences;
    REQUIRE(ranks % data_ranks == 0,
            "%d ranks are not divisible by parallel.data_ranks = %lld. Choose a divisor, or another number of ranks",
            ranks, data_ranks);
    REQUIRE(
        batch % data_ranks == 0,
        "train.batch_sequences = %lld is not divisible by parallel.data_ranks = %lld. Try train.batch_sequences = %lld",
        batch, data_ranks, (batch / data_ranks + 1) * data_ranks);
    return true;
}

bool config_check_ranks(const Config *config, int ranks, Message *problem)
{
    if (!config_check_data_ranks(config, ranks, problem)) return false;
    long long data_ranks = config->parallel.data_ranks, context = config->model.context_length;
    long long block = config->block_length, blocks = (context + block - 1) / block;
    int sequence_ranks = config_sequence_ranks(config, ranks);
    REQUIRE(
        sequence_ranks <= blocks,
        "%d ranks share a sequence, but it has only %lld blocks (model.context_length = %lld, attention.block_length "
        "= %lld). Use fewer ranks, more parallel.data_ranks or shorter blocks",
        sequence_ranks, blocks, context, block);
    long long stretches = config_stretches(config), length = config->train.stretch_length;
    bool linear = config->attention.kind == ATTENTION_POLYSKETCH || config->attention.kind == ATTENTION_PERFORMER;
    REQUIRE(
        stretches == 1 || linear,
        "train.stretch_length = %lld needs a linear kind: attention.kind = polysketch or performer. Others look back "
        "at all keys; set it to 0",
        length);
    REQUIRE(
        blocks / stretches >= sequence_ranks,
        "train.stretch_length = %lld is too short: a stretch needs a block of attention.block_length = %lld tokens for "
        "each of the %d ranks that share it. Try train.stretch_length = %lld",
        length, block, sequence_ranks, 2 * block * sequence_ranks);
    REQUIRE(
        config->evaluate.stride <= context,
        "evaluate.stride = %lld is longer than a sequence of model.context_length = %lld: tokens would be left out. "
        "Use 0 or at most %lld",
        (long long)config->evaluate.stride, context, context);
    long long batch = config->train.batch_sequences, micro = config->train.micro_batch_sequences;
    REQUIRE(micro >= 1 && batch / data_ranks % micro == 0,
            "train.micro_batch_sequences = %lld does not divide the %lld sequences of a data rank. Try 0 (all at once) "
            "or 1",
            micro, batch / data_ranks);
    return true;
}

/* Only exact local parts make the blocks a part of the model; elsewhere they are a way to compute. */
static bool blocks_are_free(const Config *config)
{
    return config->attention.kind != ATTENTION_POLYSKETCH || config->attention.local != LOCAL_EXACT;
}

bool config_same_model(const Config *config, const Config *saved, Message *problem)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool defining = rows[i].model_defining && !(rows[i].offset == AT(block_length) && blocks_are_free(saved));
        if (!defining || option_equal(&rows[i], config, saved)) continue;
        char name[128], mine[OPTION_TEXT_SIZE], theirs[OPTION_TEXT_SIZE];
        option_name(&rows[i], name);
        option_format(&rows[i], config, mine);
        option_format(&rows[i], saved, theirs);
        return fail(problem,
                    "the checkpoint has %s = %s, this configuration %s. Use that value, or another output.folder", name,
                    theirs, mine);
    }
    return true;
}
