/* Reading (io/safetensors.h). */
#include "io/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/memory.h"

struct SafeParts {
    char *path;
    FILE *stream;
    json_t *header;      /* names and types of tensors point into it */
    uint64_t data_start; /* of the first number in the file */
    uint64_t data_bytes; /* from there to its end */
};

enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100000000 /* as the library of the format has it */ };

/* ---- types ---- */

static real number_of_f32(const uint8_t *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof value);
    return (real)value;
}

/* The upper half of a float. */
static real number_of_bf16(const uint8_t *bytes)
{
    const uint8_t whole[4] = {0, 0, bytes[0], bytes[1]};
    return number_of_f32(whole);
}

/* A sign, 5 bits of an exponent, 10 of a fraction. */
static real number_of_f16(const uint8_t *bytes)
{
    int bits = bytes[0] | bytes[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == 31) return (real)(fraction ? NAN : sign * INFINITY);
    return (real)(sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24)));
}

/* All types of the format whose numbers are whole bytes. */
static const struct {
    const char *word;
    size_t bytes;
    real (*number)(const uint8_t *bytes); /* NULL: not read */
} types[] = {
    {"F32", 4, number_of_f32}, {"BF16", 2, number_of_bf16},
    {"F16", 2, number_of_f16}, {"F64", 8, NULL},
    {"I64", 8, NULL},          {"I32", 4, NULL},
    {"I16", 2, NULL},          {"I8", 1, NULL},
    {"U64", 8, NULL},          {"U32", 4, NULL},
    {"U16", 2, NULL},          {"U8", 1, NULL},
    {"F8_E4M3", 1, NULL},      {"F8_E5M2", 1, NULL},
    {"F8_E8M0", 1, NULL},      {"BOOL", 1, NULL},
    {"C64", 8, NULL},
};
enum { TYPES = sizeof types / sizeof *types };

/* TYPES when it is none of them. */
static int find_type(const char *word)
{
    int type = 0;
    while (type < TYPES && strcmp(types[type].word, word) != 0) type++;
    return type;
}

/* ---- the header ---- */

/* The product of the extents and `bytes` of a number; false when it is more than a file can have. */
static bool read_shape(json_t *extents, size_t bytes, TensorShape *shape, uint64_t *total, Message *cause)
{
    size_t i;
    json_t *extent;
    shape->dimensions = (int)json_array_size(extents);
    *total = bytes;
    json_array_foreach(extents, i, extent)
    {
        json_int_t value = json_integer_value(extent);
        if (!json_is_integer(extent) || value < 0 || __builtin_mul_overflow(*total, (uint64_t)value, total))
            return fail(cause, "number %zu of its shape cannot be one", i + 1);
        shape->extents[i] = (size_t)value;
    }
    return true;
}

static bool read_place(json_t *offsets, SafeTensor *tensor, uint64_t bytes, Message *cause)
{
    json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    json_int_t first = json_integer_value(begin), last = json_integer_value(end);
    if (!json_is_integer(begin) || !json_is_integer(end) || first < 0 || last < first)
        return fail(cause, "its data_offsets are no two numbers, the smaller one first");
    tensor->begin = (uint64_t)first;
    tensor->end = (uint64_t)last;
    return tensor->end - tensor->begin == bytes ||
           fail(cause, "its shape and type make %llu bytes, its data_offsets %llu", (unsigned long long)bytes,
                (unsigned long long)(tensor->end - tensor->begin));
}

static bool read_entry(SafeTensor *tensor, json_t *entry, Message *cause)
{
    json_t *type = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape");
    json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t bytes;
    if (!json_is_string(type) || !json_is_array(shape) || json_array_size(offsets) != 2)
        return fail(cause, "it has no dtype, shape and two data_offsets");
    tensor->type = json_string_value(type);
    int row = find_type(tensor->type);
    if (row == TYPES) return fail(cause, "its type '%.20s' is unknown here", tensor->type);
    if (json_array_size(shape) < 1 || json_array_size(shape) > TENSOR_DIMENSIONS)
        return fail(cause, "it has %zu dimensions, those of a polysketch model have 1 to %d", json_array_size(shape),
                    TENSOR_DIMENSIONS);
    return read_shape(shape, types[row].bytes, &tensor->shape, &bytes, cause) &&
           read_place(offsets, tensor, bytes, cause);
}

static int compare_places(const void *a, const void *b)
{
    const SafeTensor *one = a, *other = b;
    if (one->begin != other->begin) return one->begin < other->begin ? -1 : 1;
    return (one->end > other->end) - (one->end < other->end);
}

