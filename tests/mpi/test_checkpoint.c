/* Checkpoints on any number of ranks: what is written is read back, and the file does not show how many wrote it. */
#define _GNU_SOURCE /* memmem */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/disk.h"
#include "io/h5.h"
#include "mpi/param_store_replicated.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/train/config.h"
#include "src/train/optimizer.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

/* ---- a small model ---- */

typedef struct Fixture {
    Config config;
    ParamTable table;
    Tokenizer tokenizer;
    Optimizer *optimizer; /* or NULL */
    ParamStore *store;
    Checkpoint checkpoint;
} Fixture;

/* Rows of the table. */
enum { EMBEDDING, SKETCH, WEIGHT, BIAS, FINAL_BIAS, STACK };

/* Fewer rows than ranks, rows that ranks do not divide, vectors, a stack of matrices that a rank's rows cut, and a tensor that is
   not trained among trained ones. */
static void add_tensors(ParamTable *table, size_t width)
{
    param_table_begin_group(table);
    param_table_add_matrix(table, "token_embedding.weight", 7, width, INIT_NORMAL, 1);
    param_table_begin_group(table);
    param_table_not_trained(table, param_table_add_matrix(table, "layers.0.sketch.g1", 1, 3, INIT_NORMAL, 1));
    param_table_hidden(table, param_table_add_matrix(table, "layers.0.weight", 2, 9, INIT_NORMAL, 1), 1);
    param_table_add_vector(table, "layers.0.bias", 1, 0.5);
    param_table_begin_group(table);
    param_table_add_vector(table, "final.bias", 13, -1);
    param_table_add_stack(table, "final.stack", 2, 3, width, INIT_NORMAL, 1);
    param_table_seal(table);
}

static void set_option(Config *config, const char *name, const char *word)
{
    Message problem;
    OptionTable options = config_options(config);
    CHECK(option_set(&options, 1, name, word, &problem), "%s", problem.text);
}

static void fill_config(Config *config, const char *optimizer)
{
    Message problem;
    OptionTable options = config_options(config);
    option_set_defaults(&options);
    set_option(config, "attention.kind", "performer");
    set_option(config, "data.train", "data/tokens.h5");
    if (optimizer) set_option(config, "train.optimizer", optimizer);
    config->model.vocab_size = 256;
    config->train.optimizer.learning_rate = 0.1 + 0.2; /* no short decimal form */
    config->output.checkpoint_at_start = true;
    CHECK(config_finish(config, 1, &problem), "%s", problem.text);
}

static const CheckpointData data = {12345, "0123456789abcdef"};

/* All numbers are zero, to read into. `optimizer` NULL: without states. */
static void fixture_empty(Fixture *fixture, size_t width, const char *optimizer)
{
    memset(fixture, 0, sizeof *fixture);
    fill_config(&fixture->config, optimizer);
    add_tensors(&fixture->table, width);
    fixture->tokenizer = tokenizer_bytes();
    if (optimizer) fixture->optimizer = optimizer_plan(&fixture->config.train.optimizer, &fixture->table);
    const ParamTable *states = optimizer ? &fixture->optimizer->states : NULL;
    fixture->store = param_store_replicated(&fixture->table, states, STORE_VALUES, SUMS_LAST);
    fixture->checkpoint = (Checkpoint){.options = config_options(&fixture->config),
                                       .store = fixture->store,
                                       .progress = {.step = 100,
                                                    .tokens_seen = INT64_C(1) << 40,
                                                    .sequences_seen = INT64_C(1) << 33,
                                                    .skipped_steps = 3,
                                                    .optimizer_steps = 42,
                                                    .average_gradient_norm = 0.1 + 0.2},
                                       .tokenizer = &fixture->tokenizer,
                                       .data = &data};
}

static void fill(real *values, const Param *param)
{
    for (size_t i = 0; i < param->count; i++) values[i] = (real)(float)rng_uniform(rng_stream(7, param->name, 0), i);
}

/* The same with numbers of its own for every tensor. */
static void fixture_create(Fixture *fixture, size_t width, const char *optimizer)
{
    fixture_empty(fixture, width, optimizer);
    ParamStore *store = fixture->store;
    for (int i = 0; i < fixture->table.count; i++) fill(store->kept_values(store, i), &fixture->table.params[i]);
    for (int i = 0; optimizer && i < store->states->count; i++)
        fill(store->kept_state(store, i), &store->states->params[i]);
}

