#include "tests/harness/variants.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rng.h"

const Variant variants[] = {
    {"softmax", "kind=softmax"},
    {"softmax-normed", "kind=softmax qk_norm=true"},
    {"polynomial-2", "kind=polynomial degree=2"},
    {"polynomial-4", "kind=polynomial degree=4"},
    {"polynomial-6", "kind=polynomial degree=6"},
    {"polynomial-8", "kind=polynomial degree=8"},
    {"random-2-exact", "kind=polysketch sketch=random degree=2 local=exact"},
    {"random-4-exact", "kind=polysketch sketch=random degree=4 local=exact"},
    {"random-8-exact", "kind=polysketch sketch=random degree=8 local=exact"},
    {"random-2-sketch", "kind=polysketch sketch=random degree=2 local=sketch"},
    {"random-4-sketch", "kind=polysketch sketch=random degree=4 local=sketch"},
    {"random-8-sketch", "kind=polysketch sketch=random degree=8 local=sketch"},
    {"learned-exact", "kind=polysketch sketch=learned degree=4 local=exact"},
    {"learned-sketch", "kind=polysketch sketch=learned degree=4 local=sketch"},
    {"projection-exact", "kind=polysketch sketch=projection degree=4 local=exact"},
    {"projection-sketch", "kind=polysketch sketch=projection degree=4 local=sketch"},
    {"performer", "kind=performer features=12"},
    {"softmax-gated", "kind=softmax gate=data"},
    {"polynomial-gated", "kind=polynomial degree=4 gate=constant"},
    {"performer-gated", "kind=performer features=12 gate=data"},
    {"random-gated", "kind=polysketch sketch=random degree=4 local=sketch far_scale=0.3 gate=data"},
    {"window", "kind=polysketch sketch=random degree=4 local=window"},
    {"window-2-gated", "kind=polysketch sketch=learned sketch_size=5 sketch_levels=3 sketch_expansion=4 degree=4 "
                       "local=window window_blocks=2 gate=data"},
    {"exponential", "kind=polysketch sketch=random degree=4 local=exact local_weight=exp"},
    {"window-exponential", "kind=polysketch sketch=learned sketch_levels=1 sketch_expansion=5 degree=4 local=window "
                           "local_weight=exp gate=data "
                           "far_scale=0.4"},
};
const int variant_count = sizeof variants / sizeof *variants;

const Variant hybrids[] = {
    {"hybrid-sketches", "pattern=polysketch:random,polysketch:learned*2"},
    {"hybrid-linear", "pattern=performer,polysketch:random,polysketch:learned features=12 local=sketch"},
    {"hybrid-projection", "pattern=polysketch:projection,polysketch:learned,performer features=12 degree=6"},
    {"hybrid-exact", "pattern=polysketch*2,softmax"},
    {"hybrid-normed", "pattern=polysketch,softmax,performer features=12 qk_norm=true"},
    {"hybrid-all", "pattern=polynomial,performer,polysketch:random features=12 degree=2"},
    {"hybrid-gated",
     "pattern=polysketch:random,polysketch:learned,performer features=12 local=window gate=data far_scale=0.5"},
    {"hybrid-softmax-gated", "pattern=polysketch:learned*2,softmax local=window local_weight=exp gate=data"},
};
const int hybrid_count = sizeof hybrids / sizeof *hybrids;

bool variant_is_linear(const Variant *variant)
{
    const char *settings = variant->settings;
    return !strstr(settings, "softmax") && !strstr(settings, "polynomial");
}

bool variant_blocks_matter(const Variant *variant)
{
    Config config = variant_config(variant, NULL);
    return attention_blocks_matter(&config.attention);
}

static void set_all(Config *config, const char *section, const char *settings)
{
    char copy[1024], *rest = copy;
    snprintf(copy, sizeof copy, "%s", settings ? settings : "");
    OptionTable table = config_options(config);
    Message problem;
    for (char *word; (word = strtok_r(rest, " ", &rest));) {
        char name[128], *equals = strchr(word, '=');
        *equals = 0;
        snprintf(name, sizeof name, "%s%s", section, word);
        CHECK(option_set(&table, 1, name, equals + 1, &problem), "test configuration: %s", problem.text);
    }
}

Config variant_config(const Variant *variant, const char *more)
{
    Config config;
    memset(&config, 0, sizeof config);
    OptionTable table = config_options(&config);
    option_set_defaults(&table);
    set_all(&config, "",
            "model.layers=2 model.width=16 model.heads=2 model.vocab_size=11 model.context_length=22 "
            "model.feedforward_width=8 attention.block_length=4 attention.sketch_size=3 train.batch_sequences=2");
    set_all(&config, "attention.", variant->settings);
    set_all(&config, "", more);
    Message problem;
    CHECK(config_finish(&config, 0, &problem), "test configuration: %s", problem.text);
    return config;
}

Model *variant_model(const Config *config)
{
    ModelSpec spec = config_model_spec(config);
    return model_create(&spec);
}

PassSpec variant_pass(const Config *config, size_t sequences)
{
    PassSpec spec = config_pass_spec(config);
    spec.sequences = sequences;
    return spec;
}

real *variant_parameters(const Model *model, uint64_t seed)
{
    real *params = checked_calloc(model->table.total_count, sizeof *params);
    param_table_initialise(&model->table, seed, params);
    for (int i = 0; i < model->table.count; i++) {
        const Param *param = &model->table.params[i];
        if (!param->trained) continue;
        double *noise = checked_calloc(param->count, sizeof *noise);
        rng_normal(rng_stream(seed, param->name, 77), 0, param->count, noise);
        for (size_t j = 0; j < param->count; j++) params[param->offset + j] += (real)(0.2 * noise[j]);
        free(noise);
    }
    return params;
}

/* Of the first sequence documents begin at 5, 6 and at its middle; of the others where it happens, five or so in all. */
static bool begins_document(size_t s, size_t t, size_t T)
{
    if (s == 0) return t == 5 || t == 6 || t == T / 2;
    return rng_uniform(rng_stream(13, "test documents", s), t) < 4.0 / (double)T;
}

int32_t *variant_document_starts(const PassSpec *spec)
{
    size_t T = spec->context_length;
    if (!spec->documents) return NULL;
    int32_t *starts = checked_calloc(spec->sequences * T, sizeof *starts);
    for (size_t s = 0; s < spec->sequences; s++)
        for (size_t t = 1; t < T; t++)
            starts[s * T + t] = begins_document(s, t, T) ? (int32_t)t : starts[s * T + t - 1];
    return starts;
}

int32_t *random_tokens(size_t count, int64_t vocab_size, uint64_t seed)
{
    int32_t *tokens = checked_calloc(count, sizeof *tokens);
    for (size_t i = 0; i < count; i++)
        tokens[i] = (int32_t)(rng_uniform(rng_stream(seed, "test tokens", 0), i) * (double)vocab_size);
    return tokens;
}

real *random_reals(size_t count, double scale, uint64_t seed)
{
    real *values = checked_calloc(count, sizeof *values);
    double *normal = checked_calloc(count, sizeof *normal);
    rng_normal(rng_stream(seed, "test numbers", 0), 0, count, normal);
    for (size_t i = 0; i < count; i++) values[i] = (real)(scale * normal[i]);
    free(normal);
    return values;
}
