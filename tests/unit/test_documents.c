/* Documents of token files: where they begin, by /documents or by the token that ends them, in every part of every sequence; and
   what is refused. */
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

#include "io/batch_loader.h"
#include "io/documents.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

enum { TOKENS = 44, END = 7, T = 9 };
static const uint64_t starts[] = {0, 3, 4, 20, 43};
enum { DOCUMENTS = sizeof starts / sizeof *starts };

/* A file whose documents end with END, which it does not say. */
static void write_file(const char *name)
{
    Message problem = {""};
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = 60};
    TokenWriter *writer = token_file_create(scratch_path(name), &tokenizer, 0, &problem);
    for (size_t i = 0, next = 1; i < TOKENS; i++) {
        bool last = next < DOCUMENTS && i + 1 == starts[next];
        next += last;
        token_file_append(writer, &(int32_t){last ? END : 10 + (int32_t)i}, 1, &problem);
    }
    check_true(token_file_finish(&writer, 1, NULL, &problem), "finished: %s", problem.text);
}

/* Gives it /documents of this type and these elements, with a digest unless it is "". */
static void add_documents(const char *name, hid_t type, const void *elements, size_t count, const char *digest)
{
    hid_t file = H5Fopen(scratch_path(name), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &(hsize_t){count}, NULL);
    hid_t dataset = H5Dcreate2(file, "documents", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (count) H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, elements);
    if (digest[0]) {
        hid_t text = H5Tcopy(H5T_C_S1), one = H5Screate(H5S_SCALAR);
        H5Tset_size(text, DIGEST_TEXT_SIZE);
        hid_t attribute = H5Acreate2(dataset, "xxh3", text, one, H5P_DEFAULT, H5P_DEFAULT);
        H5Awrite(attribute, text, digest);
        H5Aclose(attribute), H5Sclose(one), H5Tclose(text);
    }
    H5Dclose(dataset), H5Sclose(space), H5Fclose(file);
}

