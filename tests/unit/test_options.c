/* Options: defaults, INI text, arguments, messages; and the rules of a configuration. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/train/config.h"
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

static bool is_kind(const AttentionSpec *spec, const char *name)
{
    return strcmp(attention_kind(spec)->name, name) == 0;
}

static void test_defaults(void)
{
    Config config;
    OptionTable table = defaults(&config);
    check_true(config.model.layers == 4 && is_kind(&config.attention, "polysketch"), "defaults of the table");
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
    const char *twice = "[model]\nlayers = 3\n[train]\nsteps = 2\n[model]\nlayers = 3\n";
    expect_failure(option_read_ini(&table, twice, "test.ini", &problem), &problem,
                   "test.ini:6: model.layers was set in line 2");
    check_true(option_read_ini(&table, "\xEF\xBB\xBF[model]\r\nlayers = 5\r\n", "test.ini", &problem) &&
                   config.model.layers == 5,
               "a byte order mark and ends of lines of other systems: %s", problem.text);
}

static void test_printed_and_read(void)
{
    Config config, other;
    OptionTable table = defaults(&config), others = defaults(&other);
    Message problem = {""};
    config.train.optimizer.learning_rate = 0.1 + 0.2;
    config.attention.scale = 1 / 3.0;
    config.train.seed = INT64_C(8999999999999999);
    check_true(option_set(&table, 1, "attention.kind", "performer", &problem), "set: %s", problem.text);
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    option_print_ini(&table, NULL, file);
    fclose(file);
    check_true(option_read_ini(&others, text, "printed", &problem), "read: %s", problem.text);
    for (int i = 0; i < table.count; i++)
        check_true(option_equal(&table.rows[i], &config, &other), "%s.%s", table.rows[i].section, table.rows[i].key);
    check_true(other.train.optimizer.learning_rate == 0.1 + 0.2 && other.attention.scale == 1 / 3.0, "the same bits");
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
        option_print_ini(&table, NULL, file);
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
    const char *words;
} Own;

static const OptionRow own_rows[] = {
    {"", "count", OPTION_INTEGER, offsetof(Own, count), "3", 1, 10, "", false, "a number"},
    {"", "quick", OPTION_BOOL, offsetof(Own, quick), "false", 0, 0, "", false, "a truth value"},
    {"", "name", OPTION_TEXT, offsetof(Own, name), "", 1, 0, "", false, "a text"},
    {"", "words", OPTION_LONG_TEXT, offsetof(Own, words), "", 0, 0, "", false, "a text of any length"},
};

static bool read_arguments(Own *own, Config *config, const char *const *words, const char **positional,
                           Message *problem)
{
    OptionTable tables[2] = {{own_rows, sizeof own_rows / sizeof *own_rows, own}, defaults(config)};
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
    const char *const two_files[] = {"a.ini", "b.ini", NULL};
    expect_failure(read_arguments(&own, &config, two_files, &file, &problem), &problem, "unexpected argument 'b.ini'");
    const char *const odd[] = {"--name=a #b\n", "--data.train=a#b;c", NULL};
    check_true(read_arguments(&own, &config, odd, &file, &problem) && strcmp(own.name, "a #b\n") == 0 &&
                   strcmp(config.data.train, "a#b;c") == 0,
               "texts that are not kept may be anything, and signs within a word start no comment");
    const char *const no_value[] = {"--name", "--quick", NULL};
    expect_failure(read_arguments(&own, &config, no_value, &file, &problem), &problem, "'name' needs a value");
    const char *const dashes[] = {"--name=--quick", NULL};
    check_true(read_arguments(&own, &config, dashes, &file, &problem) && strcmp(own.name, "--quick") == 0, "dashes");
    const char *const twice[] = {"--count=3", "--count=4", NULL};
    expect_failure(read_arguments(&own, &config, twice, &file, &problem), &problem, "as '3' and as '4'");
    const char *const same[] = {"--count=3", "--count=3", "--model.layers=3", "--model.layers=4", NULL};
    check_true(read_arguments(&own, &config, same, &file, &problem) && own.count == 3 && config.model.layers == 4,
               "the same again, and the last of a configuration's: %s", problem.text);
    const char *const automatic[] = {"--attention.scale=auto", NULL};
    check_true(read_arguments(&own, &config, automatic, &file, &problem) && isnan(config.attention.scale), "auto");
}

/* One word, and what is said about it. */
static void test_refused_arguments(void)
{
    Own own;
    Config config;
    const char *file;
    Message problem;
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
        {"--attention.sketch=gaussian", "random|learned|projection"},
        {"--attention.sketch_levels=9", "from 1 to 8"},
        {"--attention.sketch_expansion=0", "from 1 to 64"},
        {"--train.optimizer=sgd", "adamw|muon"},
        {"--name", "needs a value"},
        {"--name=", "name is empty"},
        {"--output.folder=", "results/run"},
        {"-count=3", "unknown option '-count=3'"},
        {"--layers=3", "'model.layers'"},
        {"--lr=3", "'train.learning_rate'"},
        {"--Train.Warmup=3", "'train.warmup_steps'"},
        {"--nothing_like_it=3", "unknown option 'nothing_like_it'. --help"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const words[] = {cases[i].argument, NULL};
        expect_failure(read_arguments(&own, &config, words, &file, &problem), &problem, cases[i].message);
    }
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
    Own own;
    OptionTable own_table = {own_rows, sizeof own_rows / sizeof *own_rows, &own};
    char longer[3 * OPTION_TEXT_SIZE] = "--words=";
    memset(longer + 8, 'x', sizeof longer - 9);
    char *arguments[] = {longer};
    option_set_defaults(&own_table);
    check_true(option_read_arguments(&own_table, 1, 1, arguments, NULL, 0, &problem) && own.words == longer + 8,
               "a text of any length is read whole: %s", problem.text);
    text[OPTION_TEXT_SIZE - 1] = 'x';
    text[OPTION_TEXT_SIZE] = 0;
    expect_failure(option_set(&table, 1, "data.train", text, &problem), &problem, "longer than");
}

