/* Made sources: every part of a sequence is the same however it is cut, the answers that are asked for stand in the sequence,
   their places are spread as they should be, and no sequence comes twice. And what becomes of targets that do not count. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/batch_loader.h"
#include "io/source.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/tensor/cross_entropy.h"
#include "src/tensor/greedy.h"
#include "src/train/config.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

enum { T = 240, ITEMS = 12, BOOK = 5000 };

static TokenFile *book;
static const char *const made[] = {"copying", "induction", "recall", "needle"};
enum { MADE = sizeof made / sizeof *made };

static void open_book(void)
{
    Message problem = {""};
    Tokenizer tokenizer = tokenizer_bytes();
    TokenWriter *writer = token_file_create(scratch_path("book.h5"), &tokenizer, 0, &problem);
    int32_t *letters = random_tokens(BOOK, 26, 5);
    for (int i = 0; i < BOOK; i++) letters[i] = letters[i] ? 'a' + letters[i] : ' ';
    bool good =
        writer && token_file_append(writer, letters, BOOK, &problem) && token_file_finish(&writer, 1, NULL, &problem);
    if (good) book = token_file_open(scratch_path("book.h5"), &problem);
    CHECK(book, "no book: %s", problem.text);
    tokenizer_destroy(&tokenizer);
    free(letters);
}

static SourceSpec spec_of(const char *name, int64_t items)
{
    SourceSpec spec;
    Message problem = {""};
    int count;
    const OptionRow *rows = source_options(&count);
    OptionTable table = {rows, count, &spec};
    option_set_defaults(&table);
    check_true(option_set(&table, 1, "data.source", name, &problem), "%s: %s", name, problem.text);
    spec.items = items;
    source_resolve(&spec);
    return spec;
}

static BatchLoader *loader_of(const SourceSpec *spec, SourceUse use, size_t context_length, const TokenRange *ranges,
                              size_t range_count)
{
    Message problem = {""};
    DataSource source = {*spec, source_reads_file(spec) ? book : NULL, 3};
    BatchLoader *loader = batch_loader_create_made(&source, use, context_length, ranges, range_count, &problem);
    check_true(loader != NULL, "loader: %s", problem.text);
    return loader;
}

typedef struct Sequences {
    int32_t *inputs, *targets; /* (count, T) */
    size_t count, context_length;
} Sequences;

static Sequences make(const SourceSpec *spec, SourceUse use, size_t context_length, uint64_t first, size_t count)
{
    Message problem = {""};
    Sequences s = {checked_calloc(count * context_length, sizeof *s.inputs),
                   checked_calloc(count * context_length, sizeof *s.targets), count, context_length};
    BatchLoader *loader = loader_of(spec, use, context_length, &(TokenRange){0, context_length}, 1);
    check_true(batch_loader_training(loader, first, (int64_t)count, &(TokenBatch){s.inputs, s.targets, NULL}, &problem),
               "made: %s", problem.text);
    batch_loader_destroy(loader);
    return s;
}

static void drop(Sequences *s) { free(s->inputs), free(s->targets); }

/* ---- cutting -------------------------------------------------------------------------------------------------------- */

static void check_cut(const SourceSpec *spec, const Sequences *whole, const TokenRange *ranges, size_t range_count)
{
    Message problem = {""};
    BatchLoader *loader = loader_of(spec, USE_TRAINING, T, ranges, range_count);
    for (size_t i = 0; i < whole->count; i++) {
        int32_t inputs[T], targets[T];
        size_t place = 0;
        check_true(batch_loader_training(loader, 7 + i, 1, &(TokenBatch){inputs, targets, NULL}, &problem), "made: %s",
                   problem.text);
        for (size_t k = 0; k < range_count; k++) {
            size_t bytes = ranges[k].count * sizeof *inputs, from = i * T + ranges[k].first;
            check_true(memcmp(inputs + place, whole->inputs + from, bytes) == 0 &&
                           memcmp(targets + place, whole->targets + from, bytes) == 0,
                       "%s: sequence %zu from place %zu", source_name(spec), i, ranges[k].first);
            place += ranges[k].count;
        }
    }
    batch_loader_destroy(loader);
}

