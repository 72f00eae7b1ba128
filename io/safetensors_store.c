/* The tensors of a model in a file of their own (io/safetensors.h). */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/name_list.h"
#include "io/safetensors.h"
#include "src/base/memory.h"

/* ---- loading ---- */

static bool check_names(const SafeTensors *file, const ParamTable *params, Message *problem)
{
    NameList missing = {0}, unused = {0};
    for (int i = 0; i < params->count; i++)
        if (!safetensors_find(file, params->params[i].name)) name_list_add(&missing, params->params[i].name);
    for (size_t i = 0; i < file->count; i++)
        if (!param_table_find(params, file->tensors[i].name)) name_list_add(&unused, file->tensors[i].name);
    if (missing.count > 0)
        return fail(problem,
                    "the weights have no tensor %s (%zu in all), which the model of config.json needs. Use the "
                    "config.json that belongs to them",
                    missing.text, missing.count);
    return unused.count == 0 ||
           fail(problem,
                "the weights have tensors that the model of config.json does not use: %s (%zu in all). Use the "
                "config.json that belongs to them",
                unused.text, unused.count);
}

static bool check_tensor(const SafeTensor *tensor, const Param *param, Message *problem)
{
    char found[TENSOR_SHAPE_TEXT], needed[TENSOR_SHAPE_TEXT];
    tensor_shape_format(&tensor->shape, found);
    tensor_shape_format(&param->shape, needed);
    if (!tensor_shape_equal(&tensor->shape, &param->shape))
        return fail(problem,
                    "the tensor %s has the shape %s, by config.json it has %s. Use the config.json that belongs "
                    "to these weights",
                    param->name, found, needed);
    return safetensors_readable(tensor) ||
           fail(problem,
                "the tensor %s is of type %s; weights are read as F32, BF16 or F16. Save them as one of these, "
                "in PyTorch after model.float()",
                param->name, tensor->type);
}

static bool check_values(const Param *param, const real *values, Message *problem)
{
    for (size_t i = 0; i < param->count; i++)
        if (!isfinite(values[i]))
            return fail(problem,
                        "element %zu of the tensor %s is not finite. Use weights from before training diverged", i,
                        param->name);
    return true;
}

bool safetensors_load(SafeTensors *file, ParamStore *store, Message *problem)
{
    bool good = check_names(file, store->params, problem);
    for (int i = 0; i < store->params->count && good; i++) {
        const Param *param = &store->params->params[i];
        good = check_tensor(safetensors_find(file, param->name), param, problem);
    }
    for (int i = 0; i < store->params->count && good; i++) {
        const Param *param = &store->params->params[i];
        real *values = store->kept_values(store, i);
        param_store_require_whole(store, param);
        good = safetensors_read(file, safetensors_find(file, param->name), values, problem) &&
               check_values(param, values, problem);
    }
    return good;
}

/* ---- writing ---- */

static json_t *shape_of(const Param *param)
{
    json_t *shape = json_array();
    for (int i = 0; i < param->shape.dimensions; i++)
        json_array_append_new(shape, json_integer((json_int_t)param->shape.extents[i]));
    return shape;
}

/* The header as text, which the caller frees, padded so that the numbers begin at a multiple of 8 bytes. */
static char *format_header(const ParamTable *params, const SafeMetadata *metadata, size_t metadata_count)
{
    json_t *header = json_object(), *texts = json_object();
    uint64_t place = 0;
    for (size_t i = 0; i < metadata_count; i++)
        json_object_set_new(texts, metadata[i].key, json_string(metadata[i].value));
    json_object_set_new(header, "__metadata__", texts);
    for (int i = 0; i < params->count; i++) {
        const Param *param = &params->params[i];
        uint64_t end = place + param->count * sizeof(float);
        json_object_set_new(header, param->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape_of(param), "data_offsets",
                                      (json_int_t)place, (json_int_t)end));
        place = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    CHECK(text, "cannot allocate the header of %d tensors", params->count);
    json_decref(header);
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    char *result = checked_calloc(padded + 1, 1);
    memset(result, ' ', padded);
    memcpy(result, text, length);
    free(text);
    return result;
}

static void write_header(FILE *stream, const char *header)
{
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++) fputc((int)(length >> 8 * i & 255), stream);
    fputs(header, stream);
}

static void write_values(FILE *stream, const real *values, size_t count)
{
    enum { CHUNK = 1 << 14 };
    float numbers[CHUNK];
    for (size_t first = 0; first < count && !ferror(stream); first += CHUNK) {
        size_t part = count - first < CHUNK ? count - first : CHUNK;
        for (size_t i = 0; i < part; i++) numbers[i] = (float)values[first + i];
        fwrite(numbers, sizeof *numbers, part, stream);
    }
}

uint64_t safetensors_bytes(const ParamTable *params)
{
    const uint64_t description = 256; /* of a tensor */
    uint64_t bytes = description;
    for (int i = 0; i < params->count; i++) bytes += params->params[i].count * sizeof(float) + description;
    return bytes;
}

void safetensors_write(FILE *stream, ParamStore *store, const SafeMetadata *metadata, size_t metadata_count)
{
    char *header = format_header(store->params, metadata, metadata_count);
    write_header(stream, header);
    free(header);
    for (int i = 0; i < store->params->count && !ferror(stream); i++) {
        param_store_require_whole(store, &store->params->params[i]);
        write_values(stream, store->kept_values(store, i), store->params->params[i].count);
    }
}
