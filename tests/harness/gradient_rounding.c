#include "tests/harness/gradient_rounding.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/single_rank.h"

PlainGradients plain_gradients_create(const Model *model, const PassSpec *spec, real *params, const int32_t *inputs,
                                      const int32_t *targets, real loss_scale)
{
    const ParamTable *table = &model->table;
    PlainGradients plain = {.table = table};
    plain.grads = checked_calloc(table->trained_count, sizeof *plain.grads);
    plain.movements = checked_calloc((size_t)table->count, sizeof *plain.movements);
    plain.loss = single_rank_loss(model, spec, params, plain.grads, inputs, targets, loss_scale);
    for (uint64_t draw = (uint64_t)world().rank; draw < ROUNDING_DRAWS; draw += (uint64_t)world().size) {
        real *moved_params = nudged(params, table->total_count, draw),
             *moved = checked_calloc(table->trained_count, sizeof *moved);
        double loss = single_rank_loss(model, spec, moved_params, moved, inputs, targets, loss_scale);
        plain.loss_movement = fmax(plain.loss_movement, fabs(loss - plain.loss));
        for (int i = 0; i < table->count; i++) {
            const Param *param = &table->params[i];
            if (param->trained)
                plain.movements[i] = largest_movement(plain.movements[i], moved + param->offset,
                                                      plain.grads + param->offset, param->count);
        }
        free(moved_params), free(moved);
    }
    world_max_doubles(&plain.loss_movement, 1);
    world_max_doubles(plain.movements, table->count);
    return plain;
}

void plain_gradients_destroy(PlainGradients *plain) { free(plain->grads), free(plain->movements); }

static double tolerance_of(const PlainGradients *plain, int i)
{
    const Param *param = &plain->table->params[i];
    return rounding_tolerance(plain->movements[i], plain->grads + param->offset, param->count);
}

void check_gradients(const char *what, const PlainGradients *plain, double loss, const real *grads)
{
    const double summed = 4 * REAL_EPSILON; /* of a sum of thousands of losses, in another order */
    double allowed = ROUNDING_FACTOR * fmax(plain->loss_movement, summed * fabs(plain->loss));
    check_true(fabs(loss - plain->loss) <= allowed, "%s: loss %.12g, %.3g from that of one process, %.3g allowed", what,
               loss, fabs(loss - plain->loss), allowed);
    char name[256];
    for (int i = 0; i < plain->table->count; i++) {
        const Param *param = &plain->table->params[i];
        if (!param->trained) continue;
        snprintf(name, sizeof name, "%s: gradient of %s", what, param->name);
        check_close_real(name, grads + param->offset, plain->grads + param->offset, param->count,
                         tolerance_of(plain, i));
    }
}

double gradient_excess(const PlainGradients *plain, const real *grads)
{
    double worst = 0;
    for (int i = 0; i < plain->table->count; i++) {
        const Param *param = &plain->table->params[i];
        if (!param->trained) continue;
        const real *expected = plain->grads + param->offset;
        double largest = 0;
        for (size_t j = 0; j < param->count; j++) largest = fmax(largest, fabs((double)expected[j]));
        double difference = largest_movement(0, grads + param->offset, expected, param->count) / largest;
        worst = fmax(worst, difference / tolerance_of(plain, i));
    }
    return worst;
}
