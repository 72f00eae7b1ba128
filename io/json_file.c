#include "io/json_file.h"

#include <stdlib.h>

#include "io/disk.h"

json_t *json_file_read(const char *path, Message *problem)
{
    Message cause;
    size_t length;
    json_error_t error;
    char *text = disk_read_all(path, SIZE_MAX, &length, &cause);
    if (!text) fail(problem, "cannot read '%.400s': %.200s. Choose another folder", path, cause.text);
    if (!text) return NULL;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    free(text);
    if (!value) fail(problem, "'%.400s' is no JSON, at line %d: %.150s. Correct it", path, error.line, error.text);
    if (!value || json_is_object(value)) return value;
    fail(problem, "'%.400s' is JSON, but no object in braces. Choose another folder", path);
    json_decref(value);
    return NULL;
}

void json_file_print(FILE *stream, json_t *object, size_t flags)
{
    json_dumpf(object, stream, JSON_INDENT(2) | flags);
    fputc('\n', stream);
    json_decref(object);
}
