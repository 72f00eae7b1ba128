/* Options: defaults, INI text, arguments, messages; and the rules of a configuration. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/config.h"
#include "tests/harness/check.h"
#include "tests/harness/suite.h"

static void expect_failure(bool good, const Message *problem, const char *word)
{
    check_true(!good, "must fail because of: %s", word);
    check_true(good || strstr(problem->text, word), "'%s' must say: %s", problem->text, word);
}

static OptionTable defaults(Config *config)
{
    memset(config, 0xA5, sizeof *config); /* defaults must set every field */
    OptionTable table = config_options(config);
    option_set_defaults(&table);
    return table;
}

static void test_defaults(void)
{
    Config config;
    OptionTable table = defaults(&config);
    check_true(config.model.layers == 4 && config.attention.kind == ATTENTION_POLYSKETCH, "defaults of the table");
    check_true(isnan(config.attention.scale), "auto is NaN before it is resolved");
    for (int i = 0; i < table.count; i++) { /* each default, printed and read again, is the same */
        char name[128], text[OPTION_TEXT_SIZE];
        Message problem = {""};
        Config other;
        OptionTable others = defaults(&other);
        option_name(&table.rows[i], name);
        option_format(&table.rows[i], &config, text);
        check_true(option_set(&others, 1, name, text, &problem), "%s: %s", name, problem.text);
        check_true(option_equal(&table.rows[i], &config, &other), "%s = %s", name, text);
    }
}

static void test_ini(void)
{
    Config config;
    OptionTable table = defaults(&config);
    Message problem = {""};
    const char *text = "# a comment\n[model]\nlayers = 7 ; a comment\nfeedforward=gelu\n\n[attention]\nscale = 0.1\n"
                       "[data]\ntrain = a folder/t.h5\n[output]\ncheckpoint_at_start = true\n";
    check_true(option_read_ini(&table, text, "test.ini", &problem), "read: %s", problem.text);
    check_true(config.model.layers == 7 && config.model.feedforward == FEEDFORWARD_GELU &&
                   config.attention.scale == 0.1 && config.output.checkpoint_at_start &&
                   strcmp(config.data.train, "a folder/t.h5") == 0,
               "values of the file");
    expect_failure(option_read_ini(&table, "[model]\nlayer = 3\n", "test.ini", &problem), &problem, "'model.layers'");
    check_true(strstr(problem.text, "test.ini"), "'%s' must name the file", problem.text);
    expect_failure(option_read_ini(&table, "[model]\nnonsense\n", "test.ini", &problem), &problem, "test.ini");
}

static void test_printed_and_read(void)
{
    Config config, other;
    OptionTable table = defaults(&config), others = defaults(&other);
    config.train.learning_rate = 0.1 + 0.2;
    config.attention.scale = 1 / 3.0;
    config.train.seed = INT64_C(8999999999999999);
    config.attention.kind = ATTENTION_PERFORMER;
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    option_print_ini(&table, file);
    fclose(file);
    Message problem = {""};
    check_true(option_read_ini(&others, text, "printed", &problem), "read: %s", problem.text);
    for (int i = 0; i < table.count; i++)
        check_true(option_equal(&table.rows[i], &config, &other), "%s.%s", table.rows[i].section, table.rows[i].key);
    check_true(other.train.learning_rate == 0.1 + 0.2 && other.attention.scale == 1 / 3.0, "the same bits");
    free(text);
}