static void fixture_destroy(Fixture *fixture)
{
    param_store_destroy(fixture->store);
    optimizer_destroy(fixture->optimizer);
    param_table_destroy(&fixture->table);
    tokenizer_destroy(&fixture->tokenizer);
}

static real *values_of(const Fixture *fixture, int param) { return fixture->store->kept_values(fixture->store, param); }

static bool same_values(const Fixture *a, const Fixture *b)
{
    bool same = true;
    for (int i = 0; i < a->table.count; i++)
        same = same && memcmp(values_of(a, i), values_of(b, i), a->table.params[i].count * sizeof(real)) == 0;
    return same;
}

/* Of the same optimizer: all states with such a name, of which there are some. */
static bool same_states(const Fixture *a, const Fixture *b, const char *name)
{
    const ParamTable *states = a->store->states;
    int found = 0;
    bool same = true;
    for (int i = 0; i < states->count; i++) {
        const Param *param = &states->params[i];
        if (strncmp(param->name, name, strlen(name)) != 0 || param->name[strlen(name)] != '/') continue;
        found++;
        same = same && memcmp(a->store->kept_state(a->store, i), b->store->kept_state(b->store, i),
                              param->count * sizeof(real)) == 0;
    }
    return same && found > 0;
}

static int count_files(const char *name)
{
    int count = 0;
    DIR *entries = opendir(scratch_path(name));
    for (struct dirent *entry; entries && (entry = readdir(entries));) count += entry->d_name[0] != '.';
    if (entries) closedir(entries);
    return count;
}

/* ---- tests ---- */

static void test_write_and_load(void)
{
    Fixture written, loaded;
    fixture_create(&written, 5, "adamw");
    fixture_empty(&loaded, 5, "adamw");
    Message problem = {""};
    char path[CHECKPOINT_PATH_SIZE];
    checkpoint_path(scratch_path("run"), 100, path);
    check_true(strcmp(path + strlen(scratch_path("run")), "/checkpoints/step-00000100.h5") == 0, "name %s", path);
    for (int times = 0; times < 2; times++) /* the second replaces the first */
        check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);

    loaded.checkpoint.progress = (Progress){0};
    check_true(checkpoint_load(path, &loaded.checkpoint, true, &problem), "loaded: %s", problem.text);
    check_true(memcmp(&loaded.checkpoint.progress, &written.checkpoint.progress, sizeof(Progress)) == 0,
               "progress, step %lld", (long long)loaded.checkpoint.progress.step);
    CheckpointData read;
    check_true(checkpoint_read_data(path, &read, &problem) && read.tokens == data.tokens &&
                   strcmp(read.digest, data.digest) == 0,
               "what it was trained on: %lld tokens, digest '%s'", (long long)read.tokens, read.digest);
    check_true(same_values(&written, &loaded), "parameters are the same");
    check_true(same_states(&written, &loaded, "m"), "m is the same");
    check_true(same_states(&written, &loaded, "v"), "v is the same");

    check_true(count_files("run/checkpoints") == 1, "no unfinished file is left");
    fixture_destroy(&written);
    fixture_destroy(&loaded);
}

