/* Bytes as text in JSON. */
#ifndef POLYSKETCH_BASE_JSON_TEXT_H
#define POLYSKETCH_BASE_JSON_TEXT_H

#include <jansson.h>
#include <stddef.h>

/* A new string. JSON is UTF-8; bytes that are not, as a model of bytes may write them, become U+FFFD, one for each. */
json_t *json_from_bytes(const char *bytes, size_t count);

/* Prints the value as one line to standard output, and lets go of it. */
void json_print_line(json_t *value);

#endif