static void test_cuts(void)
{
    for (int m = 0; m < MADE; m++) {
        SourceSpec spec = spec_of(made[m], ITEMS);
        Sequences whole = make(&spec, USE_TRAINING, T, 7, 30);
        for (size_t first = 0; first < T; first += 23) {
            const TokenRange one = {first, T - first < 31 ? T - first : 31};
            check_cut(&spec, &whole, &one, 1);
        }
        check_cut(&spec, &whole, (TokenRange[]){{0, 1}, {100, 60}, {T - 5, 5}}, 3);
        drop(&whole);
    }
}

static void test_counts(void)
{
    for (int m = 0; m < MADE; m++) {
        SourceSpec spec = spec_of(made[m], ITEMS);
        Sequences s = make(&spec, USE_EVALUATION, T, 0, 50);
        for (size_t i = 0; i < s.count; i++) {
            size_t counted = 0;
            for (size_t t = 0; t < T; t++) {
                int32_t input = s.inputs[i * T + t], target = s.targets[i * T + t];
                check_true(input >= 0 && input < source_vocab_size(&spec), "%s: input %d", made[m], input);
                check_true(target >= -1 && target < source_vocab_size(&spec), "%s: target %d", made[m], target);
                counted += target >= 0;
            }
            check_true(counted == source_counted(&spec, T), "%s: %zu targets count", made[m], counted);
        }
        drop(&s);
    }
}

/* ---- what is asked -------------------------------------------------------------------------------------------------- */

static void test_copying(void)
{
    SourceSpec spec = spec_of("copying", ITEMS);
    const int32_t blank = (int32_t)spec.alphabet, separator = blank + 1;
    Sequences s = make(&spec, USE_TRAINING, T, 0, 400);
    size_t early = 0;
    for (size_t i = 0; i < s.count; i++) {
        const int32_t *x = s.inputs + i * T, *y = s.targets + i * T;
        size_t items = 0;
        for (size_t t = 0; t < T - ITEMS; t++) {
            check_true(y[t] == -1 && x[t] != separator, "nothing is asked at %zu", t);
            if (x[t] == blank) continue;
            early += t < (T - ITEMS) / 4;
            if (items < ITEMS) check_true(y[T - ITEMS + items] == x[t], "item %zu of sequence %zu", items, i);
            items++;
        }
        check_true(items == ITEMS, "%zu items", items);
        for (size_t t = T - ITEMS; t < T; t++) check_true(x[t] == separator, "a separator at %zu", t);
    }
    double share = (double)early / (double)(s.count * ITEMS); /* of a quarter: 5 standard deviations */
    check_true(fabs(share - 0.25) < 0.032, "%g of the items are in the first quarter", share);
    drop(&s);
}

static void test_induction(void)
{
    SourceSpec spec = spec_of("induction", 1);
    const int32_t trigger = (int32_t)spec.alphabet;
    Sequences s = make(&spec, USE_TRAINING, T, 0, 2000);
    double places = 0;
    int seen[16] = {0};
    for (size_t i = 0; i < s.count; i++) {
        const int32_t *x = s.inputs + i * T, *y = s.targets + i * T;
        size_t place = 0, triggers = 0;
        while (x[place] != trigger) place++;
        for (size_t t = 0; t < T; t++) triggers += x[t] == trigger;
        check_true(triggers == 2 && x[T - 1] == trigger, "the trigger is there once, and at the end");
        check_true(place + 1 < T - 1 && y[T - 1] == x[place + 1], "the answer of sequence %zu", i);
        places += (double)place / (double)s.count;
        seen[y[T - 1]]++;
    }
    check_true(fabs(places - (T - 3) / 2.0) < 5 * T / sqrt(12.0 * 2000), "the mean place is %g", places);
    for (int c = 0; c < 16; c++) check_true(abs(seen[c] - 125) < 60, "answer %d comes %d times of 125", c, seen[c]);
    drop(&s);
}