static void test_config(void)
{
    Fixture written;
    fixture_create(&written, 5, "adamw");
    Message problem = {""};
    const char *path = scratch_path("config.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    Config config;
    OptionTable options = config_options(&config);
    option_set_defaults(&options);
    check_true(checkpoint_load_options(path, &options, sizeof config, &problem), "loaded: %s", problem.text);
    for (int i = 0; i < options.count; i++)
        check_true(option_equal(&options.rows[i], &config, &written.config), "%s.%s is the same",
                   options.rows[i].section, options.rows[i].key);
    check_true(config_same_model(&config, &written.config, &problem), "same model: %s", problem.text);
    fixture_destroy(&written);
}

static void test_tokenizer(void)
{
    Fixture written;
    fixture_create(&written, 5, "adamw");
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
    const real *values = values_of(comparison->fixture, comparison->next);
    const Param *param = &comparison->fixture->table.params[comparison->next++];
    check_true(strcmp(tensor->name, param->name) == 0, "%s stands where %s should", tensor->name, param->name);
    check_true(tensor_shape_equal(&tensor->shape, &param->shape), "shape of %s", tensor->name);
    check_true(tensor->use == (param->trained ? TENSOR_TRAINED : TENSOR_CONSTANT), "use of %s", tensor->name);
    bool same = true;
    for (size_t i = 0; i < param->count; i++) same = same && tensor->values[i] == (float)values[i];
    check_true(same, "values of %s", tensor->name);
}

/* The values come from counter-based numbers, so they are the same on any number of ranks; the file must hold them. */
static void test_file_is_independent_of_ranks(void)
{
    Fixture written;
    fixture_create(&written, 5, "adamw");
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

/* The file of a tokenizer's program is kept beside its pieces; one that is damaged is refused by name. */
static void test_tokenizer_file(void)
{
    static const char file[] = "{ any bytes \0 of a file }";
    Fixture written;
    fixture_create(&written, 5, "adamw");
    Message problem = {""};
    Tokenizer tokenizer = {0};
    const char *path = scratch_path("with-file.h5");
    TokenizerFile *kept = &written.tokenizer.file;
    *kept = (TokenizerFile){cutter_kind_named("tokenizer.json"), checked_calloc(sizeof file, 1), sizeof file};
    memcpy(kept->bytes, file, sizeof file);
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    check_true(checkpoint_read_tokenizer(path, &tokenizer, &problem), "read: %s", problem.text);
    check_true(tokenizer.file.kind == kept->kind && tokenizer.file.count == sizeof file &&
                   memcmp(tokenizer.file.bytes, file, sizeof file) == 0,
               "the file comes back");
    check_true(tokenizer_same(&tokenizer, &written.tokenizer), "as the same tokenizer");
    tokenizer_destroy(&tokenizer);
    if (world().rank == 0) {
        size_t length;
        char *bytes = disk_read_all(path, SIZE_MAX, &length, &problem);
        char *place = memmem(bytes, length, file, sizeof file);
        check_true(place != NULL, "the file stands in the checkpoint as it is");
        if (place) place[2] ^= 1;
        scratch_write("damaged-file.h5", bytes, length);
        free(bytes);
    }
    world_agree(true, &problem); /* the others wait for it */
    expect_failure(checkpoint_read_tokenizer(scratch_path("damaged-file.h5"), &tokenizer, &problem), &problem,
                   "the dataset file of the tokenizer is damaged");
    fixture_destroy(&written);
}

static bool load(const char *path, Fixture *into, Message *problem)
{
    *problem = (Message){""};
    return checkpoint_load(path, &into->checkpoint, true, problem);
}

/* A store with states cannot be filled from a file without, but for its values; one without takes any. */
static void test_without_states(void)
{
    Fixture written, loaded, bare;
    fixture_create(&written, 5, NULL);
    fixture_empty(&loaded, 5, "adamw");
    fixture_empty(&bare, 5, NULL);
    Message problem = {""};
    const char *path = scratch_path("no-states.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    expect_failure(load(path, &loaded, &problem), &problem, "optimizer");
    check_true(checkpoint_load(path, &loaded.checkpoint, false, &problem), "values loaded: %s", problem.text);
    check_true(same_values(&written, &loaded), "parameters are the same");
    check_true(load(path, &bare, &problem), "loaded: %s", problem.text);
    check_true(same_values(&written, &bare), "parameters are the same");
    fixture_destroy(&written);
    fixture_destroy(&loaded);
    fixture_destroy(&bare);
}

static void test_other_model(void)
{
    Fixture written, wider, longer, flat;
    fixture_create(&written, 5, "adamw");
    fixture_empty(&wider, 6, "adamw");
    fixture_empty(&longer, 5, "adamw");
    fixture_empty(&flat, 5, "adamw");
    Message problem = {""};
    const char *path = scratch_path("other.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    expect_failure(load(path, &wider, &problem), &problem, "(7, 5)");
    strcpy(longer.table.params[WEIGHT].name, "layers.1.weight");
    expect_failure(load(path, &longer, &problem), &problem, "layers.1.weight");
    flat.table.params[STACK].shape = (TensorShape){2, {2 * 3, 5}};
    expect_failure(load(path, &flat, &problem), &problem, "stack has shape (2, 3, 5), but this model needs (6, 5)");
    fixture_destroy(&written);
    fixture_destroy(&wider);
    fixture_destroy(&longer);
    fixture_destroy(&flat);
}

static void test_not_finite(void)
{
    Fixture written;
    fixture_create(&written, 5, "adamw");
    Message problem = {""};
    const char *path = scratch_path("diverged.h5");
    values_of(&written, WEIGHT)[4] = NAN;
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    expect_failure(load(path, &written, &problem), &problem, "element 4 of layers.0.weight");
    fixture_destroy(&written);
}

static void test_bad_places(void)
{
    Fixture written;
    fixture_create(&written, 5, "adamw");
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
    fixture_create(&written, 5, "adamw");
    Message problem = {""};
    const char *path = scratch_path("truncated.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    if (world().rank == 0) check_true(truncate(path, 3000) == 0, "cut");
    expect_failure(load(path, &written, &problem), &problem, "truncated");
    fixture_destroy(&written);
}

/* One bit, somewhere in the values: the file says so, whoever reads it. */
static void test_flipped_bit(void)
{
    Fixture written;
    fixture_create(&written, 5, "adamw");
    Message problem = {""};
    const char *path = scratch_path("step-00000100.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    check_true(checkpoint_examine(path, 100, &problem) == CHECKPOINT_WHOLE, "whole: %s", problem.text);
    check_true(checkpoint_examine(path, 99, &problem) == CHECKPOINT_DAMAGED, "of another step: %s", problem.text);
    world_barrier();
    if (world().rank == 0) scratch_flip_value(path, (float)values_of(&written, BIAS)[0]);
    world_barrier();
    check_true(checkpoint_examine(path, 100, &problem) == CHECKPOINT_DAMAGED, "damaged");
    check_true(strstr(problem.text, "layers.0.bias") != NULL, "'%s' names the tensor", problem.text);
    expect_failure(load(path, &written, &problem), &problem, "layers.0.bias");
    check_true(checkpoint_examine(scratch_path("none.h5"), 1, &problem) == CHECKPOINT_CLOSED, "none");
    fixture_destroy(&written);
}

/* A rank that holds other values than the rest is named, and nothing is written. */
static void test_replicas(void)
{
    Fixture fixture;
    fixture_create(&fixture, 5, "adamw");
    Message problem = {""};
    check_true(checkpoint_same_on_all_ranks(&fixture.checkpoint, &problem), "the same: %s", problem.text);
    int odd = world().size - 1;
    int v = fixture.optimizer->state_of[WEIGHT][1];
    if (world().rank == odd && odd > 1) fixture.store->kept_state(fixture.store, v)[0] += (real)1e-6;
    bool same = checkpoint_same_on_all_ranks(&fixture.checkpoint, &problem);
    char expected[32];
    snprintf(expected, sizeof expected, "of rank %d are", odd);
    check_true(odd > 1 ? !same && strstr(problem.text, expected) : same, "'%s' names rank %d", problem.text, odd);
    fixture_destroy(&fixture);
}

/* A write that fails, on the last rank alone: all ranks are told, and what was there stays. */
static void test_failing_write(void)
{
    Fixture written, loaded;
    fixture_create(&written, 5, "adamw");
    fixture_empty(&loaded, 5, "adamw");
    Message problem = {""};
    const char *path = scratch_path("failing/step.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    if (world().rank == world().size - 1) scratch_limit_files(1000);
    written.checkpoint.progress.step = 101;
    expect_failure(checkpoint_write(&written.checkpoint, path, &problem), &problem, "cannot write");
    if (world().rank == world().size - 1) scratch_unlimit_files();
    check_true(load(path, &loaded, &problem) && loaded.checkpoint.progress.step == 100, "the old one: %s",
               problem.text);
    check_true(count_files("failing") == 1, "nothing half-written");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written again: %s", problem.text);
    fixture_destroy(&written);
    fixture_destroy(&loaded);
}

/* It finds what would stop a checkpoint, on the last rank alone too, and leaves nothing behind. */
static void test_probe(void)
{
    Fixture fixture;
    fixture_create(&fixture, 5, "adamw");
    Message problem = {""};
    const char *folder = scratch_path("probed");
    expect_failure(checkpoint_probe(&fixture.checkpoint, folder, &problem), &problem, "not writable");
    check_true(checkpoint_write(&fixture.checkpoint, scratch_path("probed/checkpoints/step-00000100.h5"), &problem),
               "written: %s", problem.text);
    check_true(checkpoint_probe(&fixture.checkpoint, folder, &problem), "probed: %s", problem.text);
    bool last = world().rank == world().size - 1;
    if (last) scratch_limit_files(64);
    expect_failure(checkpoint_probe(&fixture.checkpoint, folder, &problem), &problem, "no checkpoint could be written");
    if (last) scratch_unlimit_files();
    world_barrier(); /* rank 0 removes what was begun */
    check_true(count_files("probed/checkpoints") == 1, "nothing is left of it");
    fixture_destroy(&fixture);
}

static void write_steps(const Fixture *fixture, const char *folder, const int64_t *steps, int count)
{
    char path[CHECKPOINT_PATH_SIZE];
    Message problem = {""};
    for (int i = 0; i < count; i++) {
        checkpoint_path(scratch_path(folder), steps[i], path);
        check_true(checkpoint_write(&fixture->checkpoint, path, &problem), "written: %s", problem.text);
    }
}

static off_t size_of(const char *name)
{
    struct stat status;
    return stat(scratch_path(name), &status) == 0 ? status.st_size : -1;
}

static void test_newest(void)
{
    Fixture written;
    fixture_create(&written, 5, "adamw");
    char expected[CHECKPOINT_PATH_SIZE], found[CHECKPOINT_PATH_SIZE], place[CHECKPOINT_PATH_SIZE + 16];
    int64_t step = -1;
    Message problem;
    check_true(!checkpoint_find_newest(scratch_path("newest"), 1000, found, &step), "no folder, no checkpoint");
    write_steps(&written, "newest", (int64_t[]){0, 10, 20}, 3);
    if (world().rank == 0) scratch_write("newest/checkpoints/step-00000030.h5.tmp", "half", 4);
    world_barrier();
    checkpoint_path(scratch_path("newest"), 20, expected);
    check_true(checkpoint_find_newest(scratch_path("newest"), 1000, found, &step), "found");
    check_true(step == 20 && strcmp(found, expected) == 0, "step %lld, '%s'", (long long)step, found);
    check_true(checkpoint_find_newest(scratch_path("newest"), 19, found, &step) && step == 10, "before step 20");
    world_barrier();
    if (world().rank == 0) check_true(checkpoint_set_aside(expected, place, &problem), "set aside: %s", problem.text);
    world_barrier();
    check_true(checkpoint_find_newest(scratch_path("newest"), 1000, found, &step) && step == 10, "20 is set aside");
    world_barrier();
    if (world().rank == 0) {
        scratch_write("newest/checkpoints/step-00000020.h5", "another", 7);
        check_true(checkpoint_set_aside(expected, place, &problem), "the same step again: %s", problem.text);
        check_true(size_of("newest/checkpoints/step-00000020.h5.damaged") == 7 &&
                       size_of("newest/checkpoints/step-00000020.h5.damaged.1") > 7,
                   "both are kept");
    }
    world_barrier();
    fixture_destroy(&written);
}

/* The steps that are left of 0, 10, ..., 90, as text. */
static void check_left(const char *folder, int64_t keep, int64_t keep_every, bool keep_start, const char *expected)
{
    char left[128] = "", path[CHECKPOINT_PATH_SIZE];
    world_barrier();
    if (world().rank == 0) checkpoint_remove_old(scratch_path(folder), keep, keep_every, keep_start);
    world_barrier();
    for (int step = 0; step <= 90; step += 10) {
        checkpoint_path(scratch_path(folder), step, path);
        if (access(path, R_OK) == 0) snprintf(left + strlen(left), sizeof left - strlen(left), "%d ", step);
    }
    check_true(strcmp(left, expected) == 0, "%lld newest, every %lld: left are %s, not %s", (long long)keep,
               (long long)keep_every, left, expected);
}

static void test_retention(void)
{
    Fixture written;
    fixture_create(&written, 5, "adamw");
    write_steps(&written, "old", (int64_t[]){0, 10, 20, 30, 40, 50, 60, 70, 80, 90}, 10);
    check_left("old", 0, 0, true, "0 10 20 30 40 50 60 70 80 90 ");
    check_left("old", 0, 0, false, "10 20 30 40 50 60 70 80 90 ");
    check_left("old", 5, 30, false, "30 50 60 70 80 90 ");
    check_left("old", 1, 0, false, "90 ");
    check_left("old", 1, 0, false, "90 ");
    write_steps(&written, "start", (int64_t[]){0}, 1);
    check_left("start", 1, 0, false, "0 "); /* the newest stays, whatever it is */
    fixture_destroy(&written);
}

/* ---- states of several names ---- */

static void check_datasets(const char *path, const char *const *names, bool present)
{
    hid_t file;
    Message problem;
    if (!check_true(h5_open_readonly(path, &file, &problem), "opened: %s", problem.text)) return;
    for (; *names; names++)
        check_true(h5_has(file, *names) == present, "%s %s", *names, present ? "is there" : "is not there");
    CHECK_H5(H5Fclose(file));
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Muon keeps the momentum of hidden matrices, and the states of AdamW of all else. */
static void test_muon(void)
{
    Fixture written, loaded;
    fixture_create(&written, 5, "muon");
    fixture_empty(&loaded, 5, "muon");
    Message problem = {""};
    const char *path = scratch_path("muon.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    check_true(load(path, &loaded, &problem), "loaded: %s", problem.text);
    check_true(same_values(&written, &loaded), "parameters are the same");
    check_true(same_states(&written, &loaded, "momentum"), "momentum is the same");
    check_true(same_states(&written, &loaded, "m"), "m is the same");
    check_true(same_states(&written, &loaded, "v"), "v is the same");
    check_datasets(path,
                   NAMES("optimizer/momentum/layers.0.weight", "optimizer/m/token_embedding.weight",
                         "optimizer/v/token_embedding.weight", "optimizer/m/layers.0.bias", "optimizer/v/layers.0.bias",
                         "optimizer/m/final.bias", "optimizer/v/final.bias"),
                   true);
    check_datasets(path,
                   NAMES("optimizer/m/layers.0.weight", "optimizer/v/layers.0.weight",
                         "optimizer/momentum/token_embedding.weight", "optimizer/momentum/final.bias",
                         "optimizer/momentum/layers.0.sketch.g1", "optimizer/m/layers.0.sketch.g1"),
                   false);
    Comparison comparison = {&written, 0};
    check_true(checkpoint_visit(path, compare_tensor, &comparison, &problem), "visited: %s", problem.text);
    check_true(comparison.next == written.table.count, "%d tensors of %d", comparison.next, written.table.count);
    fixture_destroy(&written);
    fixture_destroy(&loaded);
}

/* Its values can be had, its states not. */
static void test_other_optimizer(void)
{
    Fixture written, loaded, untouched;
    fixture_create(&written, 5, "adamw");
    fixture_create(&loaded, 5, "muon");
    fixture_create(&untouched, 5, "muon");
    Message problem = {""};
    const char *path = scratch_path("adamw.h5");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    for (int i = 0; i < loaded.table.count; i++)
        memset(values_of(&loaded, i), 0, loaded.table.params[i].count * sizeof(real));
    check_true(checkpoint_load(path, &loaded.checkpoint, false, &problem), "loaded: %s", problem.text);
    check_true(same_values(&written, &loaded), "parameters are the same");
    check_true(same_states(&untouched, &loaded, "momentum") && same_states(&untouched, &loaded, "m") &&
                   same_states(&untouched, &loaded, "v"),
               "states stay as they were");
    expect_failure(load(path, &loaded, &problem), &problem, "momentum/layers.0.weight");
    fixture_destroy(&written);
    fixture_destroy(&loaded);
    fixture_destroy(&untouched);
}

/* One of its tensors gets another name. */
static void rename_tensor(Fixture *fixture, int row, const char *name)
{
    snprintf(fixture->table.params[row].name, sizeof fixture->table.params[row].name, "%s", name);
}

/* Reading must not leave a tensor of the file out. */
static void test_unused_tensor(void)
{
    Fixture written, smaller;
    Message problem = {""};
    const char *path = scratch_path("more.h5");
    fixture_create(&written, 5, "adamw");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    fixture_empty(&smaller, 5, "adamw");
    smaller.table.count--; /* its last tensor */
    expect_failure(checkpoint_load(path, &smaller.checkpoint, false, &problem), &problem, "does not use: final.stack");
    smaller.table.count++;
    ParamTable *states = (ParamTable *)smaller.store->states;
    states->count--;
    expect_failure(checkpoint_load(path, &smaller.checkpoint, true, &problem), &problem, "does not use: v/final.stack");
    states->count++;
    check_true(checkpoint_load(path, &smaller.checkpoint, true, &problem), "all are used: %s", problem.text);
    fixture_destroy(&written);
    fixture_destroy(&smaller);
}

typedef struct Fates {
    int counts[TENSOR_FATES];
    char last[TENSOR_FATES][112];
} Fates;

static void count_fate(void *context, TensorFate fate, const char *name)
{
    Fates *fates = context;
    fates->counts[fate]++;
    snprintf(fates->last[fate], sizeof *fates->last, "%s", name);
}

/* Another model takes what it has in common with the file; all else stays as it was. */
static void test_matching(void)
{
    Fixture written, other, before;
    Message problem = {""};
    Fates fates = {0};
    const char *path = scratch_path("matching.h5");
    fixture_create(&written, 5, "adamw");
    check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    fixture_empty(&other, 5, "muon");
    fixture_empty(&before, 5, "muon");
    rename_tensor(&other, BIAS, "layers.0.gate");
    check_true(checkpoint_match(path, &other.table, count_fate, &fates, &problem), "matched: %s", problem.text);
    check_true(fates.counts[TENSOR_TAKEN] == 5 && fates.counts[TENSOR_NEW] == 1 && fates.counts[TENSOR_LEFT] == 1,
               "%d taken, %d new, %d left", fates.counts[TENSOR_TAKEN], fates.counts[TENSOR_NEW],
               fates.counts[TENSOR_LEFT]);
    check_true(strcmp(fates.last[TENSOR_NEW], "layers.0.gate") == 0 &&
                   strcmp(fates.last[TENSOR_LEFT], "layers.0.bias") == 0,
               "new '%s', left '%s'", fates.last[TENSOR_NEW], fates.last[TENSOR_LEFT]);
    check_true(checkpoint_load_matching(path, other.store, &problem), "loaded: %s", problem.text);
    for (int i = 0; i < other.table.count; i++) {
        const Fixture *source = i == BIAS ? &before : &written;
        check_true(memcmp(values_of(&other, i), values_of(source, i), other.table.params[i].count * sizeof(real)) == 0,
                   "values of %s", other.table.params[i].name);
    }
    check_true(same_states(&before, &other, "momentum"), "states stay as they were");
    fixture_destroy(&before);
    fixture_destroy(&other);
    fixture_empty(&other, 4, "adamw"); /* another width: two tensors are of it */
    expect_failure(checkpoint_load_matching(path, other.store, &problem), &problem, "(7, 5) there, (7, 4) here");
    expect_failure(false, &problem, "2 tensors have another shape");
    for (int i = 0; i < other.table.count; i++) other.table.params[i].name[0] = '#';
    expect_failure(checkpoint_load_matching(path, other.store, &problem), &problem, "no tensor that this model has");
    fixture_destroy(&other);
    fixture_destroy(&written);
}

static void test_list(void)
{
    char text[256];
    const char *folder = scratch_path("list");
    Fixture written;
    Message problem = {""};
    fixture_create(&written, 5, NULL);
    check_true(!checkpoint_list(folder, text, sizeof text) && !text[0], "none");
    for (int step = 0; step <= 20; step += 10) {
        char path[CHECKPOINT_PATH_SIZE];
        checkpoint_path(folder, step, path);
        check_true(checkpoint_write(&written.checkpoint, path, &problem), "written: %s", problem.text);
    }
    check_true(checkpoint_list(folder, text, sizeof text) && strcmp(text, "0, 10, 20") == 0, "'%s'", text);
    fixture_destroy(&written);
}

int main(int argc, char **argv)
{
    static const TestCase tests[] = {
        {"written and loaded", test_write_and_load},
        {"configuration", test_config},
        {"tokenizer", test_tokenizer},
        {"the file of a tokenizer", test_tokenizer_file},
        {"the file does not depend on the ranks", test_file_is_independent_of_ranks},
        {"without optimizer state", test_without_states},
        {"of another model", test_other_model},
        {"values that are not finite", test_not_finite},
        {"bad places", test_bad_places},
        {"truncated", test_truncated},
        {"a flipped bit", test_flipped_bit},
        {"ranks with other values", test_replicas},
        {"a write that fails", test_failing_write},
        {"probe", test_probe},
        {"the newest", test_newest},
        {"which ones stay", test_retention},
        {"states of Muon", test_muon},
        {"of another optimizer", test_other_optimizer},
        {"a tensor that is not used", test_unused_tensor},
        {"tensors of another model", test_matching},
        {"a list of steps", test_list},
    };
    static const Suite suites[] = {SUITE("checkpoint", tests)};
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_checkpoint", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