/* Paths that INI files have signs for. */
static void test_odd_texts(void)
{
    static const char *const texts[] = {"my #1/t.h5", "a ;b", " blank ends ", "#v/x",  "new\nline", "a \"b\" \\n", "\"",
                                        "\\",         "\r",   "it's",         "a = b", "[x]",       "ends in \\"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Config config, other;
        OptionTable table = defaults(&config), others = defaults(&other);
        Message problem = {""};
        strcpy(config.data.train, texts[i]);
        char *text = NULL;
        size_t length;
        FILE *file = open_memstream(&text, &length);
        option_print_ini(&table, file);
        fclose(file);
        check_true(option_read_ini(&others, text, "printed", &problem), "read '%s': %s", texts[i], problem.text);
        check_true(strcmp(other.data.train, texts[i]) == 0, "'%s' comes back as '%s'", texts[i], other.data.train);
        free(text);
    }
    Config config;
    OptionTable table = defaults(&config);
    Message problem = {""};
    check_true(option_read_ini(&table, "[data]\ntrain = \"a #1\" # a comment\n", "test.ini", &problem) &&
                   strcmp(config.data.train, "a #1") == 0,
               "a comment after a quoted value: '%s' %s", config.data.train, problem.text);
    expect_failure(option_read_ini(&table, "[data]\ntrain = \"a b\n", "test.ini", &problem), &problem, "does not end");
}

typedef struct Own {
    int64_t count;
    bool quick;
    char name[OPTION_TEXT_SIZE];
} Own;

static const OptionRow own_rows[] = {
    {"", "count", OPTION_INTEGER, offsetof(Own, count), "3", 1, 10, "", false, "a number"},
    {"", "quick", OPTION_BOOL, offsetof(Own, quick), "false", 0, 0, "", false, "a truth value"},
    {"", "name", OPTION_TEXT, offsetof(Own, name), "", 0, 0, "", false, "a text"},
};

static bool read_arguments(Own *own, Config *config, const char *const *words, const char **positional,
                           Message *problem)
{
    OptionTable tables[2] = {{own_rows, 3, own}, defaults(config)};
    option_set_defaults(&tables[0]);
    char copies[8][128], *arguments[8];
    int count = 0;
    for (; words[count]; count++) {
        snprintf(copies[count], sizeof copies[count], "%s", words[count]);
        arguments[count] = copies[count];
    }
    positional[0] = NULL;
    bool good = option_read_arguments(tables, 2, count, arguments, positional, 1, problem);
    for (int i = 0; i < count && positional[0]; i++)
        if (positional[0] == copies[i]) positional[0] = words[i]; /* the copies end here */
    return good;
}

static void test_arguments(void)
{
    Own own;
    Config config;
    const char *file;
    Message problem = {""};
    const char *const mixed[] = {"--count", "5", "run.ini", "--quick", "--model.layers=9", "--name=a=b", NULL};
    check_true(read_arguments(&own, &config, mixed, &file, &problem), "read: %s", problem.text);
    check_true(own.count == 5 && own.quick && config.model.layers == 9 && strcmp(own.name, "a=b") == 0, "values");
    check_true(file && strcmp(file, "run.ini") == 0, "the file");
    const char *const off[] = {"--quick=false", NULL};
    check_true(read_arguments(&own, &config, off, &file, &problem) && !own.quick && !file, "--quick=false");

    static const struct {
        const char *argument, *message;
    } cases[] = {
        {"--model.layer=3", "'model.layers'"},
        {"--cuont=3", "'count'"},
        {"--count=11", "from 1 to 10"},
        {"--count=0", "from 1 to 10"},
        {"--count=3.5", "not a whole number"},
        {"--count=", "not a whole number"},
        {"--count=99999999999999999999", "not a whole number"},
        {"--train.learning_rate=fast", "not a number"},
        {"--train.learning_rate=nan", "not a number"},
        {"--attention.scale=-1", "out of range"},
        {"--quick=yes", "neither true nor false"},
        {"--attention.kind=linear", "softmax|polynomial|polysketch|performer"},
        {"--attention.kind=poly", "unknown"},
        {"--name", "needs a value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const words[] = {cases[i].argument, NULL};
        expect_failure(read_arguments(&own, &config, words, &file, &problem), &problem, cases[i].message);
    }
    const char *const two_files[] = {"a.ini", "b.ini", NULL};
    expect_failure(read_arguments(&own, &config, two_files, &file, &problem), &problem, "unexpected argument 'b.ini'");
    const char *const odd[] = {"--name=a #b\n", "--data.train=a#b;c", NULL};
    check_true(read_arguments(&own, &config, odd, &file, &problem) && strcmp(own.name, "a #b\n") == 0 &&
                   strcmp(config.data.train, "a#b;c") == 0,
               "texts that are not kept may be anything, and signs within a word start no comment");
    const char *const automatic[] = {"--attention.scale=auto", NULL};
    check_true(read_arguments(&own, &config, automatic, &file, &problem) && isnan(config.attention.scale), "auto");
}

static void test_long_text(void)
{
    Config config;
    OptionTable table = defaults(&config);
    char text[OPTION_TEXT_SIZE + 1];
    Message problem = {""};
    memset(text, 'x', sizeof text);
    text[OPTION_TEXT_SIZE - 1] = 0;
    check_true(option_set(&table, 1, "data.train", text, &problem), "the longest text: %s", problem.text);
    text[OPTION_TEXT_SIZE - 1] = 'x';
    text[OPTION_TEXT_SIZE] = 0;
    expect_failure(option_set(&table, 1, "data.train", text, &problem), &problem, "longer than");
}

/* A resolved configuration with the default options changed by "name=value" words up to NULL. */
static void configure(Config *config, const char *const *changes)
{
    OptionTable table = defaults(config);
    config->model.vocab_size = 256;
    for (; *changes; changes++) {
        char name[128];
        Message problem = {""};
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*changes, "="), *changes);
        check_true(option_set(&table, 1, name, strchr(*changes, '=') + 1, &problem), "%s: %s", *changes, problem.text);
    }
    config_resolve(config);
}

