#include "tests/harness/single_rank.h"

double single_rank_loss(const Model *model, const real *params, real *grads, const int32_t *inputs,
                        const int32_t *targets, size_t sequences, real loss_scale)
{
    SequenceLink link = sequence_link_single();
    AttentionShape shape = model_shape(&model->config, sequences, (size_t)model->config.model.context_length, 0, 1);
    ModelPass *pass = model_pass_create(model, shape, &link, grads ? PASS_TRAIN : PASS_EVALUATE);
    DropoutKey key = {.seed = 1, .step = 5, .first_sequence = 0};
    double loss = grads ? model_train(pass, params, grads, inputs, targets, loss_scale, key)
                        : model_evaluate(pass, params, inputs, targets, NULL);
    model_pass_destroy(pass);
    return loss;
}
