#include "src/core/param_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rng.h"

static int add(ParamTable *table, const char *name, TensorShape shape, ParamInit init, double scale)
{
    if (table->count == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 64;
        table->params = realloc(table->params, (size_t)table->capacity * sizeof *table->params);
        CHECK(table->params, "cannot allocate the table of %d tensors", table->capacity);
    }
    Param *param = &table->params[table->count];
    size_t count = tensor_shape_count(&shape), columns = shape.extents[shape.dimensions - 1];
    *param = (Param){.shape = shape, .rows = count / columns, .columns = columns, .count = count};
    int length = snprintf(param->name, sizeof param->name, "%s", name);
    ASSERT(length < (int)sizeof param->name);
    (void)length;
    param->init = init;
    param->scale = scale;
    param->trained = true;
    param->decay = shape.dimensions > 1;
    param->group = table->groups > 0 ? table->groups - 1 : 0;
    param->parameter = table->count;
    return table->count++;
}

int param_table_begin_group(ParamTable *table) { return table->groups++; }

int param_table_add_matrix(ParamTable *table, const char *name, size_t rows, size_t columns, ParamInit init,
                           double scale)
{
    return add(table, name, (TensorShape){2, {rows, columns}}, init, scale);
}

int param_table_add_vector(ParamTable *table, const char *name, size_t count, double value)
{
    return add(table, name, (TensorShape){1, {count}}, INIT_CONSTANT, value);
}

int param_table_add_stack(ParamTable *table, const char *name, size_t matrices, size_t rows, size_t columns,
                          ParamInit init, double scale)
{
    return add(table, name, (TensorShape){3, {matrices, rows, columns}}, init, scale);
}

int param_table_add_zeros(ParamTable *table, const char *name, TensorShape shape)
{
    return add(table, name, shape, INIT_CONSTANT, 0);
}

void param_table_no_decay(ParamTable *table, int index) { table->params[index].decay = false; }

void param_table_not_trained(ParamTable *table, int index)
{
    table->params[index].trained = false;
    table->params[index].decay = false;
}

void param_table_alternate(ParamTable *table, int index) { table->params[index].init = INIT_ALTERNATING; }

void param_table_hidden(ParamTable *table, int index, int parts)
{
    ASSERT(table->params[index].rows % (size_t)parts == 0);
    table->params[index].hidden_parts = parts;
}

void param_table_state_of(ParamTable *table, int index, int parameter) { table->params[index].parameter = parameter; }

static size_t place(ParamTable *table, bool trained, size_t offset)
{
    const size_t aligned = 64 / sizeof(real);
    for (int i = 0; i < table->count; i++) {
        Param *param = &table->params[i];
        if (param->trained != trained) continue;
        param->offset = offset;
        offset += (param->count + aligned - 1) / aligned * aligned;
    }
    return offset;
}

void param_table_seal(ParamTable *table)
{
    table->trained_count = place(table, true, 0);
    table->total_count = place(table, false, table->trained_count);
}

const Param *param_table_find(const ParamTable *table, const char *name)
{
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->params[i].name, name) == 0) return &table->params[i];
    return NULL;
}

void param_table_destroy(ParamTable *table)
{
    free(table->params);
    *table = (ParamTable){0};
}

static void fill_normal(const Param *param, RngStream stream, real *values)
{
    enum { CHUNK = 1024 };
#pragma omp parallel for schedule(static)
    for (size_t start = 0; start < param->count; start += CHUNK) {
        double chunk[CHUNK];
        size_t count = param->count - start < CHUNK ? param->count - start : CHUNK;
        rng_normal(stream, start, count, chunk);
        for (size_t i = 0; i < count; i++) values[start + i] = (real)(param->scale * chunk[i]);
    }
}

static double norm(const double *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

/* Gram-Schmidt within each group of `columns` rows; every row then takes the length of a Gaussian row of its own
   (Choromanski et al., "Rethinking attention with Performers", ICLR 2021, section 2.4). */
static void fill_orthogonal(const Param *param, RngStream directions, RngStream lengths, real *values)
{
    size_t width = param->columns;
    double *rows = checked_calloc(param->count, sizeof *rows), *gaussian = checked_calloc(width, sizeof *gaussian);
    rng_normal(directions, 0, param->count, rows);
    for (size_t i = 0; i < param->rows; i++) {
        double *row = rows + i * width;
        for (int twice = 0; twice < 2; twice++) /* the second pass removes the rounding of the first */
            for (size_t j = i / width * width; j < i; j++) {
                const double *earlier = rows + j * width;
                double product = 0;
                for (size_t c = 0; c < width; c++) product += row[c] * earlier[c];
                for (size_t c = 0; c < width; c++) row[c] -= product * earlier[c];
            }
        double length = norm(row, width);
        for (size_t c = 0; c < width; c++) row[c] /= length;
    }
    for (size_t i = 0; i < param->rows; i++) {
        rng_normal(lengths, i * width, width, gaussian);
        double length = param->scale * norm(gaussian, width);
        for (size_t c = 0; c < width; c++) values[i * width + c] = (real)(length * rows[i * width + c]);
    }
    free(rows);
    free(gaussian);
}

void param_initialise(const Param *param, uint64_t seed, real *values)
{
    RngStream stream = rng_stream(seed, param->name, 0);
    switch (param->init) {
    case INIT_CONSTANT:
        for (size_t j = 0; j < param->count; j++) values[j] = (real)param->scale;
        break;
    case INIT_ALTERNATING:
        for (size_t j = 0; j < param->count; j++) values[j] = (real)(param->scale + (double)(j % 2));
        break;
    case INIT_NORMAL: fill_normal(param, stream, values); break;
    case INIT_ORTHOGONAL_FEATURES: fill_orthogonal(param, stream, rng_stream(seed, param->name, 1), values); break;
    }
}

void param_table_initialise(const ParamTable *table, uint64_t seed, real *values)
{
    memset(values, 0, table->total_count * sizeof *values);
    for (int i = 0; i < table->count; i++) param_initialise(&table->params[i], seed, values + table->params[i].offset);
}

size_t param_table_largest(const ParamTable *table)
{
    size_t largest = 0;
    for (int i = 0; i < table->count; i++)
        if (table->params[i].count > largest) largest = table->params[i].count;
    return largest;
}

size_t param_table_trained_values(const ParamTable *table)
{
    size_t values = 0;
    for (int i = 0; i < table->count; i++)
        if (table->params[i].trained) values += table->params[i].count;
    return values;
}
