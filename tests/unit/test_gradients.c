/* Gradients of every attention kind and every tensor against finite differences of the loss.

   In the double build each tensor is checked number by number. In float the loss has too few digits for that: there the
   slope along the whole gradient of each tensor is compared with its length. threads: 1; time limit: 300 s, for the sanitizers */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/model/decode.h"
#include "tests/harness/check.h"
#include "tests/harness/effort.h"
#include "tests/harness/gradient_rounding.h"
#include "tests/harness/rounding.h"
#include "tests/harness/single_rank.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

enum { SEQUENCES = 2, NUMBERS_PER_TENSOR = 6 };

typedef struct Problem {
    const char *name;
    Model *model;
    PassSpec pass;
    real *params, *grads;
    int32_t *inputs, *targets;
    double loss_movement; /* by rounding */
} Problem;

static Problem problem_create(const Variant *variant, const char *more, size_t sequences)
{
    Config config = variant_config(variant, more);
    Problem p = {.name = variant->name, .model = variant_model(&config), .pass = variant_pass(&config, sequences)};
    size_t tokens = sequences * (size_t)config.model.context_length;
    p.params = variant_parameters(p.model, 11);
    p.grads = checked_calloc(p.model->table.trained_count, sizeof *p.grads);
    p.inputs = random_tokens(tokens, config.model.vocab_size, 1);
    p.targets = random_tokens(tokens, config.model.vocab_size, 2);
    single_rank_loss(p.model, &p.pass, p.params, p.grads, p.inputs, p.targets, 1);
    return p;
}

static void problem_destroy(Problem *p)
{
    model_destroy(p->model);
    free(p->params), free(p->grads), free(p->inputs), free(p->targets);
}

/* What z_loss and label_smoothing make of the loss of one position. */
static double position_objective(const real *logits, size_t V, size_t target, const PassSpec *spec)
{
    double sum = 0, mean = 0;
    for (size_t c = 0; c < V; c++) sum += exp((double)logits[c]), mean += (double)logits[c] / (double)V;
    double log_sum = log(sum), smoothing = spec->label_smoothing;
    return log_sum - (1 - smoothing) * (double)logits[target] - smoothing * mean + spec->z_loss * log_sum * log_sum;
}

/* Its sum over all positions, whose logits are the decoder's: the passes report plain losses alone. */
static double objective_of(const Problem *p)
{
    size_t T = p->pass.context_length;
    double sum = 0;
    ParamStore *store = param_store_over(&p->model->table, p->params, NULL);
    param_store_acquire_all(store);
    for (size_t s = 0; s < p->pass.sequences; s++) {
        Decoder *decoder = decoder_create(p->model, store, (DecodeShape){T, p->pass.block_length}, 1);
        for (size_t t = s * T; t < (s + 1) * T; t++)
            sum += position_objective(decoder_step(decoder, p->inputs[t]), p->model->vocab_size, (size_t)p->targets[t],
                                      &p->pass);
        decoder_destroy(decoder);
    }
    param_store_destroy(store);
    return sum;
}

/* Forward only, with the same dropout masks as the gradient: model_train() into a throw-away gradient where masks exist. */
static double loss_of(const Problem *p)
{
    if (p->pass.z_loss > 0 || p->pass.label_smoothing > 0) return objective_of(p);
    if (p->pass.dropout == 0) return single_rank_loss(p->model, &p->pass, p->params, NULL, p->inputs, p->targets, 1);
    real *unused = checked_calloc(p->model->table.trained_count, sizeof *unused);
    double loss = single_rank_loss(p->model, &p->pass, p->params, unused, p->inputs, p->targets, 1);
    free(unused);
    return loss;
}

typedef struct Slope {
    double value, error;
} Slope;

/* Four-point central differences along `direction`, error of order step^4, with this step and with its double. The error is
   measured too: what halving the step changes (fifteen times the error that is left), and the rounding of the losses, which
   the factors of the difference add up to one and a half times. */