static void check_pairs(const SourceSpec *spec, const int32_t *x, const int32_t *y)
{
    bool known[64] = {false};
    for (int i = 0; i < ITEMS; i++) {
        int32_t key = x[2 * i], value = x[2 * i + 1];
        int asked = 0;
        check_true(key < 32 && value >= 32 && value < 64, "key %d, value %d", key, value);
        check_true(!known[key] && !known[value], "key %d or value %d comes twice", key, value);
        known[key] = known[value] = true;
        for (size_t t = 2 * ITEMS; t < T; t++) {
            if (x[t] != key) continue;
            asked++;
            check_true(y[t] == value && t % 2 == 0, "the value of key %d at %zu", key, t);
        }
        check_true(asked == 1, "key %d is asked %d times", key, asked);
    }
    for (size_t t = 0; t < T; t++)
        check_true(y[t] >= 0 || t < 2 * ITEMS || x[t] == spec->alphabet, "a blank at %zu, not %d", t, x[t]);
}

static void test_recall(void)
{
    SourceSpec spec = spec_of("recall", ITEMS), one = spec_of("recall", 1);
    Sequences s = make(&spec, USE_TRAINING, T, 0, 200);
    for (size_t i = 0; i < s.count; i++) check_pairs(&spec, s.inputs + i * T, s.targets + i * T);
    drop(&s);
    /* Alone a query keeps the place that was drawn: nearly log-uniform, so as many in 0 .. 9 as in 10 .. 109. */
    s = make(&one, USE_TRAINING, 2 + 2 * 119, 0, 2000);
    int near = 0;
    for (size_t i = 0; i < s.count; i++)
        for (size_t t = 2; t < 2 + 2 * 10; t++) near += s.targets[i * s.context_length + t] >= 0;
    double expected = (pow(11, 0.01) - 1) / (pow(120, 0.01) - 1);
    check_true(fabs(near / 2000.0 - expected) < 0.056, "%d of 2000 queries are near, not %g", near, 2000 * expected);
    drop(&s);
    Message problem;
    SourceSpec full = spec_of("recall", 32); /* every key, every place */
    check_true(source_check(&full, 128, &problem), "32 pairs fit into 128");
    s = make(&full, USE_TRAINING, 128, 0, 20);
    for (size_t t = 64; t < 128; t++) check_true((s.targets[t] >= 0) == (t % 2 == 0), "all places are taken: %zu", t);
    drop(&s);
}

/* ---- the needle ----------------------------------------------------------------------------------------------------- */

/* Is the text a part of the book? */
static bool from_book(const char *text, size_t count)
{
    static char all[BOOK + 1];
    if (!all[0]) {
        int32_t tokens[BOOK];
        Message problem;
        check_true(token_file_read(book, 0, BOOK, tokens, &problem), "read");
        for (int i = 0; i < BOOK; i++) all[i] = (char)tokens[i];
    }
    for (size_t start = 0; start + count <= BOOK; start++)
        if (memcmp(all + start, text, count) == 0) return true;
    return false;
}

static void check_needle(const int32_t *x, const int32_t *y, uint64_t number)
{
    char text[T + 2] = "", word[32], asked[32], digits[8], book_text[T + 1];
    for (size_t t = 0; t < T; t++) text[t] = (char)x[t];
    text[T] = (char)y[T - 1]; /* the last digit is only a target */
    char *sentence = strstr(text, "\nThe magic number of "), *question = strstr(sentence + 1, "\nThe magic number of ");
    check_true(sscanf(sentence, "\nThe magic number of %31[A-Za-z] is %7[0-9].\n", word, digits) == 2, "%s", text);
    check_true(sscanf(question, "\nThe magic number of %31[A-Za-z] is ", asked) == 1, "%s", text);
    check_true(strcmp(word, asked) == 0 && strcmp(text + T - 6, digits) == 0, "%s", text);
    for (int i = 0; i < 7; i++) check_true(y[T - 7 + i] == digits[i], "digit %d", i);
    const char *after = strchr(sentence, '.') + 2;
    size_t before = (size_t)(sentence - text), rest = (size_t)(question - after);
    memcpy(book_text, text, before);
    memcpy(book_text + before, after, rest);
    check_true(from_book(book_text, before + rest), "the text around it is of the book: %s", text);
    double tenth = (double)(before + rest + 1) / 10, first = (double)(number % 10) * tenth;
    check_true((double)before > first - 1 && (double)before < first + tenth, "depth %zu of %zu of sequence %d", before,
               before + rest, (int)number);
}