/* The default options, changed by "name=value" words up to NULL. */
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
}

/* The same, finished for so many ranks; 0: the model alone. */
static void expect_good(Config *config, int ranks, const char *const *changes, const char *what)
{
    Message problem = {""};
    configure(config, changes);
    check_true(config_finish(config, ranks, &problem), "%s: %s", what, problem.text);
}

static void expect_bad(int ranks, const char *const *changes, const char *word)
{
    Config config;
    Message problem = {""};
    configure(&config, changes);
    expect_failure(config_finish(&config, ranks, &problem), &problem, word);
}

static void expect_finished(const Config *config, int ranks)
{
    Config again = *config;
    Message problem = {""};
    check_true(config_finish(&again, ranks, &problem), "finished again: %s", problem.text);
    check_true(memcmp(&again, config, sizeof again) == 0, "finishing twice changes nothing");
}

#define CHANGES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_finish(void)
{
    Config config;
    expect_good(&config, 1, CHANGES("model.width=96", "model.heads=6"), "six heads");
    check_true(config.attention.scale == 0.25, "scale = 1/sqrt(16), not %g", config.attention.scale);
    check_true(config.model.feedforward_width == 256, "F = %lld", (long long)config.model.feedforward_width);
    check_true(config.train.micro_batch_sequences == 8, "all of a rank's share");
    expect_good(&config, 4,
                CHANGES("model.width=100", "model.heads=5", "model.feedforward=gelu", "parallel.data_ranks=4"),
                "four data ranks");
    check_true(config.model.feedforward_width == 400, "F = %lld", (long long)config.model.feedforward_width);
    check_true(config.train.micro_batch_sequences == 2, "8 sequences on 4 ranks");
    expect_good(&config, 1, CHANGES("model.width=100", "model.heads=5"), "width 100");
    check_true(config.model.feedforward_width == 264, "266 rounded down, not %lld",
               (long long)config.model.feedforward_width);
    expect_good(&config, 1, CHANGES("attention.degree=2", "attention.sketch=random", "attention.sketch_size=9"),
                "degree 2");
    check_true(config.attention.sketch_size == 32, "without a sketch r is the head width");
    expect_good(&config, 1, CHANGES("attention.scale=2", "model.feedforward_width=24", "train.micro_batch_sequences=4"),
                "given");
    check_true(config.attention.scale == 2 && config.model.feedforward_width == 24 &&
                   config.train.micro_batch_sequences == 4,
               "what is given stays");
    expect_finished(&config, 1);
}