static Slope slope(const Problem *p, const Param *param, const double *direction, double step)
{
    enum { POINTS = 6 };
    static const double offsets[POINTS] = {-4, -2, -1, 1, 2, 4}, fine_factors[POINTS] = {0, 1, -8, 8, -1, 0},
                        coarse_factors[POINTS] = {1, -8, 0, 0, 8, -1};
    real *values = p->params + param->offset, *kept = checked_calloc(param->count, sizeof *kept);
    double fine = 0, coarse = 0;
    memcpy(kept, values, param->count * sizeof *kept);
    for (int i = 0; i < POINTS; i++) {
        for (size_t j = 0; j < param->count; j++) values[j] = kept[j] + (real)(offsets[i] * step * direction[j]);
        double loss = loss_of(p);
        fine += fine_factors[i] * loss / (12 * step);
        coarse += coarse_factors[i] * loss / (24 * step);
    }
    memcpy(values, kept, param->count * sizeof *kept);
    free(kept);
    return (Slope){fine, fabs(fine - coarse) + 1.5 * ROUNDING_FACTOR * p->loss_movement / step};
}

static double length(const real *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static void check_numbers(const Problem *p, const Param *param, double movement)
{
    const real *gradient = p->grads + param->offset;
    double *direction = checked_calloc(param->count, sizeof *direction);
    size_t count = param->count < NUMBERS_PER_TENSOR ? param->count : NUMBERS_PER_TENSOR;
    for (size_t i = 0; i < count; i++) {
        size_t j = param->count <= NUMBERS_PER_TENSOR
                       ? i
                       : (size_t)(rng_uniform(rng_stream(4, param->name, 5), i) * (double)param->count);
        direction[j] = 1;
        Slope expected = slope(p, param, direction, 1e-4);
        direction[j] = 0;
        check_true(fabs(expected.value - (double)gradient[j]) <= expected.error + ROUNDING_FACTOR * movement,
                   "%s: d loss / d %s[%zu] = %.10g by backward, %.10g by differences, give or take %.2g", p->name,
                   param->name, j, (double)gradient[j], expected.value, expected.error);
    }
    free(direction);
}

static void check_slope(const Problem *p, const Param *param, double movement)
{
    const real *gradient = p->grads + param->offset;
    double norm = length(gradient, param->count), *direction = checked_calloc(param->count, sizeof *direction);
    for (size_t j = 0; j < param->count && norm > 0; j++) direction[j] = (double)gradient[j] / norm;
    double step = fmin(0.02, 0.05 / (norm + 1e-9)); /* a change of the loss of a few hundredths */
    Slope expected = slope(p, param, direction, step);
    expected.error += ROUNDING_FACTOR * movement * sqrt((double)param->count); /* of the length */
    check_true(expected.error < norm, "%s: the slope along the gradient of %s is known: %.6g, give or take %.2g",
               p->name, param->name, expected.value, expected.error);
    check_true(fabs(expected.value - norm) <= expected.error,
               "%s: slope along the gradient of %s is %.12g, give or take %.2g, its length %.12g", p->name, param->name,
               expected.value, expected.error, norm);
    free(direction);
}

/* `movement`: of the tensor's gradient, by rounding. */
typedef void TensorCheck(const Problem *, const Param *, double movement);

static void check_tensors(const Variant *variant, const char *more, size_t sequences, TensorCheck *check)
{
    Problem p = problem_create(variant, more, sequences);
    PlainGradients plain = plain_gradients_create(p.model, &p.pass, p.params, p.inputs, p.targets, 1);
    p.loss_movement = fmax(plain.loss_movement, DBL_EPSILON * plain.loss); /* the sum of the losses is a double */
    for (int i = 0; i < p.model->table.count; i += FEWER_REPETITIONS) {
        const Param *param = &p.model->table.params[i];
        if (!param->trained) continue;
        check_true(length(p.grads + param->offset, param->count) > 0, "%s: the gradient of %s is not zero", p.name,
                   param->name);
        check(&p, param, plain.movements[i]);
    }
    plain_gradients_destroy(&plain);
    problem_destroy(&p);
}

static void check_problem(const Variant *variant, const char *more)
{
    check_tensors(variant, more, SEQUENCES, sizeof(real) == 8 ? check_numbers : check_slope);
}

static void test_every_kind(void)
{
    for (int v = 0; v < variant_count; v++) check_problem(&variants[v], NULL);
}

/* Documents, some of one token. Rows that see few keys bend the loss so much that differences of floats do not tell its slope: in
   float, test_attention and test_parity show that gradients stay within documents and are the same on all ranks. */
static void test_documents(void)
{
    if (sizeof(real) == 4) return;
    for (int v = 0; v < variant_count; v++) check_problem(&variants[v], "train.document_mask=true");
    for (int v = 0; v < hybrid_count; v++)
        check_problem(&hybrids[v], HYBRID_LAYERS "attention.sketch_size=7 train.document_mask=true");
}

static void test_hybrids(void)
{
    for (int v = 0; v < hybrid_count; v++) check_problem(&hybrids[v], HYBRID_LAYERS "attention.sketch_size=7");
}

static void test_feedforward_and_dropout(void)
{
    Variant learned = {"learned, gelu, dropout", "kind=polysketch sketch=learned"};
    check_problem(&learned, "model.feedforward=gelu model.dropout=0.2");
    Variant polynomial = {"polynomial, one = 0.3, scale = 0.7", "kind=polynomial denominator_one=0.3 scale=0.7"};
    check_problem(&polynomial, NULL);
}

/* A cap that bends the logits of this model, which are about as large. */
static void test_soft_cap(void)
{
    Variant softmax = {"softmax, soft cap", "kind=softmax"};
    check_problem(&softmax, "model.logit_soft_cap=2");
}

static void test_rotary_share(void)
{
    Variant learned = {"learned, half of the pairs turned", "kind=polysketch sketch=learned"};
    check_problem(&learned, "model.rotary_share=0.5");
}

static void test_objective(void)
{
    Variant softmax = {"softmax, z-loss, smoothing", "kind=softmax"};
    check_problem(&softmax, "train.z_loss=0.05");
    check_problem(&softmax, "train.label_smoothing=0.3");
    check_problem(&softmax, "train.z_loss=0.05 train.label_smoothing=0.1 model.logit_soft_cap=4");
}

/* The loss that a training pass reports is the plain one, bit by bit, whatever it minimises. */
static void test_reported_loss(void)
{
    Problem plain = problem_create(&variants[0], NULL, SEQUENCES),
            other = problem_create(&variants[0], "train.z_loss=0.1 train.label_smoothing=0.2", SEQUENCES);
    size_t count = plain.model->table.trained_count;
    real *grads = checked_calloc(count, sizeof *grads);
    double loss = single_rank_loss(other.model, &other.pass, other.params, grads, other.inputs, other.targets, 1);
    check_true(loss == loss_of(&plain), "reported: %.17g, plain: %.17g", loss, loss_of(&plain));
    check_true(memcmp(grads, plain.grads, count * sizeof *grads) != 0, "the gradients are others");
    free(grads);
    problem_destroy(&plain);
    problem_destroy(&other);
}

/* Recomputation changes what is kept, not a bit of the result. */
#define RECOMPUTED "model.layers=3 model.dropout=0.1"

static void check_recompute(const Variant *variant, bool documents)
{
    const char *mask = documents ? " train.document_mask=true" : "", *const choices[] = {"attention", "layer"};
    char options[128];
    snprintf(options, sizeof options, RECOMPUTED "%s", mask);
    Problem kept = problem_create(variant, options, SEQUENCES);
    for (int i = 0; i < 2; i++) {
        snprintf(options, sizeof options, RECOMPUTED "%s train.recompute=%s", mask, choices[i]);
        Problem again = problem_create(variant, options, SEQUENCES);
        check_true(memcmp(kept.grads, again.grads, kept.model->table.trained_count * sizeof(real)) == 0,
                   "%s: %s gives the same bits", variant->name, choices[i]);
        problem_destroy(&again);
    }
    problem_destroy(&kept);
}

static void test_recompute(void)
{
    for (int v = 0; v < variant_count; v++) check_recompute(&variants[v], v % 2 == 1);
    for (int v = 0; v < hybrid_count; v++) check_recompute(&hybrids[v], v % 2 == 0);
}

static size_t activation_bytes(const char *more)
{
    Variant learned = {"learned", "kind=polysketch sketch=learned"};
    Config config = variant_config(&learned, more);
    Model *model = variant_model(&config);
    PassSpec pass = variant_pass(&config, 1);
    size_t bytes = model_pass_bytes(model, &pass, 0, 1, PASS_TRAIN).activations;
    model_destroy(model);
    return bytes;
}

/* What is computed again need not be kept; what is computed in stretches is kept for one. */
static void test_memory(void)
{
    size_t all = activation_bytes("model.layers=3"),
           attention = activation_bytes("model.layers=3 train.recompute=attention"),
           layer = activation_bytes("model.layers=3 train.recompute=layer");
    check_true(layer < attention && attention < all, "activations: layer %zu < attention %zu < none %zu bytes", layer,
               attention, all);
    size_t once = activation_bytes("model.context_length=4096 train.stretch_length=64"),
           twice = activation_bytes("model.context_length=8192 train.stretch_length=64"),
           whole = activation_bytes("model.context_length=4096");
    check_true(twice < whole / 2 && twice > once, "stretches: %zu bytes, of twice the context %zu, in one piece %zu",
               once, twice, whole);
}

/* The gradient of a sum of losses is the sum of the gradients: micro-batches may be cut anywhere. */
static void test_accumulation(void)
{
    Problem p = problem_create(&variants[0], NULL, SEQUENCES);
    size_t T = p.pass.context_length, count = p.model->table.trained_count;
    real *parts = checked_calloc(count, sizeof *parts);
    double loss = 0;
    PassSpec one = p.pass;
    one.sequences = 1;
    for (size_t s = 0; s < SEQUENCES; s++)
        loss += single_rank_loss(p.model, &one, p.params, parts, p.inputs + s * T, p.targets + s * T, 1);
    PlainGradients whole = plain_gradients_create(p.model, &p.pass, p.params, p.inputs, p.targets, 1);
    check_gradients("micro-batches", &whole, loss, parts);
    plain_gradients_destroy(&whole);
    free(parts);
    problem_destroy(&p);
}

/* Sizes at which panels, tiles, strips and chunks are cut. */
#define REAL_SHAPE "model.layers=1 model.width=32 model.heads=1 model.context_length=700 attention.sketch_size=32 "
#define REAL_BLOCKS REAL_SHAPE "attention.block_length=320"

/* Where blocks are only a way to compute, long ones give the gradients of short ones. */
static void test_block_lengths(void)
{
    for (int v = 0; v < variant_count; v += VARIANT_STEP) {
        if (variant_blocks_matter(&variants[v])) continue;
        Problem wide = problem_create(&variants[v], REAL_BLOCKS, 1),
                narrow = problem_create(&variants[v], REAL_SHAPE "attention.block_length=16", 1);
        PlainGradients plain =
            plain_gradients_create(narrow.model, &narrow.pass, narrow.params, narrow.inputs, narrow.targets, 1);
        check_gradients(variants[v].name, &plain, loss_of(&wide), wide.grads);
        plain_gradients_destroy(&plain);
        problem_destroy(&wide);
        problem_destroy(&narrow);
    }
}

/* Where they are part of the definition, every tensor's gradient against differences; blocks so long that a sequence still has
   some behind the window. */
static void test_long_blocks(void)
{
    for (int v = 0; v < variant_count; v += VARIANT_STEP) {
        const char *shape =
            strstr(variants[v].settings, "window") ? REAL_SHAPE "attention.block_length=150" : REAL_BLOCKS;
        if (variant_blocks_matter(&variants[v])) check_tensors(&variants[v], shape, 1, check_slope);
    }
}

static const TestCase tests[] = {
    {"every kind, every tensor", test_every_kind},
    {"layers of different kinds", test_hybrids},
    {"documents", test_documents},
    {"gelu, dropout, other constants", test_feedforward_and_dropout},
    {"soft cap of the logits", test_soft_cap},
    {"half of the pairs turned", test_rotary_share},
    {"z-loss and label smoothing", test_objective},
    {"reported losses are plain", test_reported_loss},
    {"recomputation", test_recompute},
    {"memory", test_memory},
    {"accumulation", test_accumulation},
    {"real sizes: block lengths that do not matter", test_block_lengths},
    {"real sizes: long exact blocks", test_long_blocks},
};
static const Suite suites[] = {SUITE("gradients", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_gradients", suites, 1);
    world_stop();
    return code;
}