static void test_needle(void)
{
    SourceSpec spec = spec_of("needle", 1);
    Sequences s = make(&spec, USE_EVALUATION, T, 0, 300);
    for (size_t i = 0; i < s.count; i++) check_needle(s.inputs + i * T, s.targets + i * T, i);
    drop(&s);
    check_true(source_strata(&spec) == 10, "tenths of the depth");
}

/* ---- no sequence twice ---------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

/* Of training, of evaluation, of training at another length: there by the answers alone. */
static void test_no_sequence_twice(void)
{
    enum { COUNT = 3000 };
    uint64_t *digests = checked_calloc(3 * COUNT, sizeof *digests);
    for (int m = 0; m < MADE; m++) {
        SourceSpec spec = spec_of(made[m], ITEMS);
        size_t n = 0, twice = 0, answers = source_counted(&spec, T);
        Sequences parts[2] = {make(&spec, USE_TRAINING, T, 0, COUNT), make(&spec, USE_EVALUATION, T, 0, COUNT)};
        for (int p = 0; p < 2; p++)
            for (size_t i = 0; i < COUNT; i++) digests[n++] = XXH64(parts[p].inputs + i * T, T * sizeof(int32_t), 0);
        qsort(digests, n, sizeof *digests, by_value);
        for (size_t i = 1; i < n; i++) twice += digests[i] == digests[i - 1];
        check_true(twice == 0, "%s: %zu sequences come twice", made[m], twice);
        Sequences longer = make(&spec, USE_TRAINING, T + 16, 0, COUNT);
        size_t same = 0;
        for (size_t i = 0; i < COUNT; i++)
            same += memcmp(parts[0].inputs + (i + 1) * T - answers, longer.inputs + (i + 1) * (T + 16) - answers,
                           answers * sizeof(int32_t)) == 0 &&
                    memcmp(parts[0].targets + (i + 1) * T - answers, longer.targets + (i + 1) * (T + 16) - answers,
                           answers * sizeof(int32_t)) == 0;
        if (m == 0 || m == 3) check_true(same == 0, "%s: %zu answers again at another length", made[m], same);
        drop(&parts[0]), drop(&parts[1]), drop(&longer);
    }
    free(digests);
}

/* ---- options -------------------------------------------------------------------------------------------------------- */

static bool finish(const char *settings, Config *config, Message *problem)
{
    char text[512], *next = text;
    OptionTable table = config_options(config);
    option_set_defaults(&table);
    snprintf(text, sizeof text, "%s", settings);
    for (char *word; (word = strsep(&next, " "));) {
        char *value = strchr(word, '=');
        *value++ = 0;
        check_true(option_set(&table, 1, word, value, problem), "%s: %s", word, problem->text);
    }
    return config_finish(config, 1, problem);
}

static void expect_bad(const char *settings, const char *word)
{
    Config config;
    Message problem = {""};
    check_true(!finish(settings, &config, &problem) && strstr(problem.text, word), "%s: '%s' must say: %s", settings,
               problem.text, word);
}

static void test_options(void)
{
    static const struct {
        const char *settings;
        int64_t vocab_size;
        double counted;
    } good[] = {{"data.source=copying", 18, 16 * 8},
                {"data.source=induction", 17, 8},
                {"data.source=recall data.items=8", 65, 8 * 8},
                {"data.source=recall data.source_vocab=100", 101, 16 * 8},
                {"data.source=needle", 256, 7 * 8},
                {"data.source=needle data.source_vocab=3", 256, 7 * 8},
                {"data.source=induction model.vocab_size=100", 100, 8},
                {"model.vocab_size=100", 100, 512 * 8}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        Config config;
        Message problem = {""};
        check_true(finish(good[i].settings, &config, &problem), "%s: %s", good[i].settings, problem.text);
        check_true(config.model.vocab_size == good[i].vocab_size, "%s: V = %lld", good[i].settings,
                   (long long)config.model.vocab_size);
        check_true(config_counted_targets(&config) == good[i].counted, "%s: %g targets", good[i].settings,
                   config_counted_targets(&config));
    }
    expect_bad("data.source=copying model.context_length=31", "need 32");
    expect_bad("data.source=recall model.context_length=63", "need 64");
    expect_bad("data.source=recall data.items=33", "data.source_vocab = 66");
    expect_bad("data.source=induction model.context_length=2", "at least 3");
    expect_bad("data.source=needle model.context_length=100", "need 128");
    expect_bad("data.source=induction model.vocab_size=16", "model.vocab_size = 17");
    expect_bad("data.source=induction evaluate.stride=8", "whole sequences");
}