#define CHANGES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_resolve(void)
{
    Config config;
    configure(&config, CHANGES("model.width=96", "model.heads=6"));
    check_true(config.attention.scale == 0.25, "scale = 1/sqrt(16), not %g", config.attention.scale);
    check_true(config.model.feedforward_width == 256, "F = %lld", (long long)config.model.feedforward_width);
    check_true(config.train.micro_batch_sequences == 8, "all of a rank's share");
    configure(&config, CHANGES("model.width=100", "model.heads=5", "model.feedforward=gelu", "parallel.data_ranks=4"));
    check_true(config.model.feedforward_width == 400, "F = %lld", (long long)config.model.feedforward_width);
    check_true(config.train.micro_batch_sequences == 2, "8 sequences on 4 ranks");
    configure(&config, CHANGES("model.width=100", "model.heads=5"));
    check_true(config.model.feedforward_width == 264, "266 rounded down, not %lld",
               (long long)config.model.feedforward_width);
    configure(&config, CHANGES("attention.degree=2", "attention.sketch=random", "attention.sketch_size=9"));
    check_true(config.attention.sketch_size == 32, "without a sketch r is the head width");
    configure(&config, CHANGES("attention.scale=2", "model.feedforward_width=24", "train.micro_batch_sequences=4"));
    check_true(config.attention.scale == 2 && config.model.feedforward_width == 24 &&
                   config.train.micro_batch_sequences == 4,
               "what is given stays");
    Config again = config;
    config_resolve(&again);
    check_true(memcmp(&again, &config, sizeof config) == 0, "resolving twice changes nothing");
}

static void expect_bad_model(const char *const *changes, const char *word)
{
    Config config;
    Message problem = {""};
    configure(&config, changes);
    expect_failure(config_check_model(&config, &problem), &problem, word);
}

static void test_model_rules(void)
{
    Config config;
    Message problem = {""};
    configure(&config, CHANGES("model.layers=4"));
    check_true(config_check_model(&config, &problem), "the default is good: %s", problem.text);
    expect_bad_model(CHANGES("model.heads=3"), "model.width = 129");
    expect_bad_model(CHANGES("model.width=36", "model.heads=12"), "odd");
    expect_bad_model(CHANGES("model.vocab_size=1"), "vocabulary");
    expect_bad_model(CHANGES("attention.degree=3"), "attention.degree = 4");
    expect_bad_model(CHANGES("attention.degree=6", "attention.sketch=random"), "degree 2, 4 and 8");
    configure(&config, CHANGES("attention.degree=6", "attention.sketch=learned"));
    check_true(config_check_model(&config, &problem), "learned sketches have any even degree: %s", problem.text);
}

