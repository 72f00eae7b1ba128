#include "src/base/json_text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

json_t *json_from_bytes(const char *bytes, size_t count)
{
    const uint8_t *from = (const uint8_t *)bytes;
    char *text = checked_calloc(count * strlen(replacement) + 1, 1);
    size_t length = 0;
    for (size_t i = 0; i < count;) {
        size_t good = utf8_length(from + i, count - i), step = good ? good : 1;
        const char *piece = good ? bytes + i : replacement;
        size_t piece_length = good ? good : strlen(replacement);
        memcpy(text + length, piece, piece_length);
        length += piece_length;
        i += step;
    }
    json_t *value = json_stringn(text, length);
    free(text);
    CHECK(value, "cannot allocate a text of %zu bytes", length);
    return value;
}

void json_print_line(json_t *value)
{
    char *line = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
    CHECK(line, "cannot allocate a line of JSON");
    printf("%s\n", line);
    free(line);
    json_decref(value);
}
