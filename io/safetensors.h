/* Files of the format safetensors, in which programs hand each other weights.

   8 bytes, the length of the header as a little-endian number; the header, a JSON object with the type, shape and place of every
   tensor, and texts about the file under `__metadata__`; then the numbers, little-endian, tensor after tensor without a gap. The
   format is that of https://github.com/huggingface/safetensors. By one process. */
#ifndef POLYSKETCH_IO_SAFETENSORS_H
#define POLYSKETCH_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/error.h"
#include "src/core/param_store.h"

typedef struct SafeTensor {
    const char *name; /* owned by the file */
    const char *type; /* "F32", "BF16", ... */
    TensorShape shape;
    uint64_t begin, end; /* its bytes, counted from the first number of the file */
} SafeTensor;

typedef struct SafeParts SafeParts;

/* An open file. */
typedef struct SafeTensors {
    SafeTensor *tensors; /* (count), in the order of their numbers */
    size_t count;
    SafeParts *parts; /* of the implementation */
} SafeTensors;

/* NULL with a message that names `path` when the file cannot be opened, when its header is damaged, or where that does not agree
   with the length of the file: all numbers belong to one tensor. Tensors have 1 to TENSOR_DIMENSIONS dimensions. */
SafeTensors *safetensors_open(const char *path, Message *problem);
void safetensors_close(SafeTensors *file); /* NULL is allowed */

/* The tensor of this name, or NULL. */
const SafeTensor *safetensors_find(const SafeTensors *file, const char *name);

/* A text about the file, owned by it; NULL where there is none of this name. */
const char *safetensors_metadata(const SafeTensors *file, const char *key);

/* Can a tensor of this type be read: F32, BF16 or F16, whose numbers all are floats too? */
bool safetensors_readable(const SafeTensor *tensor);

/* Of a readable tensor all numbers, into `values` (of its shape). False with a message that names the file when it cannot be read
   to its end. */
bool safetensors_read(SafeTensors *file, const SafeTensor *tensor, real *values, Message *problem);

/* All tensors of a model from a file that has these and no others. False with a message that names the first few that are
   missing, that the model does not use, or the one that has another shape, a type that cannot be read, or a number that is not
   finite. Local: the caller spreads the values. The store keeps all of every tensor on this process. */
bool safetensors_load(SafeTensors *file, ParamStore *store, Message *problem);

/* A text about a file that is written. */
typedef struct SafeMetadata {
    const char *key, *value;
} SafeMetadata;

/* Writes all tensors of a store, which keeps them whole, as F32 in the order of its table. What fails shows in the error
   indicator of the stream, as for printf(). Local. */
void safetensors_write(FILE *stream, ParamStore *store, const SafeMetadata *metadata, size_t metadata_count);

/* About the bytes of such a file. */
uint64_t safetensors_bytes(const ParamTable *params);

#endif
