/* Training on several files: what the option says, how the sequences are shared out, and that each file is read as if it were
   alone. */
#include <stdlib.h>
#include <string.h>

#include "io/batch_loader.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

enum { FILES = 3, T = 5 };
static const char *const names[FILES] = {"a.h5", "b,c:1.h5", "d\\e.h5"};
static const size_t counts[FILES] = {31, 47, 200};

/* Token i of file f is (i + 100 f) mod 251. */
static void write_file(int f, int64_t vocab_size)
{
    Message problem = {""};
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = vocab_size};
    TokenWriter *writer = token_file_create(scratch_path(names[f]), &tokenizer, counts[f], &problem);
    for (size_t i = 0; i < counts[f]; i++)
        token_file_append(writer, &(int32_t){(int32_t)((i + 100 * (size_t)f) % 251)}, 1, &problem);
    check_true(token_file_finish(&writer, 1, NULL, &problem), "%s: %s", names[f], problem.text);
}

/* `format` with the folder of the files in the place of each @. */
static TokenMix *open_mix(const char *format, Message *problem)
{
    char text[2048], folder[512];
    snprintf(folder, sizeof folder, "%s", scratch_path("."));
    char *to = text;
    for (const char *from = format; *from; from++) {
        if (*from == '@')
            to += sprintf(to, "%s/", folder);
        else
            *to++ = *from;
    }
    *to = 0;
    return token_mix_open(text, problem);
}

static void check_quotas(const char *text, int count, const int *quotas)
{
    Message problem = {""};
    TokenMix *mix = open_mix(text, &problem);
    if (!check_true(mix && mix->count == count, "%s: %s", text, problem.text)) return;
    int sum = 0;
    for (int i = 0; i < count; i++) {
        check_true(mix->quotas[i] == quotas[i], "%s: quota %d is %d, not %d", text, i, mix->quotas[i], quotas[i]);
        sum += mix->quotas[i];
    }
    check_true(sum == MIX_BLOCK, "%s: %d in all", text, sum);
    token_mix_close(mix);
}

static void test_option(void)
{
    for (int f = 0; f < FILES; f++) write_file(f, 251);
    check_quotas("@a.h5", 1, (int[]){10000});
    check_quotas("@b,c:1.h5", 1, (int[]){10000}); /* the name of a file as it is */
    check_quotas("@a.h5:0.7,@b\\,c\\:1.h5:0.3", 2, (int[]){7000, 3000});
    check_quotas("@a.h5,@b\\,c\\:1.h5", 2, (int[]){5000, 5000});
    check_quotas("@d\\\\e.h5:2,@a.h5,@b\\,c\\:1.h5:0.5", 3, (int[]){5714, 2857, 1429});
    check_quotas("@a.h5:1,@d\\\\e.h5:9999", 2, (int[]){1, 9999});
}

static void refuse(const char *text, const char *word)
{
    Message problem = {""};
    TokenMix *mix = open_mix(text, &problem);
    check_true(mix == NULL && strstr(problem.text, word), "%s: '%s' must say: %s", text, problem.text, word);
    token_mix_close(mix);
}

static void test_refusals(void)
{
    refuse("@none.h5", "none.h5");
    refuse("@a.h5:0.7,@none.h5:0.3", "none.h5");
    refuse("@a.h5:0,@d\\\\e.h5:1", "'0' is no weight");
    refuse("@a.h5:-1,@d\\\\e.h5:1", "'-1' is no weight");
    refuse("@a.h5:much", "'much' is no weight");
    refuse("@a.h5:,@d\\\\e.h5", "'' is no weight");
    refuse("@a.h5,", "empty name");
    refuse(",@a.h5", "empty name");
    refuse("@a.h5,@./a.h5", "are one file");
    refuse("@a.h5:1,@d\\\\e.h5:30000", "less than 1/10000");
    write_file(1, 255);
    refuse("@a.h5,@b\\,c\\:1.h5", "255 of 'numbers'");
    write_file(1, 251);
}

