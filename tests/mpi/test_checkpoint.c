/* Checkpoints on any number of ranks: what is written is read back, and the file does not show how many wrote it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

/* ---- a small model ---- */

typedef struct Fixture {
    Config config;
    ParamTable table;
    Tokenizer tokenizer;
    real *values, *m, *v;
    Checkpoint checkpoint;
} Fixture;

/* Fewer rows than ranks, rows that ranks do not divide, vectors, and a tensor that is not trained among trained ones. */
static void add_tensors(ParamTable *table, size_t width)
{
    param_table_add_matrix(table, "token_embedding.weight", 7, width, INIT_NORMAL, 1);
    param_table_not_trained(table, param_table_add_matrix(table, "layers.0.sketch.g1", 1, 3, INIT_NORMAL, 1));
    param_table_add_matrix(table, "layers.0.weight", 2, 9, INIT_NORMAL, 1);
    param_table_add_vector(table, "layers.0.bias", 1, 0.5);
    param_table_add_vector(table, "final.bias", 13, -1);
    param_table_seal(table);
}

static real *random_values(size_t count, const char *purpose)
{
    real *values = checked_calloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (real)(float)rng_uniform(rng_stream(7, purpose, 0), i);
    return values;
}

static void fixture_create(Fixture *fixture, size_t width)
{
    memset(fixture, 0, sizeof *fixture);
    OptionTable options = config_options(&fixture->config);
    option_set_defaults(&options);
    fixture->config.model.vocab_size = 256;
    fixture->config.attention.kind = ATTENTION_PERFORMER;
    fixture->config.train.learning_rate = 0.1 + 0.2; /* no short decimal form */
    fixture->config.output.checkpoint_at_start = true;
    strcpy(fixture->config.data.train, "data/tokens.h5");
    config_resolve(&fixture->config);
    add_tensors(&fixture->table, width);
    fixture->tokenizer = tokenizer_bytes();
    fixture->values = random_values(fixture->table.total_count, "values");
    fixture->m = random_values(fixture->table.trained_count, "m");
    fixture->v = random_values(fixture->table.trained_count, "v");
    fixture->checkpoint = (Checkpoint){.config = &fixture->config,
                                       .table = &fixture->table,
                                       .values = fixture->values,
                                       .m = fixture->m,
                                       .v = fixture->v,
                                       .step = 100,
                                       .tokens_seen = INT64_C(1) << 40,
                                       .tokenizer = &fixture->tokenizer};
}

static void fixture_destroy(Fixture *fixture)
{
    param_table_destroy(&fixture->table);
    tokenizer_destroy(&fixture->tokenizer);
    free(fixture->values);
    free(fixture->m);
    free(fixture->v);
}

/* The same model with other values, to read into. */
static void fixture_empty(Fixture *fixture, size_t width)
{
    fixture_create(fixture, width);
    memset(fixture->values, 0, fixture->table.total_count * sizeof(real));
    memset(fixture->m, 0, fixture->table.trained_count * sizeof(real));
    memset(fixture->v, 0, fixture->table.trained_count * sizeof(real));
}

static bool same_tensors(const Fixture *fixture, bool trained_only, const real *a, const real *b)
{
    bool same = true;
    for (int i = 0; i < fixture->table.count; i++) {
        const Param *param = &fixture->table.params[i];
        if (param->trained || !trained_only)
            same = same && memcmp(a + param->offset, b + param->offset, param->count * sizeof(real)) == 0;
    }
    return same;
}

/* ---- tests ---- */

static void test_write_and_load(void)
{
    Fixture written, loaded;
    fixture_create(&written, 5);
    fixture_empty(&loaded, 5);
    Message problem = {""};
    char path[CHECKPOINT_PATH_SIZE];
    checkpoint_path(scratch_path("run"), 100, path);
    check_true(strcmp(path + strlen(scratch_path("run")), "/checkpoints/step-00000100.h5") == 0, "name %s", path);
    for (int times = 0; times < 2; times++) /* the second replaces the first */
        check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);

    int64_t step = 0, tokens_seen = 0;
    check_true(checkpoint_load(path, &loaded.checkpoint, &step, &tokens_seen, &problem), "loaded: %s", problem.text);
    check_true(step == 100 && tokens_seen == INT64_C(1) << 40, "step %lld", (long long)step);
    check_true(same_tensors(&written, false, written.values, loaded.values), "parameters are the same");
    check_true(same_tensors(&written, true, written.m, loaded.m), "m is the same");
    check_true(same_tensors(&written, true, written.v, loaded.v), "v is the same");

    char temporary[CHECKPOINT_PATH_SIZE + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    check_true(access(temporary, F_OK) != 0, "no unfinished file is left");
    fixture_destroy(&written);
    fixture_destroy(&loaded);
}

