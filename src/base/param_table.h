/* The single description of every tensor of the model.

   Modules declare their tensors once; the table then drives memory layout, initial values, weight decay, checkpoint
   names, gradient reduction and gradient tests. No second list of tensors exists anywhere.

   Trained tensors lie first and in one piece, so that gradients, optimizer moments, their reduction and the update are
   loops over 0 .. trained_count. Tensors that are not trained (random sketches, random features) follow. */
#ifndef POLYSKETCH_BASE_PARAM_TABLE_H
#define POLYSKETCH_BASE_PARAM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/real.h"

typedef enum ParamInit {
    INIT_CONSTANT,            /* every value is `scale` */
    INIT_NORMAL,              /* N(0, scale^2) */
    INIT_ORTHOGONAL_FEATURES, /* rows orthogonal in groups of `columns`, norms those of independent Gaussian rows */
} ParamInit;

typedef struct Param {
    char name[96];        /* as in checkpoints: layers.3.attention.qkv.weight */
    size_t rows, columns; /* (rows, columns); a vector has rows = 1 and dimensions = 1 */
    int dimensions;
    size_t count;  /* rows * columns */
    size_t offset; /* of its first value in a block of all values; valid after param_table_seal() */
    ParamInit init;
    double scale;
    bool trained;
    bool decay; /* weight decay applies: matrices, but not norms, biases and the embedding */
} Param;

typedef struct ParamTable {
    Param *params;
    int count, capacity;
    size_t trained_count; /* values to the end of the trained ones, padding included */
    size_t total_count;   /* values in all, padding included */
} ParamTable;

/* Each returns the index of the new row. `name` is copied. Before param_table_seal() only. */
int param_table_add_matrix(ParamTable *table, const char *name, size_t rows, size_t columns, ParamInit init,
                           double scale);
int param_table_add_vector(ParamTable *table, const char *name, size_t count, double value);

/* Changes to the row added last: the embedding does not decay, random sketches are not trained. */
void param_table_no_decay(ParamTable *table, int index);
void param_table_not_trained(ParamTable *table, int index);

/* Computes the offsets (each a multiple of 64 bytes). */
void param_table_seal(ParamTable *table);
void param_table_destroy(ParamTable *table);

/* Fills `values` (total_count) with the initial values of `seed`; padding is zero. */
void param_table_initialise(const ParamTable *table, uint64_t seed, real *values);

/* Parameters in the user's sense: values of trained tensors without padding. */
size_t param_table_trained_values(const ParamTable *table);

#endif
