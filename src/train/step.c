#include "src/train/step.h"

#include <stdlib.h>

#include "mpi/param_store_sharded.h"
#include "mpi/world.h"
#include "src/base/memory.h"

TrainStep *train_step_create(const Config *config, const Model *model, const Topology *topology)
{
    TrainStep *step = checked_calloc(1, sizeof *step);
    PassSpec spec = config_pass_spec(config);
    step->config = config;
    step->optimizer = optimizer_plan(&config->train.optimizer, &model->table);
    step->store = param_store_sharded(&model->table, &step->optimizer->states, STORE_GRADIENTS,
                                      (GradientSums)config->parallel.gradient_sums,
                                      (ShardSpec){(ShardStage)config->parallel.shard,
                                                  step->optimizer->kind->whole_matrices, config->parallel.node_shared});
    optimizer_prepare(step->optimizer, step->store);
    step->pass = model_pass_create(model, &spec, topology->link, PASS_TRAIN);
    step->micro_batches = config->train.batch_sequences / config->parallel.data_ranks / (int64_t)spec.sequences;
    step->first_sequence = (uint64_t)topology->data_rank * (uint64_t)step->micro_batches * spec.sequences;
    step->batch = token_batch_create(spec.sequences * model_pass_tokens(step->pass), spec.documents);
    return step;
}

void train_step_destroy(TrainStep *step)
{
    if (!step) return;
    model_pass_destroy(step->pass);
    param_store_destroy(step->store);
    optimizer_destroy(step->optimizer);
    token_batch_destroy(&step->batch);
    free(step);
}

double train_step_gradients(TrainStep *step, TokenSource tokens, void *context, uint64_t number)
{
    const Config *config = step->config;
    uint64_t B = (uint64_t)model_pass_spec(step->pass)->sequences;
    real loss_scale = (real)(1.0 / config_counted_targets(config));
    double sum = 0;
    step->store->clear_gradients(step->store);
    for (int64_t i = 0; i < step->micro_batches; i++) {
        uint64_t in_batch = step->first_sequence + (uint64_t)i * B;
        tokens(context, in_batch, &step->batch);
        if (i + 1 == step->micro_batches) step->store->open_sums(step->store);
        DropoutKey dropout = {(uint64_t)config->train.seed, number, in_batch};
        sum += model_train(step->pass, step->store, &step->batch, loss_scale, dropout);
    }
    step->store->close_sums(step->store);
    return sum;
}

void train_step_update(TrainStep *step, double learning_rate, double gradient_norm, int64_t updates)
{
    OptimizerStep update = {
        .learning_rate = learning_rate,
        .gradient_factor = optimizer_clip_factor(gradient_norm, step->config->train.clip_norm),
        .number = updates,
    };
    optimizer_update(step->optimizer, step->store, &update);
}