/* Every byte behind the header belongs to one tensor. */
static bool check_places(const SafeTensors *file, Message *cause)
{
    uint64_t end = 0, there = file->parts->data_bytes;
    for (size_t i = 0; i < file->count; end = file->tensors[i++].end)
        if (file->tensors[i].begin != end)
            return fail(cause, "the numbers of '%.100s' %s", file->tensors[i].name,
                        file->tensors[i].begin < end ? "are those of another tensor too"
                                                     : "do not follow those of the tensor before it");
    return end == there || fail(cause, "its header speaks of %llu bytes of numbers, but there are %llu",
                                (unsigned long long)end, (unsigned long long)there);
}

static bool read_entries(SafeTensors *file, Message *cause)
{
    const char *name;
    json_t *entry;
    Message detail;
    file->tensors = checked_calloc(json_object_size(file->parts->header), sizeof *file->tensors);
    json_object_foreach(file->parts->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        SafeTensor *tensor = &file->tensors[file->count++];
        tensor->name = name;
        if (!read_entry(tensor, entry, &detail)) return fail(cause, "the tensor '%.100s': %.400s", name, detail.text);
    }
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_places);
    return check_places(file, cause);
}

static bool read_header(SafeTensors *file, Message *cause)
{
    struct stat status;
    uint8_t bytes[LENGTH_BYTES];
    uint64_t length = 0;
    SafeParts *parts = file->parts;
    json_error_t error;
    if (!parts->stream || fstat(fileno(parts->stream), &status)) return fail(cause, "%s", strerror(errno));
    if (!S_ISREG(status.st_mode)) return fail(cause, "it is no file");
    if (fread(bytes, 1, LENGTH_BYTES, parts->stream) != LENGTH_BYTES) return fail(cause, "it has less than 8 bytes");
    for (int i = LENGTH_BYTES; i-- > 0;) length = length << 8 | bytes[i];
    uint64_t behind = (uint64_t)status.st_size - LENGTH_BYTES;
    if (length > behind || length > MAX_HEADER_BYTES)
        return fail(cause, "its header is said to have %llu bytes, %s", (unsigned long long)length,
                    length > behind ? "which is more than there are" : "more than the format allows");
    char *text = checked_calloc(length, 1);
    bool read = fread(text, 1, length, parts->stream) == length;
    parts->header = read ? json_loadb(text, length, JSON_REJECT_DUPLICATES, &error) : NULL;
    free(text);
    if (!read) return fail(cause, "its header cannot be read (%s)", strerror(errno));
    if (!json_is_object(parts->header)) return fail(cause, "its header is no JSON object of different names");
    parts->data_start = LENGTH_BYTES + length;
    parts->data_bytes = behind - length;
    return read_entries(file, cause);
}

/* ---- the file ---- */

SafeTensors *safetensors_open(const char *path, Message *problem)
{
    Message cause;
    SafeTensors *file = checked_calloc(1, sizeof *file);
    file->parts = checked_calloc(1, sizeof *file->parts);
    file->parts->path = strdup(path);
    file->parts->stream = fopen(path, "rb");
    if (read_header(file, &cause)) return file;
    fail(problem, "cannot read weights from '%.400s': %.500s. Copy the file again, or use another", path, cause.text);
    safetensors_close(file);
    return NULL;
}

void safetensors_close(SafeTensors *file)
{
    if (!file) return;
    if (file->parts->stream) fclose(file->parts->stream);
    json_decref(file->parts->header);
    free(file->parts->path);
    free(file->parts);
    free(file->tensors);
    free(file);
}

const SafeTensor *safetensors_find(const SafeTensors *file, const char *name)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}

const char *safetensors_metadata(const SafeTensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->parts->header, "__metadata__"), key));
}

bool safetensors_readable(const SafeTensor *tensor) { return types[find_type(tensor->type)].number != NULL; }

bool safetensors_read(SafeTensors *file, const SafeTensor *tensor, real *values, Message *problem)
{
    enum { CHUNK = 1 << 14 }; /* numbers read at a time */
    uint8_t bytes[CHUNK * sizeof(float)];
    int type = find_type(tensor->type);
    size_t width = types[type].bytes, count = tensor_shape_count(&tensor->shape);
    SafeParts *parts = file->parts;
    bool good = fseeko(parts->stream, (off_t)(parts->data_start + tensor->begin), SEEK_SET) == 0;
    for (size_t first = 0; first < count && good; first += CHUNK) {
        size_t part = count - first < CHUNK ? count - first : CHUNK;
        good = fread(bytes, width, part, parts->stream) == part;
        for (size_t i = 0; i < part && good; i++) values[first + i] = types[type].number(bytes + i * width);
    }
    return good || fail(problem, "cannot read the numbers of '%.100s' from '%.500s'. Copy the file again", tensor->name,
                        parts->path);
}
