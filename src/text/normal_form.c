#include "src/text/normal_form.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"

enum { MOST_PARTS = 32, CLASSES = 256 }; /* a character has at most 18 parts (U+FDFA) */

typedef struct Decomposed {
    int32_t *characters;
    size_t count, capacity;
} Decomposed;

static Decomposed decompose(const uint8_t *text, size_t length, int options)
{
    Decomposed all = {0};
    int boundary_class = 0; /* for graphemes, which nobody asks for */
    for (size_t place = 0, step; place < length; place += step) {
        int32_t character = (int32_t)utf8_decode(text + place, &step);
        all.characters = checked_room(all.characters, all.count + MOST_PARTS, &all.capacity, sizeof *all.characters);
        utf8proc_ssize_t parts = utf8proc_decompose_char(character, all.characters + all.count, MOST_PARTS,
                                                         (utf8proc_option_t)options, &boundary_class);
        CHECK(parts >= 0 && parts <= MOST_PARTS, "cannot normalise the character U+%04X: %s. Leave it out",
              (unsigned)character, utf8proc_errmsg(parts < 0 ? parts : UTF8PROC_ERROR_OVERFLOW));
        all.count += (size_t)parts;
    }
    return all;
}

static int class_of(int32_t character) { return utf8proc_get_property(character)->combining_class; }

/* Marks by their class; those of one class stay in their order. */
static void sort_marks(int32_t *marks, size_t count)
{
    size_t places[CLASSES + 1] = {0};
    int32_t *unsorted = checked_calloc(count, sizeof *marks);
    memcpy(unsorted, marks, count * sizeof *marks);
    for (size_t i = 0; i < count; i++) places[class_of(unsorted[i]) + 1]++;
    for (int i = 0; i < CLASSES; i++) places[i + 1] += places[i];
    for (size_t i = 0; i < count; i++) marks[places[class_of(unsorted[i])]++] = unsorted[i];
    free(unsorted);
}

/* The canonical order: each run of characters that have a class is sorted by it. */
static void sort_runs(const Decomposed *all)
{
    for (size_t start = 0, end; start < all->count; start = end + 1) {
        bool sorted = true;
        int last = 0, class;
        for (end = start; end < all->count && (class = class_of(all->characters[end])) > 0; end++) {
            sorted = sorted && class >= last;
            last = class;
        }
        if (!sorted) sort_marks(all->characters + start, end - start);
    }
}

uint8_t *normal_form(const uint8_t *text, size_t length, int options, size_t *normal_length)
{
    Decomposed all = decompose(text, length, options);
    sort_runs(&all);
    utf8proc_ssize_t bytes =
        utf8proc_reencode(all.characters, (utf8proc_ssize_t)all.count, (utf8proc_option_t)options); /* in place */
    CHECK(bytes >= 0, "cannot normalise a text of %zu bytes: %s. Divide it", length, utf8proc_errmsg(bytes));
    *normal_length = (size_t)bytes;
    return (uint8_t *)all.characters;
}
