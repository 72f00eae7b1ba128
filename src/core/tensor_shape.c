#include "src/core/tensor_shape.h"

#include <stdio.h>

size_t tensor_shape_count(const TensorShape *shape)
{
    size_t count = 1;
    for (int i = 0; i < shape->dimensions; i++) count *= shape->extents[i];
    return count;
}

bool tensor_shape_equal(const TensorShape *a, const TensorShape *b)
{
    bool equal = a->dimensions == b->dimensions;
    for (int i = 0; equal && i < a->dimensions; i++) equal = a->extents[i] == b->extents[i];
    return equal;
}

void tensor_shape_format(const TensorShape *shape, char text[TENSOR_SHAPE_TEXT])
{
    int length = snprintf(text, TENSOR_SHAPE_TEXT, "(%zu", shape->extents[0]);
    for (int i = 1; i < shape->dimensions; i++)
        length += snprintf(text + length, (size_t)(TENSOR_SHAPE_TEXT - length), ", %zu", shape->extents[i]);
    snprintf(text + length, (size_t)(TENSOR_SHAPE_TEXT - length), ")");
}