/* What was asked for is written, with what follows from it as comments: read again it is what was asked for, with other options
   too. */
static void test_asked(void)
{
    Config asked, config, again;
    Message problem = {""};
    configure(&asked, CHANGES("model.width=96", "model.heads=6", "attention.degree=2", "attention.sketch=random"));
    config = asked;
    check_true(config_finish(&config, 1, &problem), "finished: %s", problem.text);
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    OptionTable table = config_options(&asked), others = defaults(&again);
    option_print_ini(&table, &config, file);
    fclose(file);
    const char *const lines[] = {"feedforward_width = 0 ; here 256\n", "scale = auto ; here 0.25\n", "width = 96\n",
                                 "sketch_size = 32 ; here 16\n", "micro_batch_sequences = 0 ; here 8\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        check_true(strstr(text, lines[i]) != NULL, "no line '%s' in %s", lines[i], text);
    check_true(option_read_ini(&others, text, "printed", &problem), "read: %s", problem.text);
    for (int i = 0; i < table.count; i++)
        check_true(option_equal(&table.rows[i], &asked, &again), "%s.%s", table.rows[i].section, table.rows[i].key);
    again.train.batch_sequences = 6;
    again.model.width = 60;
    check_true(config_finish(&again, 1, &problem) && again.train.micro_batch_sequences == 6 &&
                   again.model.feedforward_width == 160,
               "another width and batch: %s", problem.text);
    free(text);
}

static void test_model_rules(void)
{
    Config config;
    expect_good(&config, 0, CHANGES("model.layers=4"), "the default is good");
    expect_bad(0, CHANGES("model.heads=3"), "model.width = 129");
    expect_bad(0, CHANGES("model.width=36", "model.heads=12"), "odd");
    expect_bad(0, CHANGES("model.vocab_size=1"), "vocabulary");
    expect_bad(0, CHANGES("attention.degree=3"), "attention.degree = 4");
    expect_bad(0, CHANGES("attention.kind=polynomial", "attention.degree=3"), "attention.degree = 4");
    expect_good(&config, 0, CHANGES("attention.kind=softmax", "attention.degree=3"), "softmax has no degree");
    expect_good(&config, 0, CHANGES("attention.kind=performer", "attention.degree=3"), "the performer has no degree");
    expect_bad(0, CHANGES("attention.degree=6", "attention.sketch=random"), "degree 2, 4 and 8");
    expect_good(&config, 0, CHANGES("attention.degree=6", "attention.sketch=learned"),
                "learned sketches have any even degree");
    expect_good(&config, 0, CHANGES("attention.degree=6", "attention.sketch=projection", "attention.sketch_size=24"),
                "so have projections");
    check_true(config.attention.sketch_size == 24, "of any size");
    expect_bad(0, CHANGES("attention.sketch=projection", "attention.sketch_size=1"), "needs two numbers");
}

static void test_rank_rules(void)
{
    Config config;
    expect_good(&config, 16, CHANGES("attention.block_length=64", "parallel.data_ranks=2"), "8 ranks share 8 blocks");
    check_true(config_sequence_ranks(&config, 16) == 8, "8 ranks share a sequence");
    expect_bad(18, CHANGES("attention.block_length=64", "parallel.data_ranks=2"), "only 8 blocks");
    expect_bad(3, CHANGES("parallel.data_ranks=2"), "not divisible");
    expect_bad(3, CHANGES("parallel.data_ranks=3"), "train.batch_sequences = 8");
    expect_bad(1, CHANGES("train.micro_batch_sequences=3"), "does not divide");
    expect_bad(16, CHANGES("parallel.data_ranks=16"), "train.batch_sequences = 8");
}

/* 512 tokens in blocks of 64. */
static void test_stretch_rules(void)
{
    Config config;
    expect_good(&config, 2, CHANGES("attention.block_length=64", "train.stretch_length=128"), "2 ranks share them");
    check_true(config_pass_spec(&config).stretches == 4, "four stretches of two blocks");
    expect_good(&config, 1, CHANGES("train.stretch_length=512"), "one stretch");
    check_true(config_pass_spec(&config).stretches == 1, "as long as the sequence is one stretch");
    expect_good(&config, 1, CHANGES("attention.kind=softmax", "train.stretch_length=1000"), "softmax in one stretch");
    expect_good(
        &config, 2,
        CHANGES("attention.pattern=polysketch*3,performer", "attention.block_length=64", "train.stretch_length=128"),
        "linear kinds in all layers");
    expect_bad(3, CHANGES("attention.block_length=64", "train.stretch_length=128"), "Try train.stretch_length = 384");
    expect_bad(1, CHANGES("attention.block_length=64", "train.stretch_length=63"), "is too short");
    expect_bad(1, CHANGES("attention.kind=softmax", "train.stretch_length=128"), "needs linear kinds in all layers");
    expect_bad(1, CHANGES("attention.pattern=polysketch*3,softmax", "train.stretch_length=128"),
               "but softmax looks back");
    expect_bad(1, CHANGES("attention.pattern=performer*2,polynomial*2", "train.stretch_length=128"),
               "but polynomial looks back");
}

/* The words, or numbers, that the layers have for an option of section attention, in their order. */
static void check_layers(const Config *config, const char *key, const char *expected)
{
    int count;
    const OptionRow *rows = attention_options(&count), *row = rows;
    while (row < rows + count - 1 && strcmp(row->key, key) != 0) row++;
    ModelSpec spec = config_model_spec(config);
    char found[OPTION_TEXT_SIZE] = "", word[OPTION_TEXT_SIZE];
    for (size_t i = 0; i < spec.layers; i++) {
        option_format(row, &spec.attention[i], word);
        size_t length = strlen(found);
        snprintf(found + length, sizeof found - length, "%s%.64s", i ? " " : "", word);
    }
    check_true(strcmp(found, expected) == 0, "%s: attention.%s of the layers is '%s', not '%s'", config->pattern, key,
               found, expected);
}

static void test_pattern(void)
{
    Config config;
    expect_good(&config, 1, CHANGES("model.layers=4", "attention.pattern=polysketch*3,softmax"), "two kinds");
    check_layers(&config, "kind", "polysketch polysketch polysketch softmax");
    check_layers(&config, "sketch", "learned learned learned learned");
    check_true(is_kind(&config.attention, "polysketch") && strcmp(config.pattern, "polysketch*3,softmax") == 0,
               "the options stay as they were given");
    expect_finished(&config, 1);
    expect_good(&config, 1, CHANGES("attention.kind=softmax", "attention.pattern=performer,polynomial*2,softmax*1"),
                "three kinds");
    check_layers(&config, "kind", "performer polynomial polynomial softmax");
    expect_good(&config, 1, CHANGES("model.layers=2", "attention.pattern=polysketch:random,polysketch:learned"),
                "two sketches");
    check_layers(&config, "kind", "polysketch polysketch");
    check_layers(&config, "sketch", "random learned");
    expect_good(&config, 1, CHANGES("model.layers=2", "attention.pattern=polysketch:projection,polysketch"),
                "and a third");
    check_layers(&config, "sketch", "projection learned");
    expect_good(&config, 1, CHANGES("attention.sketch=random", "attention.pattern=polysketch:learned*3,polysketch"),
                "a sketch of some layers");
    check_layers(&config, "sketch", "learned learned learned random");
    expect_good(&config, 1,
                CHANGES("model.layers=2", "model.width=64", "attention.degree=2", "attention.sketch_size=9",
                        "attention.pattern=polysketch:random,polysketch:learned"),
                "degree 2");
    check_layers(&config, "sketch_size", "16 9"); /* what is by rule is so in each layer by itself */
    check_layers(&config, "scale", "0.25 0.25");
    check_true(config.attention.sketch_size == 9, "and stays in the options");
    expect_finished(&config, 1);
}

static void test_pattern_rules(void)
{
    static const struct {
        const char *change, *message;
    } cases[] = {
        {"attention.pattern=polysketch*3", "'polysketch*3' is for 3 layers, but model.layers = 4"},
        {"attention.pattern=polysketch*3,softmax*2", "is for 5 layers, but model.layers = 4"},
        {"attention.pattern=softmax*3,linear",
         "there is no kind 'linear'. Kinds are softmax|polynomial|polysketch|performer"},
        {"attention.pattern=polysketch*3,Softmax", "there is no kind 'Softmax'"},
        {"attention.pattern=softmax*3, softmax", "there is no kind ' softmax'"},
        {"attention.pattern=polysketch:fixed,softmax*3", "kind 'polysketch' has no variant 'fixed'"},
        {"attention.pattern=polysketch:*4", "kind 'polysketch' has no variant ''"},
        {"attention.pattern=softmax:random*4", "kind 'softmax' has no variant 'random'"},
        {"attention.pattern=softmax*0,polysketch*4", "'softmax*' is not followed by a number of layers"},
        {"attention.pattern=softmax*x,polysketch*3", "'softmax*' is not followed by a number of layers"},
        {"attention.pattern=softmax*2x,polysketch*2", "'softmax*' is not followed by a number of layers"},
        {"attention.pattern=softmax*,polysketch*3", "'softmax*' is not followed by a number of layers"},
        {"attention.pattern=softmax*-1,polysketch*5", "'softmax*' is not followed by a number of layers"},
        {"attention.pattern=softmax*99999999999999999999", "'softmax*' is not followed by a number of layers"},
        {"attention.pattern=polysketch*2:random,softmax*2", "'polysketch*' is not followed by a number of layers"},
        {"attention.pattern=softmax*2,,softmax*2", "there is no kind ''"},
        {"attention.pattern=softmax*4,", "there is no kind ''"},
        {"attention.pattern=,", "there is no kind ''"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_bad(0, CHANGES("model.layers=4", cases[i].change), cases[i].message);
    /* The rules of a kind hold where it is used. */
    Config config;
    expect_good(&config, 0, CHANGES("attention.degree=3", "attention.pattern=softmax*3,performer"), "no degree in use");
    expect_bad(0, CHANGES("attention.degree=3", "attention.pattern=softmax*3,polynomial"), "attention.degree = 4");
    expect_bad(0, CHANGES("attention.degree=6", "attention.pattern=polysketch:learned*3,polysketch:random"),
               "degree 2, 4 and 8");
}

static void test_same_model(void)
{
    Config config, saved;
    Message problem = {""};
    expect_good(&config, 1, CHANGES("model.layers=4"), "one");
    expect_good(&saved, 2,
                CHANGES("train.steps=5", "output.folder=elsewhere", "model.context_length=64", "parallel.data_ranks=2"),
                "another");
    check_true(config_same_model(&config, &saved, &problem), "the same model: %s", problem.text);
    expect_good(&saved, 1, CHANGES("attention.degree=8"), "degree 8");
    expect_failure(config_same_model(&config, &saved, &problem), &problem, "attention.degree = 8");
    expect_good(&saved, 1, CHANGES("attention.pattern=polysketch*3,softmax"), "two kinds");
    expect_failure(config_same_model(&config, &saved, &problem), &problem, "another attention in layer 3: softmax");
    expect_good(&config, 1, CHANGES("attention.pattern=polysketch:learned,polysketch*2,softmax"), "in other words");
    check_true(config_same_model(&config, &saved, &problem), "the same layers: %s", problem.text);
    expect_good(&config, 1, CHANGES("attention.pattern=polysketch:random,polysketch*2,softmax"), "another sketch");
    expect_failure(config_same_model(&config, &saved, &problem), &problem, "another attention in layer 0: polysketch");
}

int main(int argc, char **argv)
{
    static const TestCase options[] = {
        {"defaults", test_defaults},
        {"INI text", test_ini},
        {"printed and read again", test_printed_and_read},
        {"odd texts", test_odd_texts},
        {"arguments", test_arguments},
        {"refused arguments", test_refused_arguments},
        {"a long text", test_long_text},
    };
    static const TestCase config[] = {
        {"finishing", test_finish},
        {"what was asked for", test_asked},
        {"rules of the model", test_model_rules},
        {"rules of the ranks", test_rank_rules},
        {"rules of stretches", test_stretch_rules},
        {"layers of different kinds", test_pattern},
        {"rules of layers of different kinds", test_pattern_rules},
        {"the same model", test_same_model},
    };
    static const Suite suites[] = {SUITE("options", options), SUITE("config", config)};
    world_start(&argc, &argv);
    int code = run_suites("test_options", suites, 2);
    world_stop();
    return code;
}