static void test_files_for_needles(void)
{
    Message problem = {""};
    DataSource source = {spec_of("needle", 1), book, 3};
    check_true(source_check_file(&source, BOOK, &problem), "as long as the book: %s", problem.text);
    check_true(!source_check_file(&source, BOOK + 1, &problem) && strstr(problem.text, "5000 tokens"), "%s",
               problem.text);
    TokenFile pieces = *book;
    strcpy(pieces.tokenizer.name, "pieces");
    source.file = &pieces;
    check_true(!source_check_file(&source, T, &problem) && strstr(problem.text, "bytes"), "%s", problem.text);
}

/* ---- targets that do not count -------------------------------------------------------------------------------------- */

static void test_cross_entropy(void)
{
    enum { ROWS = 6, V = 11 };
    const int32_t targets[ROWS] = {-1, 3, -1, -1, 0, -1};
    int32_t all[ROWS];
    real *logits = random_reals(ROWS * V, 2, 1), *bias = random_reals(V, 1, 2), losses[ROWS], plain[ROWS];
    real *copy = checked_calloc(ROWS * V, sizeof *copy);
    uint8_t correct[ROWS];
    memcpy(copy, logits, ROWS * V * sizeof *copy);
    for (int t = 0; t < ROWS; t++) all[t] = targets[t] < 0 ? 0 : targets[t];
    logits[2 * V + 4] = (real)NAN; /* nobody asks */
    greedy_correct(correct, logits, bias, targets, ROWS, V);
    cross_entropy(losses, logits, bias, targets, ROWS, V, &(LossSpec){.gradient_scale = (real)0.5});
    cross_entropy(plain, copy, bias, all, ROWS, V, &(LossSpec){.gradient_scale = (real)0.5});
    for (int t = 0; t < ROWS; t++)
        for (int c = 0; c < V; c++)
            if (targets[t] < 0)
                check_true(losses[t] == 0 && correct[t] == 0 && logits[t * V + c] == 0, "row %d does not count", t);
            else
                check_true(losses[t] == plain[t] && logits[t * V + c] == copy[t * V + c], "row %d is as ever", t);
    free(logits), free(bias), free(copy);
}

static void test_greedy(void)
{
    const real logits[4][3] = {{1, 3, 2}, {1, 3, 2}, {2, 2, 1}, {2, 2, 1}}, bias[3] = {0, 0, (real)1.5};
    const int32_t targets[4] = {2, 1, 0, 1};
    const uint8_t expected[4] = {1, 0, 0, 0}; /* 1 3 3.5: the last; 2 2 2.5: the last too */
    uint8_t correct[4];
    greedy_correct(correct, logits[0], bias, targets, 4, 3);
    check_true(memcmp(correct, expected, 4) == 0, "with the bias");
    const real none[3] = {0, 0, 0};
    greedy_correct(correct, logits[0], none, targets, 4, 3);
    check_true(memcmp(correct, (uint8_t[]){0, 1, 1, 0}, 4) == 0, "without; the first of two largest");
}

static const TestCase source_tests[] = {
    {"parts of a sequence", test_cuts},
    {"targets that count", test_counts},
    {"selective copying", test_copying},
    {"induction head", test_induction},
    {"associative recall", test_recall},
    {"needle in a book", test_needle},
    {"no sequence twice", test_no_sequence_twice},
    {"options", test_options},
    {"files for needles", test_files_for_needles},
};

static const TestCase target_tests[] = {
    {"cross entropy", test_cross_entropy},
    {"the likeliest token", test_greedy},
};

static const Suite suites[] = {
    SUITE("sources", source_tests),
    SUITE("targets that do not count", target_tests),
};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    scratch_make();
    open_book();
    int code = run_suites("test_source", suites, sizeof suites / sizeof *suites);
    token_file_close(book);
    scratch_remove();
    world_stop();
    return code;
}
