#include "tests/harness/single_rank.h"

double single_rank_loss(const Model *model, const PassSpec *spec, real *params, real *grads, const int32_t *inputs,
                        const int32_t *targets, real loss_scale)
{
    SequenceLink link = sequence_link_single();
    ModelPass *pass = model_pass_create(model, spec, &link, grads ? PASS_TRAIN : PASS_EVALUATE);
    ParamStore *store = param_store_over(&model->table, params, grads);
    DropoutKey key = {.seed = 1, .step = 5, .first_sequence = 0};
    double loss = grads ? model_train(pass, store, inputs, targets, loss_scale, key)
                        : model_evaluate(pass, store, inputs, targets, NULL, NULL, NULL);
    param_store_destroy(store);
    model_pass_destroy(pass);
    return loss;
}
