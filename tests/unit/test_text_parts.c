/* The parts of byte-level BPE, each alone: merges beside merges done the slow way, expressions in the words of PCRE2, normal
   forms beside those of utf8proc. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/text/bpe.h"
#include "src/text/normal_form.h"
#include "src/text/onig_pattern.h"
#include "tests/harness/check.h"
#include "tests/harness/suite.h"

/* ---- merges ---- */

enum { LETTERS = 3, MERGES = 60, LONGEST = 40 };

static int rank_of(const BpeMerge *merges, int32_t left, int32_t right)
{
    int rank = MERGES;
    while (rank-- > 0)
        if (merges[rank].left == left && merges[rank].right == right) break;
    return rank;
}

/* The definition: look through the whole word for the pair of the lowest rank, merge it, and again. */
static size_t merge_slowly(const BpeMerge *merges, int32_t *ids, size_t count)
{
    for (;;) {
        int best = MERGES;
        size_t place = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            int rank = rank_of(merges, ids[i], ids[i + 1]);
            if (rank >= 0 && rank < best) best = rank, place = i;
        }
        if (best == MERGES) return count;
        ids[place] = merges[best].merged;
        memmove(ids + place + 1, ids + place + 2, (count - place - 2) * sizeof *ids);
        count--;
    }
}

static void test_merges(void)
{
    BpeMerge merges[MERGES];
    BpeSettings settings = {.unknown = -1};
    RngStream stream = rng_stream(1, "test", 0);
    uint64_t draws = 0;
    for (int i = 0; i < 256; i++) settings.byte_ids[i] = i < LETTERS ? i : -1;
    for (int i = 0; i < MERGES; i++) /* each pair once: words whose parts can become one in several ways */
        do {
            int known = LETTERS + i;
            merges[i] = (BpeMerge){(int32_t)(rng_uniform(stream, draws) * known),
                                   (int32_t)(rng_uniform(stream, draws + 1) * known), LETTERS + i};
            draws += 2;
        } while (rank_of(merges, merges[i].left, merges[i].right) != i);
    Bpe *bpe = bpe_create(&settings, merges, MERGES, NULL);
    BpeWorker *worker = bpe_worker_create(bpe);
    TokenList got = {0};
    Message problem = {""};
    for (int word = 0; word < 2000; word++) {
        uint8_t bytes[LONGEST];
        int32_t ids[LONGEST];
        size_t length = 1 + (size_t)(rng_uniform(stream, draws++) * (word % 2 ? 6 : LONGEST));
        for (size_t i = 0; i < length; i++) ids[i] = bytes[i] = (uint8_t)(rng_uniform(stream, draws++) * LETTERS);
        size_t count = merge_slowly(merges, ids, length);
        got.count = 0;
        check_true(bpe_encode(worker, bytes, length, &got, &problem), "%s", problem.text);
        check_true(got.count == count && memcmp(got.ids, ids, count * sizeof *ids) == 0, "word %d of %zu bytes", word,
                   length);
    }
    check_true(!bpe_encode(worker, (const uint8_t *)"\x07", 1, &got, &problem) && strstr(problem.text, "0x07"), "%s",
               problem.text);
    free(got.ids);
    bpe_worker_destroy(worker);
    bpe_destroy(bpe);
}

/* ---- expressions ---- */

static const struct {
    const char *pattern, *translated; /* NULL: refused */
} patterns[] = {
    {"\\s+(?!\\S)|[^\\s\\p{L}]", "\\p{White_Space}+(?!\\P{White_Space})|[^\\p{White_Space}\\p{L}]"},
    {"(?i:'s)|\\p{N}{1,3}|\\p{L}?+", "(?i:'s)|\\p{N}{1,3}|\\p{L}?+"},
    {"\\p{Han}\\P{^Lu}\\u00e9\\x{3000}+", "\\p{sc:Han}\\P{^Lu}\\x{00e9}\\x{3000}+"},
    {"[\\]\\[]\\(\\[a", "[\\]\\[]\\(\\[a"},
    {"[a[b]]", NULL},
    {"[a&&b]", NULL},
    {"\\w", NULL},
    {"[\\h]", NULL},
    {"a{,3}", NULL},
    {"a{1,3}+", NULL},
    {"(?m:a)", NULL},
    {"(*FAIL)", NULL},
    {"\\pL", NULL},
    {"\\P", NULL},
    {"\\p{L", NULL},
    {"\\x41", NULL},
    {"[]a]", NULL},
    {"\\", NULL},
};

