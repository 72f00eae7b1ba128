#include "src/attention/attention.h"

#include "src/attention/kinds.h"

/* In the order of AttentionKindId and of the choices of attention.kind. */
static const AttentionKind *const kinds[] = {&attention_softmax, &attention_polynomial, &attention_polysketch,
                                             &attention_performer};

AttentionLayer attention_declare(const Config *config, ParamTable *table, const char *prefix)
{
    AttentionLayer layer = {
        .kind = kinds[config->attention.kind],
        .table = table,
        .config = config->attention,
        .heads = (size_t)config->model.heads,
        .head_width = (size_t)(config->model.width / config->model.heads),
    };
    layer.kind->declare(&layer, table, prefix);
    return layer;
}