static void add_end(const char *name, int64_t end)
{
    hid_t file = H5Fopen(scratch_path(name), H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(file, "end_of_document", H5T_NATIVE_INT64, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT64, &end);
    H5Aclose(attribute), H5Sclose(space), H5Fclose(file);
}

static TokenFile *open_file(const char *name)
{
    Message problem = {""};
    TokenFile *file = token_file_open(scratch_path(name), &problem);
    check_true(file != NULL, "opened: %s", problem.text);
    return file;
}

static TokenFile *file_with_documents(const char *name)
{
    char digest[DIGEST_TEXT_SIZE];
    Message problem = {""};
    write_file(name);
    digest_format(digest_bytes(starts, sizeof starts), digest);
    add_documents(name, H5T_NATIVE_UINT64, starts, DOCUMENTS, digest);
    TokenFile *file = open_file(name);
    check_true(documents_read(file, &problem), "read: %s", problem.text);
    return file;
}

static void check_documents(const TokenFile *file)
{
    const Documents *documents = file->documents;
    check_true(documents && documents->count == DOCUMENTS && memcmp(documents->starts, starts, sizeof starts) == 0,
               "%zu documents, as they were written", documents ? documents->count : 0);
}

static void test_reading(void)
{
    Message problem = {""};
    TokenFile *file = file_with_documents("dataset.h5");
    check_documents(file);
    check_true(documents_read(file, &problem), "read again: %s", problem.text);
    check_documents(file);
    token_file_close(file);
    write_file("ends.h5");
    add_end("ends.h5", END);
    file = open_file("ends.h5");
    check_true(documents_read(file, &problem), "ends: %s", problem.text);
    check_documents(file);
    token_file_close(file);
}

/* Whoever trains opens a file, looks at all of it, and reads where documents begin. */
static void check_refused(const char *name, const char *word)
{
    Message problem = {""};
    TokenFile *file = token_file_open(scratch_path(name), &problem);
    bool good = file && token_file_examine(file, &problem) && documents_read(file, &problem);
    check_true(!good && (!file || file->documents == NULL), "%s must be refused", name);
    check_true(good || (strstr(problem.text, word) && strstr(problem.text, name)), "'%s' must say: %s", problem.text,
               word);
    token_file_close(file);
}

static void refuse(const char *name, const uint64_t *elements, size_t count, const char *word)
{
    write_file(name);
    add_documents(name, H5T_NATIVE_UINT64, elements, count, "");
    check_refused(name, word);
}

static void test_refusals(void)
{
    write_file("silent.h5");
    check_refused("silent.h5", "train.document_mask = false");
    refuse("empty.h5", NULL, 0, "0 starts");
    refuse("late.h5", (uint64_t[]){1, 5}, 2, "starts at token 1, but starts rise from 0");
    refuse("falling.h5", (uint64_t[]){0, 5, 4}, 3, "document 2 starts at token 4");
    refuse("twice.h5", (uint64_t[]){0, 5, 5}, 3, "document 2 starts at token 5");
    refuse("beyond.h5", (uint64_t[]){0, TOKENS}, 2, "below 44");
    refuse("huge.h5", (uint64_t[]){0, UINT64_MAX}, 2, "below 44");
    write_file("narrow.h5");
    add_documents("narrow.h5", H5T_NATIVE_UINT32, (uint32_t[]){0, 5}, 2, "");
    check_refused("narrow.h5", "uint64");
    write_file("changed.h5");
    add_documents("changed.h5", H5T_NATIVE_UINT64, starts, DOCUMENTS, "0123456789abcdef");
    check_refused("changed.h5", "documents");
    write_file("no-token.h5");
    add_end("no-token.h5", 60);
    check_refused("no-token.h5", "end_of_document = 60");
}

/* The definition: the last start that is not later than the token, counted from the sequence's first. */
static int32_t expected_start(uint64_t sequence, size_t position)
{
    uint64_t start = 0;
    for (size_t i = 0; i < DOCUMENTS; i++)
        if (starts[i] <= sequence + position) start = starts[i];
    return start > sequence ? (int32_t)(start - sequence) : 0;
}

/* Tokens say where in the file they stand, but for those that end documents. */
static uint64_t sequence_of(const int32_t *inputs)
{
    size_t i = 0;
    while (inputs[i] == END) i++;
    return (uint64_t)inputs[i] - 10 - i;
}

static void check_whole(const TokenBatch *whole)
{
    uint64_t sequence = sequence_of(whole->inputs);
    for (size_t t = 0; t < T; t++)
        check_true(whole->document_starts[t] == expected_start(sequence, t),
                   "sequence from token %d: token %zu is of the document at %d", (int)sequence, t,
                   whole->document_starts[t]);
}

/* Of training, at every phase, and of windows, the last of which reaches beyond the file. */
static void test_sequences(void)
{
    Message problem = {""};
    TokenFile *file = file_with_documents("sequences.h5");
    const TokenRange all = {0, T}, parts[] = {{0, 1}, {4, 3}};
    BatchLoader *loader = batch_loader_create(file, T, &all, 1, 3, &problem);
    BatchLoader *cut = batch_loader_create(file, T, parts, 2, 3, &problem);
    BatchLoader *windows = batch_loader_create_evaluation(file, T, 4, &all, 1, &problem);
    TokenBatch whole = token_batch_create(T, true), part = token_batch_create(2 * 4, true);
    for (uint64_t number = 0; number < 100; number += 2) {
        check_true(batch_loader_training(cut, number, 2, &part, &problem), "read: %s", problem.text);
        for (uint64_t i = 0; i < 2; i++) {
            check_true(batch_loader_training(loader, number + i, 1, &whole, &problem), "read: %s", problem.text);
            check_whole(&whole);
            check_true(part.document_starts[4 * i] == whole.document_starts[0] &&
                           memcmp(part.document_starts + 4 * i + 1, whole.document_starts + 4, 3 * sizeof(int32_t)) ==
                               0,
                       "ranges of sequence %d", (int)(number + i));
        }
    }
    for (uint64_t w = 0; w < batch_loader_windows(windows); w++) {
        check_true(batch_loader_sequential(windows, w, 1, &whole, &problem), "read: %s", problem.text);
        check_whole(&whole);
    }
    token_batch_destroy(&whole), token_batch_destroy(&part);
    batch_loader_destroy(loader), batch_loader_destroy(cut), batch_loader_destroy(windows);
    token_file_close(file);
}

static const TestCase tests[] = {
    {"starts are read or found", test_reading},
    {"what cannot be is refused", test_refusals},
    {"every part of every sequence", test_sequences},
};
static const Suite suites[] = {SUITE("documents", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_documents", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