static void test_patterns(void)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        Message problem = {""};
        char *got = onig_pattern_translate(patterns[i].pattern, &problem);
        bool right = patterns[i].translated ? got && strcmp(got, patterns[i].translated) == 0
                                            : !got && strstr(problem.text, "is not known here");
        check_true(right, "%s: %s%s", patterns[i].pattern, got ? got : "", problem.text);
        free(got);
    }
}

/* ---- normal forms ---- */

static size_t put_character(uint8_t *text, int32_t character) { return (size_t)utf8proc_encode_char(character, text); }

/* What utf8proc_map() makes of texts of marks, of characters that become some, and of what they go with. */
static void test_normal_forms(void)
{
    static const int32_t pool[] = {'a',    'e',    0xE9,   0x1EA5,  0x0301, 0x0323, 0x0308, 0x0345,
                                   0x0F71, 0x0F73, 0x0F81, 0x3099,  0xFF9E, 0x304B, 0x1100, 0x1161,
                                   0x11A8, 0xAC00, 0xFDFA, 0x1D15E, 0x0344, ' '};
    static const int forms[] = {UTF8PROC_COMPOSE, UTF8PROC_DECOMPOSE, UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
                                UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    enum { CHARACTERS = sizeof pool / sizeof *pool, LONGEST_TEXT = 30 };
    RngStream stream = rng_stream(2, "test", 0);
    uint64_t draws = 0;
    for (int i = 0; i < 4000; i++) {
        uint8_t text[4 * LONGEST_TEXT], *expected;
        size_t length = 0, got_length;
        int count = 1 + (int)(rng_uniform(stream, draws++) * LONGEST_TEXT), options = UTF8PROC_STABLE | forms[i % 4];
        while (count-- > 0)
            length += put_character(text + length, pool[(int)(rng_uniform(stream, draws++) * CHARACTERS)]);
        utf8proc_ssize_t bytes = utf8proc_map(text, (utf8proc_ssize_t)length, &expected, (utf8proc_option_t)options);
        uint8_t *got = normal_form(text, length, options, &got_length);
        check_true(bytes == (utf8proc_ssize_t)got_length && memcmp(got, expected, got_length) == 0, "text %d", i);
        free(got);
        free(expected);
    }
}

/* A run of marks takes no longer than other text: exchanging neighbours would take minutes. */
static void test_many_marks(void)
{
    enum { PAIRS = 60000 };
    uint8_t *text = checked_calloc(4 * PAIRS, 1), *sorted = checked_calloc(4 * PAIRS, 1);
    size_t length;
    for (size_t i = 0; i < PAIRS; i++) {
        memcpy(text + 4 * i, "\u0301\u0323", 4);
        memcpy(sorted + 2 * i, "\u0323", 2);
        memcpy(sorted + 2 * (PAIRS + i), "\u0301", 2);
    }
    uint8_t *got = normal_form(text, 4 * PAIRS, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &length);
    check_true(length == 4 * PAIRS && memcmp(got, sorted, length) == 0, "%zu bytes in order", length);
    free(got), free(text), free(sorted);
}

static const TestCase tests[] = {{"merges", test_merges},
                                 {"patterns", test_patterns},
                                 {"normal forms", test_normal_forms},
                                 {"runs of marks", test_many_marks}};
static const Suite suites[] = {SUITE("parts", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_text_parts", suites, 1);
    world_stop();
    return code;
}
