#define _GNU_SOURCE /* memmem */
#include "tests/faults/mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/base/rng.h"

enum { LONGEST_INSERTION = 4096 };

typedef struct Draw {
    RngStream stream;
    uint64_t index;
} Draw;

/* 0 .. bound - 1; 0 when bound is 0. */
static size_t draw(Draw *from, size_t bound)
{
    size_t number = (size_t)(rng_uniform(from->stream, from->index++) * (double)bound);
    return number < bound ? number : 0;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* ---- kinds of damage: each to a file that is not empty ---- */

static void flip_bits(Bytes *file, Draw *from)
{
    for (size_t flips = 1 + draw(from, 8); flips > 0; flips--)
        file->data[draw(from, file->count)] ^= (uint8_t)(1 << draw(from, 8));
}

static void overwrite(Bytes *file, Draw *from)
{
    size_t start = draw(from, file->count), count = smaller(1 + draw(from, 64), file->count - start);
    for (size_t i = 0; i < count; i++) file->data[start + i] = (uint8_t)draw(from, 256);
}

static void clear_page(Bytes *file, Draw *from)
{
    size_t page = (size_t)512 << draw(from, 4), start = draw(from, file->count) / page * page;
    memset(file->data + start, 0, smaller(page, file->count - start));
}

static void cut(Bytes *file, Draw *from) { file->count = 1 + draw(from, file->count); }

static void insert(Bytes *file, Draw *from)
{
    size_t place = draw(from, file->count), count = 1 + draw(from, draw(from, 2) ? 16 : LONGEST_INSERTION);
    memmove(file->data + place + count, file->data + place, file->count - place);
    for (size_t i = 0; i < count; i++) file->data[place + i] = (uint8_t)draw(from, 256);
    file->count += count;
}

static void swap_chunks(Bytes *file, Draw *from)
{
    size_t count = smaller((size_t)1 << draw(from, 11), file->count), room = file->count - count + 1;
    uint8_t *a = file->data + draw(from, room);
    uint8_t *b = file->data + draw(from, room);
    for (size_t i = 0; i < count; i++) {
        uint8_t kept = a[i];
        a[i] = b[i];
        b[i] = kept;
    }
}

static void repeat_chunk(Bytes *file, Draw *from)
{
    size_t count = smaller((size_t)1 << draw(from, 11), file->count), room = file->count - count + 1;
    size_t source = draw(from, room), target = draw(from, room);
    memmove(file->data + target, file->data + source, count);
}

/* Numbers at which sums and products of sizes go wrong, where a size, an address or a value may stand. */
static void place_number(Bytes *file, Draw *from)
{
    static const uint64_t numbers[] = {0,          1,          0x7f,      0xff,       0x7fff,         0xffff,
                                       INT32_MAX,  UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX - 7, 1ULL << 60,
                                       1ULL << 40, 1 << 24,    1 << 16};
    size_t bytes = (size_t)1 << draw(from, 4), place = draw(from, file->count);
    if (draw(from, 2)) place = place / bytes * bytes;
    memcpy(file->data + place, &numbers[draw(from, sizeof numbers / sizeof *numbers)],
           smaller(bytes, file->count - place));
}

/* What stands beside a name that both formats use: values of attributes, addresses of links, names themselves. */
static void wound_field(Bytes *file, Draw *from)
{
    static const char *const names[] = {"format",  "format_version", "vocab_size", "tokenizer",
                                        "tokens",  "pieces",         "step",       "tokens_seen",
                                        "created", "model.width",    "parameters", "optimizer",
                                        "ends",    "bytes",          "polysketch", "token_embedding.weight",
                                        "OHDR",    "FRHP",           "BTHD",       "TREE",
                                        "GCOL"};
    const char *name = names[draw(from, sizeof names / sizeof *names)];
    uint8_t *place = memmem(file->data, file->count, name, strlen(name));
    if (!place) {
        overwrite(file, from);
        return;
    }
    size_t start = (size_t)(place - file->data) + draw(from, 96), count = 1 + draw(from, 8);
    for (size_t i = start; i < smaller(start + count, file->count); i++) file->data[i] = (uint8_t)draw(from, 256);
}

static const struct {
    const char *name;
    void (*damage)(Bytes *file, Draw *from);
} kinds[] = {
    {"bits flipped", flip_bits},        {"range overwritten", overwrite},
    {"page cleared", clear_page},       {"cut", cut},
    {"bytes inserted", insert},         {"chunks swapped", swap_chunks},
    {"chunk repeated", repeat_chunk},   {"number placed", place_number},
    {"field overwritten", wound_field},
};

Bytes mutate(Bytes original, uint64_t seed, uint64_t number, char description[256])
{
    enum { MOST_WOUNDS = 3 };
    Draw from = {rng_stream(seed, "mutation", number), 0};
    Bytes file = {checked_calloc(original.count + MOST_WOUNDS * LONGEST_INSERTION, 1), original.count};
    memcpy(file.data, original.data, original.count);
    size_t used = 0;
    description[0] = 0;
    for (size_t wounds = 1 + draw(&from, MOST_WOUNDS); wounds > 0; wounds--) {
        size_t kind = draw(&from, sizeof kinds / sizeof *kinds);
        kinds[kind].damage(&file, &from);
        used += (size_t)snprintf(description + used, 256 - used, "%s%s", used ? ", " : "", kinds[kind].name);
    }
    return file;
}