/* In every block each file has its quota, and over all of them its sequences 0, 1, 2, ... once each. */
static void test_places(void)
{
    enum { BLOCKS = 3 };
    const TokenMix mix = {.count = FILES, .quotas = {6000, 3999, 1}};
    static unsigned char seen[FILES][BLOCKS * MIX_BLOCK];
    int in_block[FILES] = {0}, first_half = 0, moved = 0;
    memset(seen, 0, sizeof seen);
    for (uint64_t n = 0; n < BLOCKS * MIX_BLOCK; n++) {
        MixPlace place = token_mix_place(&mix, 3, n), other = token_mix_place(&mix, 4, n);
        seen[place.file][place.number]++;
        in_block[place.file]++;
        moved += place.file != other.file;
        first_half += place.file == 0 && n % MIX_BLOCK < MIX_BLOCK / 2;
        if (n % MIX_BLOCK + 1 < MIX_BLOCK) continue;
        for (int f = 0; f < FILES; f++) check_true(in_block[f] == mix.quotas[f], "file %d: %d", f, in_block[f]);
        memset(in_block, 0, sizeof in_block);
    }
    for (int f = 0; f < FILES; f++)
        for (int i = 0; i < BLOCKS * mix.quotas[f]; i++)
            check_true(seen[f][i] == 1, "sequence %d of file %d comes %d times", i, f, seen[f][i]);
    /* The places in a block are random: 9000 of file 0 are expected in first halves, with a deviation of some 42. */
    check_true(abs(first_half - BLOCKS * 3000) < 300, "%d sequences of file 0 in first halves", first_half);
    check_true(moved > MIX_BLOCK, "another seed draws other places: %d", moved);
    const TokenMix single = {.count = 1, .quotas = {MIX_BLOCK}};
    check_true(token_mix_place(&single, 3, 12345).number == 12345, "a single file has all sequences in their order");
}

static void test_reading(void)
{
    Message problem = {""};
    const TokenRange ranges[] = {{0, 2}, {3, 2}};
    TokenMix *mix = open_mix("@a.h5:3,@b\\,c\\:1.h5:2,@d\\\\e.h5:1", &problem);
    if (!check_true(mix != NULL, "%s", problem.text)) return;
    BatchLoader *loader = batch_loader_create_mixed(mix, T, ranges, 2, 8, &problem), *alone[FILES];
    for (int f = 0; f < FILES; f++) alone[f] = batch_loader_create(mix->files[f], T, ranges, 2, 8, &problem);
    check_true(token_mix_tokens(mix) == counts[0] + counts[1] + counts[2], "tokens of all files");
    for (uint64_t n = 0; n < 500; n++) {
        int32_t inputs[4], targets[4], expected_inputs[4], expected_targets[4];
        MixPlace place = token_mix_place(mix, 8, n);
        TokenBatch got = {.inputs = inputs, .targets = targets};
        TokenBatch expected = {.inputs = expected_inputs, .targets = expected_targets};
        check_true(batch_loader_training(loader, n, 1, &got, &problem), "%s", problem.text);
        check_true(batch_loader_training(alone[place.file], place.number, 1, &expected, &problem), "%s", problem.text);
        check_true(memcmp(inputs, expected_inputs, sizeof inputs) == 0 &&
                       memcmp(targets, expected_targets, sizeof targets) == 0,
                   "sequence %d is number %d of file %d", (int)n, (int)place.number, place.file);
    }
    batch_loader_destroy(loader);
    for (int f = 0; f < FILES; f++) batch_loader_destroy(alone[f]);
    check_true(batch_loader_create_mixed(mix, 40, ranges, 2, 8, &problem) == NULL && strstr(problem.text, "a.h5"),
               "a file that is too short is named: %s", problem.text);
    token_mix_close(mix);
}

static uint64_t digest_of(const char *text)
{
    Message problem = {""};
    uint64_t digest = 0;
    TokenMix *mix = open_mix(text, &problem);
    check_true(mix && token_mix_digest(mix, &digest, &problem), "%s: %s", text, problem.text);
    token_mix_close(mix);
    return digest;
}

static void test_digest(void)
{
    Message problem = {""};
    uint64_t own, both = digest_of("@a.h5:1,@d\\\\e.h5:1");
    TokenFile *file = token_file_open(scratch_path("a.h5"), &problem);
    check_true(token_file_digest(file, &own, &problem) && digest_of("@a.h5") == own, "of one file its own");
    token_file_close(file);
    check_true(digest_of("@a.h5:2,@d\\\\e.h5:2") == both, "weights count by their shares");
    check_true(digest_of("@a.h5:2,@d\\\\e.h5:1") != both, "other shares");
    check_true(digest_of("@a.h5:1,@b\\,c\\:1.h5:1") != both, "another file");
    check_true(digest_of("@d\\\\e.h5:1,@a.h5:1") != both, "another order");
}

static const TestCase tests[] = {{"the option", test_option},
                                 {"what is refused", test_refusals},
                                 {"places", test_places},
                                 {"reading", test_reading},
                                 {"digest", test_digest}};
static const Suite suites[] = {SUITE("several training files", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_token_mix", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
