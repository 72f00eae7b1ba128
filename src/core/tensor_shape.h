/* The shape of a tensor, as files and messages have it: (n), (rows, columns) or (matrices, rows, columns). */
#ifndef POLYSKETCH_CORE_TENSOR_SHAPE_H
#define POLYSKETCH_CORE_TENSOR_SHAPE_H

#include <stdbool.h>
#include <stddef.h>

enum { TENSOR_DIMENSIONS = 3, TENSOR_SHAPE_TEXT = 80 };

typedef struct TensorShape {
    int dimensions;                    /* 1 to TENSOR_DIMENSIONS */
    size_t extents[TENSOR_DIMENSIONS]; /* (dimensions) */
} TensorShape;

size_t tensor_shape_count(const TensorShape *shape); /* of all numbers */
bool tensor_shape_equal(const TensorShape *a, const TensorShape *b);
void tensor_shape_format(const TensorShape *shape, char text[TENSOR_SHAPE_TEXT]); /* "(8, 32, 64)" */

#endif
