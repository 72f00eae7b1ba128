#include "tests/harness/single_rank.h"

#include <stdlib.h>

#include "tests/harness/variants.h"

double single_rank_loss(const Model *model, const PassSpec *spec, real *params, real *grads, const int32_t *inputs,
                        const int32_t *targets, real loss_scale)
{
    SequenceLink link = sequence_link_single();
    ModelPass *pass = model_pass_create(model, spec, &link, grads ? PASS_TRAIN : PASS_EVALUATE);
    ParamStore *store = param_store_over(&model->table, params, grads);
    DropoutKey key = {.seed = 1, .step = 5, .first_sequence = 0};
    TokenBatch batch = {(int32_t *)inputs, (int32_t *)targets, variant_document_starts(spec)}; /* only read */
    double loss = grads ? model_train(pass, store, &batch, loss_scale, key)
                        : model_evaluate(pass, store, &batch, NULL, NULL, NULL);
    free(batch.document_starts);
    param_store_destroy(store);
    model_pass_destroy(pass);
    return loss;
}
