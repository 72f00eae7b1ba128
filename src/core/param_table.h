/* The single description of every tensor of the model.

   Modules declare their tensors once; the table then drives memory, initial values, weight decay, checkpoint names, sums of
   gradients and gradient tests. No second list of tensors exists anywhere. The states of an optimizer are a table of their
   own, made from this one.

   The table also has a plain layout, all tensors in one block: trained ones first, in the order of the table, so that each
   group's are one piece; those that are not trained (random sketches, random features) follow. It is for who keeps tensors
   whole: param_store.c, and tests. Everybody else asks a ParamStore. */
#ifndef POLYSKETCH_CORE_PARAM_TABLE_H
#define POLYSKETCH_CORE_PARAM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"
#include "src/core/tensor_shape.h"

typedef enum ParamInit {
    INIT_CONSTANT,            /* every value is `scale` */
    INIT_ALTERNATING,         /* `scale`, and 1 more at odd indices */
    INIT_NORMAL,              /* N(0, scale^2) */
    INIT_ORTHOGONAL_FEATURES, /* rows orthogonal in groups of `columns`, norms those of independent Gaussian rows */
} ParamInit;

typedef struct Param {
    char name[112];       /* as in checkpoints: layers.3.attention.qkv.weight */
    int group;            /* tensors of one group are used together: the embedding, each layer, the output */
    TensorShape shape;    /* as files have it */
    size_t rows, columns; /* all of it as one matrix: matrices of a stack one above the other; a vector has rows = 1 */
    size_t count;         /* rows * columns */
    size_t offset;        /* of its first value in the plain layout; valid after param_table_seal() */
    int parameter;        /* row of the parameter that it is, or of which it is a state: those are divided alike */
    int hidden_parts; /* of a matrix between hidden values: how many matrices its rows are, one above the other; else 0 */
    ParamInit init;
    double scale;
    bool trained;
    bool decay; /* weight decay applies: matrices, but not norms, biases and the embedding */
} Param;

typedef struct ParamTable {
    Param *params;
    int count, capacity;
    int groups;           /* begun so far */
    size_t trained_count; /* values to the end of the trained ones, padding included */
    size_t total_count;   /* values in all, padding included */
} ParamTable;

/* Tensors added from now on belong to the next group, whose number is returned: 0, 1, ... */
int param_table_begin_group(ParamTable *table);

/* Each returns the index of the new row. `name` is copied. Before param_table_seal() only. */
int param_table_add_matrix(ParamTable *table, const char *name, size_t rows, size_t columns, ParamInit init,
                           double scale);
int param_table_add_vector(ParamTable *table, const char *name, size_t count, double value);
/* A tensor (matrices, rows, columns). */
int param_table_add_stack(ParamTable *table, const char *name, size_t matrices, size_t rows, size_t columns,
                          ParamInit init, double scale);
/* Zeros. */
int param_table_add_zeros(ParamTable *table, const char *name, TensorShape shape);

/* Changes to the row added last: the embedding does not decay, random sketches are not trained. */
void param_table_no_decay(ParamTable *table, int index);
void param_table_not_trained(ParamTable *table, int index);
void param_table_alternate(ParamTable *table, int index); /* INIT_ALTERNATING for a constant */

/* Row `index` takes hidden values to hidden values, as `parts` matrices of equal size one above the other: optimizers that
   work on whole matrices take each by itself. */
void param_table_hidden(ParamTable *table, int index, int parts);

/* Row `index` is a state of row `parameter` of the table of parameters. */
void param_table_state_of(ParamTable *table, int index, int parameter);

/* Computes the offsets (each a multiple of 64 bytes). */
void param_table_seal(ParamTable *table);
void param_table_destroy(ParamTable *table);

/* The row of this name, or NULL. */
const Param *param_table_find(const ParamTable *table, const char *name);

/* Fills `values` (count) of one tensor with its initial values. */
void param_initialise(const Param *param, uint64_t seed, real *values);

/* The same for all tensors in the plain layout; padding is zero. */
void param_table_initialise(const ParamTable *table, uint64_t seed, real *values);

/* Along which a tensor is divided among ranks: rows of its matrices, elements of a vector; and how many values each has. */
static inline bool param_is_vector(const Param *param) { return param->shape.dimensions == 1; }
static inline size_t param_extent(const Param *param) { return param_is_vector(param) ? param->columns : param->rows; }
static inline size_t param_row_width(const Param *param) { return param_is_vector(param) ? 1 : param->columns; }

/* Where a tensor that is not trained lies in the plain layout, behind all that are. */
static inline size_t param_table_constant_place(const ParamTable *table, const Param *param)
{
    return param->offset - table->trained_count;
}

/* Rows [first, end) of a tensor, whichever matrices they are of, or elements of a vector. */
typedef struct RowRange {
    size_t first, end;
} RowRange;

/* Values of the largest tensor. */
size_t param_table_largest(const ParamTable *table);

/* Parameters in the user's sense: values of trained tensors without padding. */
size_t param_table_trained_values(const ParamTable *table);

#endif