static void expect_bad_ranks(int ranks, const char *const *changes, const char *word)
{
    Config config;
    Message problem = {""};
    configure(&config, changes);
    expect_failure(config_check_ranks(&config, ranks, &problem), &problem, word);
}

static void test_rank_rules(void)
{
    Config config;
    Message problem = {""};
    configure(&config, CHANGES("attention.block_length=64", "parallel.data_ranks=2"));
    check_true(config_check_ranks(&config, 16, &problem), "8 ranks share 8 blocks: %s", problem.text);
    check_true(config_sequence_ranks(&config, 16) == 8, "8 ranks share a sequence");
    expect_bad_ranks(18, CHANGES("attention.block_length=64", "parallel.data_ranks=2"), "only 8 blocks");
    expect_bad_ranks(3, CHANGES("parallel.data_ranks=2"), "not divisible");
    expect_bad_ranks(3, CHANGES("parallel.data_ranks=3"), "train.batch_sequences = 8");
    expect_bad_ranks(1, CHANGES("train.micro_batch_sequences=3"), "does not divide");
    expect_bad_ranks(16, CHANGES("parallel.data_ranks=16"), "train.batch_sequences = 8");
}

/* 512 tokens in blocks of 64. */
static void test_stretch_rules(void)
{
    Config config;
    Message problem = {""};
    configure(&config, CHANGES("attention.block_length=64", "train.stretch_length=128"));
    check_true(config_stretches(&config) == 4, "four stretches of two blocks");
    check_true(config_check_ranks(&config, 2, &problem), "2 ranks share them: %s", problem.text);
    configure(&config, CHANGES("train.stretch_length=512"));
    check_true(config_stretches(&config) == 1, "as long as the sequence is one stretch");
    configure(&config, CHANGES("attention.kind=softmax", "train.stretch_length=1000"));
    check_true(config_check_ranks(&config, 1, &problem), "softmax in one stretch: %s", problem.text);
    expect_bad_ranks(3, CHANGES("attention.block_length=64", "train.stretch_length=128"),
                     "Try train.stretch_length = 384");
    expect_bad_ranks(1, CHANGES("attention.block_length=64", "train.stretch_length=63"), "is too short");
    expect_bad_ranks(1, CHANGES("attention.kind=softmax", "train.stretch_length=128"), "needs a linear kind");
}

static void test_same_model(void)
{
    Config config, saved;
    Message problem = {""};
    configure(&config, CHANGES("model.layers=4"));
    configure(&saved,
              CHANGES("train.steps=5", "output.folder=elsewhere", "model.context_length=64", "parallel.data_ranks=2"));
    check_true(config_same_model(&config, &saved, &problem), "the same model: %s", problem.text);
    configure(&saved, CHANGES("attention.degree=8"));
    expect_failure(config_same_model(&config, &saved, &problem), &problem, "attention.degree = 8");
}

int main(int argc, char **argv)
{
    static const TestCase options[] = {
        {"defaults", test_defaults},   {"INI text", test_ini},        {"printed and read again", test_printed_and_read},
        {"odd texts", test_odd_texts}, {"arguments", test_arguments}, {"a long text", test_long_text},
    };
    static const TestCase config[] = {
        {"resolving", test_resolve},
        {"rules of the model", test_model_rules},
        {"rules of the ranks", test_rank_rules},
        {"rules of stretches", test_stretch_rules},
        {"the same model", test_same_model},
    };
    static const Suite suites[] = {{"options", options, 6}, {"config", config, 5}};
    world_start(&argc, &argv);
    int code = run_suites("test_options", suites, 2);
    world_stop();
    return code;
}
