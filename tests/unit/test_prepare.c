/* Which documents `prepare` finds, and which it keeps for validation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mpi/world.h"
#include "src/base/utf8.h"
#include "src/programs/corpus.h"
#include "src/programs/input_files.h"
#include "src/programs/split.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

static void test_utf8(void)
{
    static const struct {
        const char *text;
        size_t error; /* the length when it is valid */
    } cases[] = {{"plain", 5},
                 {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9},
                 {"a\x80", 1},
                 {"\xc0\xaf", 0},
                 {"b\xe0\x80\x80", 1},
                 {"\xed\xa0\x80", 0},
                 {"\xf4\x90\x80\x80", 0},
                 {"ab\xc3", 2},
                 {"\xff", 0},
                 {"\xf0\x8f\xbf\xbf", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_true(utf8_first_error((const uint8_t *)cases[i].text, strlen(cases[i].text)) == cases[i].error,
                   "case %zu", i);
}

/* ---- files ---- */

static void test_folders(void)
{
    InputFiles files = {0};
    Message problem = {""};
    char input[256], expected[3][512];
    static const char *const names[] = {"a.txt", "more/b.txt", "z"};
    snprintf(input, sizeof input, "%s", scratch_path("folder"));
    mkdir(input, 0777);
    mkdir(scratch_path("elsewhere"), 0777);
    mkdir(scratch_path("folder/.git"), 0777);
    scratch_write("elsewhere/b.txt", "b", 1);
    scratch_write("folder/z", "z", 1);
    scratch_write("folder/a.txt", "a", 1);
    scratch_write("folder/a.txt~", "old", 3);
    scratch_write("folder/.git/x", "x", 1);
    check_true(
        symlink("a.txt", scratch_path("folder/link-to-a")) == 0 && symlink("..", scratch_path("folder/up")) == 0 &&
            symlink("../elsewhere", scratch_path("folder/more")) == 0 &&
            symlink("../elsewhere", scratch_path("folder/more-again")) == 0 &&
            symlink(".", scratch_path("elsewhere/circle")) == 0 && mkfifo(scratch_path("folder/pipe"), 0600) == 0,
        "links");
    unlink(scratch_path("folder/up")); /* leads to the folder of all tests, and back */
    check_true(symlink("../folder", scratch_path("folder/self")) == 0, "a circle");
    check_true(input_files_add(&files, "--input", input, scratch_path("result"), &problem), "%s", problem.text);
    check_true(files.count == 3, "%zu files", files.count);
    for (size_t i = 0; i < 3 && files.count == 3; i++) {
        snprintf(expected[i], sizeof expected[i], "%s/%s", input, names[i]);
        check_true(strcmp(files.paths[i], expected[i]) == 0, "file %zu is '%s'", i, files.paths[i]);
    }
    check_true(files.left_out[LEFT_HIDDEN] == 1 && files.left_out[LEFT_BACKUP] == 1 &&
                   files.left_out[LEFT_SPECIAL] == 1 && files.left_out[LEFT_REPEATED] == 4,
               "left out: %zu hidden, %zu backups, %zu special, %zu again", files.left_out[LEFT_HIDDEN],
               files.left_out[LEFT_BACKUP], files.left_out[LEFT_SPECIAL], files.left_out[LEFT_REPEATED]);
    check_true(input_files_add(&files, "--input", expected[0], scratch_path("result"), &problem) &&
                   input_files_add(&files, "--input", input, scratch_path("result"), &problem) && files.count == 3 &&
                   files.left_out[LEFT_REPEATED] == 6,
               "named again: %zu files", files.count);
    input_files_destroy(&files);
    for (int deep = 0; deep < 3; deep++) {
        static const char *const outputs[] = {"folder", "folder/new", "folder/more/new/deeper/"};
        bool good = input_files_add(&files, "--input", input, scratch_path(outputs[deep]), &problem);
        check_true(!good && strstr(problem.text, "Choose a folder outside"), "%s must be refused", outputs[deep]);
        input_files_destroy(&files);
    }
    check_true(symlink("nowhere", scratch_path("folder/dangling")) == 0, "link");
    check_true(!input_files_add(&files, "--input", input, scratch_path("result"), &problem) &&
                   strstr(problem.text, "leads nowhere"),
               "a link that leads nowhere is refused");
    input_files_destroy(&files);
}

/* ---- the choice ---- */

/* A corpus of documents of these lengths, all in one text without a byte that continues a character. */
static Corpus corpus_of(const size_t *lengths, size_t count, int64_t end_of_document)
{
    Corpus corpus = {.vocab_size = 257, .end_of_document = end_of_document};
    size_t start = 0;
    int source = corpus_add_source(
        &corpus, (Source){.path = strdup(scratch_path("whole")), .descriptor = -1, .text = true, .form = {.bytes = 1}});
    for (size_t i = 0; i < count; start += lengths[i++]) corpus_add_document(&corpus, source, start, lengths[i], -1);
    char *text = malloc(start);
    memset(text, 'a', start);
    scratch_write("whole", text, start);
    free(text);
    return corpus;
}

/* All numbers are used once, in order, and validation has the wish within a tenth. */
static void check_split(const size_t *lengths, size_t count, double fraction, bool cut, int64_t end)
{
    Message problem = {""};
    for (int64_t seed = 1; seed < 30; seed++) {
        Split split;
        Corpus corpus = corpus_of(lengths, count, end);
        bool good = split_corpus(&split, &corpus, fraction, seed, &problem);
        double wish = fmax(2, fraction * (double)(split.tokens[0] + split.tokens[1]));
        check_true(good && fabs((double)split.tokens[1] - wish) <= 0.1 * wish + 1,
                   "%zu documents, %g, seed %d: %zu tokens, %s", count, fraction, (int)seed, split.tokens[1],
                   problem.text);
        check_true(split.cut == cut && split.documents[0] + split.documents[1] == corpus.count &&
                       corpus.count == count + cut,
                   "%zu documents, %g, seed %d: %zu documents afterwards", count, fraction, (int)seed, corpus.count);
        size_t place = 0;
        for (size_t i = 0; i < corpus.count; place += corpus.documents[i++].length) {
            check_true(corpus.documents[i].start == place && corpus.documents[i].length > 0, "document %zu", i);
            bool front = split.cut && i == split.cut_document;
            check_true(corpus.documents[i].gets_end == (end >= 0 && !front), "the end of document %zu", i);
        }
        free(split.validation);
        corpus_destroy(&corpus);
    }
}

static void test_split(void)
{
    static const size_t equal[] = {1000, 1000}, tiny_one[] = {27000, 27000, 27000, 30}, one[] = {5000},
                        last[] = {5000, 1};
    size_t many[1000], short_ones[40];
    for (size_t i = 0; i < 1000; i++) many[i] = 1 + i * i % 97;
    for (size_t i = 0; i < 40; i++) short_ones[i] = 1;
    for (int64_t end = -1; end <= 256; end += 257) {
        check_split(equal, 2, 0.05, true, end);
        check_split(equal, 2, 0.5, false, end);
        check_split(equal, 2, 0.48, false, end);
        check_split(tiny_one, 4, 0.05, true, end);
        check_split(one, 1, 0.05, true, end);
        check_split(last, 2, 0.9, true, end);
        check_split(last, 2, 0.05, true, end);
        check_split(many, 1000, 0.05, false, end);
        check_split(short_ones, 40, 0.05, false, end);
    }
}

/* Nothing for validation; too little for both; no cut within a character. */
static void test_small(void)
{
    Message problem = {""};
    Split split;
    Corpus corpus = corpus_of((const size_t[]){3}, 1, -1);
    check_true(split_corpus(&split, &corpus, 0, 1, &problem) && split.tokens[0] == 3 && split.documents[1] == 0, "%s",
               problem.text);
    free(split.validation);
    check_true(!split_corpus(&split, &corpus, 0.05, 1, &problem) && strstr(problem.text, "3 tokens are too few"),
               "'%s'", problem.text);
    free(split.validation);
    corpus_destroy(&corpus);
    corpus = corpus_of((const size_t[]){20}, 1, -1);
    scratch_write("whole",
                  "0123456789012\xe2\x82\xac"
                  "abcd",
                  20);
    check_true(split_corpus(&split, &corpus, 0.3, 1, &problem), "%s", problem.text); /* 6 bytes begin within the sign */
    check_true(corpus.documents[0].length == 16 && split.tokens[1] == 4, "cut after %zu bytes",
               corpus.documents[0].length);
    free(split.validation);
    corpus_destroy(&corpus);
}

/* ---- numbers of 1, 2, 4 and 8 bytes ---- */

static void test_numbers(void)
{
    static const struct {
        const char *bytes;
        NumberForm form;
        const char *number; /* in the message when it is no token; "": it is 258 */
    } cases[] = {
        {"\x02\x01", {2, false, false}, ""},
        {"\x01\x02", {2, true, true}, ""},
        {"\x02\x01\0", {4, true, false}, ""},
        {"\0\0\0\0\0\0\x01\x02", {8, false, true}, ""},
        {"\x02\x01\0\0\0\0\0", {8, true, false}, ""},
        {"\xff", {1, true, false}, "is -1"},
        {"\xfe\xff\xff\xff", {4, true, false}, "is -2"},
        {"\xff\xff\xff\xff", {4, false, false}, "is 4294967295"},
        {"\x02\x01\0\0\x01\0\0", {8, true, false}, "is 4294967554"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff", {8, true, false}, "is -1"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff", {8, false, false}, "is 18446744073709551615"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Message problem = {""};
        int32_t token = -1;
        Corpus corpus = {.vocab_size = 1000, .end_of_document = -1};
        char file[9] = {'x'}; /* one byte of a header */
        memcpy(file + 1, cases[i].bytes, (size_t)cases[i].form.bytes);
        scratch_write("numbers", file, 1 + (size_t)cases[i].form.bytes);
        int source = corpus_add_source(
            &corpus,
            (Source){.path = strdup(scratch_path("numbers")), .descriptor = -1, .offset = 1, .form = cases[i].form});
        bool good = corpus_read(&corpus, source, 0, 1, &token, &problem);
        if (cases[i].number[0])
            check_true(!good && strstr(problem.text, cases[i].number), "case %zu: '%s'", i, problem.text);
        else
            check_true(good && token == 258, "case %zu: %d, '%s'", i, (int)token, problem.text);
        check_true(!corpus_read(&corpus, source, 1, 1, &token, &problem), "case %zu: nothing behind the end", i);
        corpus_destroy(&corpus);
    }
}

/* Headers of NumPy files that end anywhere; the sanitizer sees what is read behind their ends. */
static void test_npy_cut(void)
{
    static const char dictionary[] = "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }";
    static const char *const short_ones[] = {"'descr': '", "'descr': '<", "'descr': '<u", "'shape': (", "'descr'"};
    for (size_t i = 0; i < sizeof dictionary - 1 + sizeof short_ones / sizeof *short_ones; i++) {
        bool cut = i < sizeof dictionary - 1;
        const char *header = cut ? dictionary : short_ones[i - (sizeof dictionary - 1)];
        size_t length = cut ? i : strlen(header);
        char file[100] = "\x93NUMPY\x01";
        file[8] = (char)length;
        memcpy(file + 10, header, length);
        scratch_write("cut.npy", file, 10 + length + 4);
        Message problem = {""};
        Corpus corpus = {.vocab_size = 1000, .end_of_document = -1};
        InputFiles files = {0};
        bool good = input_files_add(&files, "--tokens", scratch_path("cut.npy"), scratch_path("result"), &problem) &&
                    corpus_read_token_files(&corpus, &files, TOKENS_NPY, &problem);
        bool whole = cut && i >= (size_t)(strstr(dictionary, ")") - dictionary) + 1;
        check_true(good == whole, "%zu characters of %s: '%s'", length, header, problem.text);
        input_files_destroy(&files);
        corpus_destroy(&corpus);
    }
}

int main(int argc, char **argv)
{
    static const TestCase inputs[] = {{"UTF-8", test_utf8},
                                      {"folders", test_folders},
                                      {"numbers", test_numbers},
                                      {"NumPy files that are cut", test_npy_cut}};
    static const TestCase splits[] = {{"near the wish", test_split}, {"small ones", test_small}};
    static const Suite suites[] = {SUITE("inputs", inputs), SUITE("split", splits)};
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_prepare", suites, 2);
    scratch_remove();
    world_stop();
    return code;
}