static void test_config(void)
{
    Fixture written;
    fixture_create(&written, 5);
    Message problem = {""};
    const char *path = scratch_path("config.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    Config config;
    OptionTable options = config_options(&config);
    option_set_defaults(&options);
    check_true(checkpoint_load_config(path, &config, &problem), "loaded: %s", problem.text);
    for (int i = 0; i < options.count; i++)
        check_true(option_equal(&options.rows[i], &config, &written.config), "%s.%s is the same",
                   options.rows[i].section, options.rows[i].key);
    check_true(config_same_model(&config, &written.config, &problem), "same model: %s", problem.text);
    fixture_destroy(&written);
}

static void test_tokenizer(void)
{
    Fixture written;
    fixture_create(&written, 5);
    Message problem = {""};
    Tokenizer tokenizer = {0};
    const char *path = scratch_path("tokenizer.h5"), *bare = scratch_path("bare.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    check_true(checkpoint_read_tokenizer(path, &tokenizer, &problem), "read: %s", problem.text);
    check_true(strcmp(tokenizer.name, "bytes") == 0 && tokenizer.vocab_size == 256, "name '%s'", tokenizer.name);
    check_true(tokenizer_has_pieces(&tokenizer) && memcmp(tokenizer.bytes, written.tokenizer.bytes, 256) == 0 &&
                   memcmp(tokenizer.ends, written.tokenizer.ends, 256 * sizeof(uint64_t)) == 0,
               "pieces are the same");
    tokenizer_destroy(&tokenizer);

    written.checkpoint.tokenizer = NULL;
    check_true(checkpoint_write(&written.checkpoint, bare, &problem), "written: %s", problem.text);
    check_true(checkpoint_read_tokenizer(bare, &tokenizer, &problem), "read: %s", problem.text);
    check_true(!tokenizer_has_pieces(&tokenizer), "no pieces");
    fixture_destroy(&written);
}

/* ---- the same file from any number of ranks ---- */

typedef struct Comparison {
    const Fixture *fixture;
    int next; /* the tensor that should come now */
} Comparison;

static void compare_tensor(void *context, const CheckpointTensor *tensor)
{
    Comparison *comparison = context;
    const Param *param = &comparison->fixture->table.params[comparison->next++];
    check_true(strcmp(tensor->name, param->name) == 0, "%s stands where %s should", tensor->name, param->name);
    check_true(tensor->dimensions == param->dimensions && tensor->rows == param->rows &&
                   tensor->columns == param->columns,
               "shape of %s", tensor->name);
    check_true(tensor->use == (param->trained ? TENSOR_TRAINED : TENSOR_CONSTANT), "use of %s", tensor->name);
    bool same = true;
    for (size_t i = 0; i < param->count; i++)
        same = same && tensor->values[i] == (float)comparison->fixture->values[param->offset + i];
    check_true(same, "values of %s", tensor->name);
}

/* The values come from counter-based numbers, so they are the same on any number of ranks; the file must hold them. */
static void test_file_is_independent_of_ranks(void)
{
    Fixture written;
    fixture_create(&written, 5);
    Message problem = {""};
    const char *path = scratch_path("independent.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    Comparison comparison = {&written, 0};
    check_true(checkpoint_visit(path, compare_tensor, &comparison, &problem), "visited: %s", problem.text);
    check_true(comparison.next == written.table.count, "%d tensors of %d", comparison.next, written.table.count);
    CheckpointInfo info;
    check_true(checkpoint_read_info(path, &info, &problem) && info.step == 100 && strlen(info.created) == 20,
               "created '%s'", info.created);
    fixture_destroy(&written);
}

/* ---- trouble ---- */

static void expect_failure(bool good, const Message *problem, const char *word)
{
    check_true(!good, "must fail because of: %s", word);
    check_true(strstr(problem->text, word) != NULL, "'%s' must say: %s", problem->text, word);
}

static bool load(const char *path, const Fixture *into, Message *problem)
{
    int64_t step, tokens_seen;
    *problem = (Message){""};
    return checkpoint_load(path, &into->checkpoint, &step, &tokens_seen, problem);
}

static void test_without_moments(void)
{
    Fixture written, loaded;
    fixture_create(&written, 5);
    fixture_empty(&loaded, 5);
    Message problem = {""};
    const char *path = scratch_path("no-moments.h5");
    written.checkpoint.m = written.checkpoint.v = NULL;
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    expect_failure(load(path, &loaded, &problem), &problem, "optimizer");
    loaded.checkpoint.m = loaded.checkpoint.v = NULL;
    check_true(load(path, &loaded, &problem), "loaded: %s", problem.text);
    check_true(same_tensors(&written, false, written.values, loaded.values), "parameters are the same");
    fixture_destroy(&written);
    fixture_destroy(&loaded);
}

static void test_other_model(void)
{
    Fixture written, wider, longer;
    fixture_create(&written, 5);
    fixture_empty(&wider, 6);
    fixture_empty(&longer, 5);
    Message problem = {""};
    const char *path = scratch_path("other.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    expect_failure(load(path, &wider, &problem), &problem, "(7, 5)");
    strcpy(longer.table.params[2].name, "layers.1.weight");
    expect_failure(load(path, &longer, &problem), &problem, "layers.1.weight");
    fixture_destroy(&written);
    fixture_destroy(&wider);
    fixture_destroy(&longer);
}

static void test_not_finite(void)
{
    Fixture written;
    fixture_create(&written, 5);
    Message problem = {""};
    const char *path = scratch_path("diverged.h5");
    written.values[written.table.params[2].offset + 4] = NAN;
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    expect_failure(load(path, &written, &problem), &problem, "element 4 of layers.0.weight");
    fixture_destroy(&written);
}

static void test_bad_places(void)
{
    Fixture written;
    fixture_create(&written, 5);
    Message problem = {""};
    if (world().rank == 0) scratch_write("file", "text", 4);
    expect_failure(checkpoint_write(&written.checkpoint, scratch_path("file/checkpoints/a.h5"), &problem), &problem,
                   "folder");
    expect_failure(load(scratch_path("none.h5"), &written, &problem), &problem, "no such file");
    world_barrier();
    expect_failure(load(scratch_path("file"), &written, &problem), &problem, "not an HDF5 file");
    fixture_destroy(&written);
}

static void test_truncated(void)
{
    Fixture written;
    fixture_create(&written, 5);
    Message problem = {""};
    const char *path = scratch_path("truncated.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    if (world().rank == 0) check_true(truncate(path, 3000) == 0, "cut");
    expect_failure(load(path, &written, &problem), &problem, "truncated");
    fixture_destroy(&written);
}

static void test_newest(void)
{
    Fixture written;
    fixture_create(&written, 5);
    Message problem = {""};
    char path[CHECKPOINT_PATH_SIZE], found[CHECKPOINT_PATH_SIZE];
    int64_t step = -1;
    check_true(!checkpoint_find_newest(scratch_path("newest"), found, &step), "no folder, no checkpoint");
    for (int64_t written_step = 0; written_step <= 20; written_step += 10) {
        checkpoint_path(scratch_path("newest"), written_step, path);
        check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    }
    if (world().rank == 0) scratch_write("newest/checkpoints/step-00000030.h5.tmp", "half", 4);
    world_barrier();
    check_true(checkpoint_find_newest(scratch_path("newest"), found, &step), "found");
    check_true(step == 20 && strcmp(found, path) == 0, "step %lld, '%s'", (long long)step, found);
    fixture_destroy(&written);
}

int main(int argc, char **argv)
{
    static const TestCase tests[] = {
        {"written and loaded", test_write_and_load},
        {"configuration", test_config},
        {"tokenizer", test_tokenizer},
        {"the file does not depend on the ranks", test_file_is_independent_of_ranks},
        {"without optimizer state", test_without_moments},
        {"of another model", test_other_model},
        {"values that are not finite", test_not_finite},
        {"bad places", test_bad_places},
        {"truncated", test_truncated},
        {"the newest", test_newest},
    };
    static const Suite suites[] = {{"checkpoint", tests, sizeof tests / sizeof *tests}};
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_checkpoint", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
