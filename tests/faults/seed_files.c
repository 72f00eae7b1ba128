#include "tests/faults/seed_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/checkpoint.h"
#include "io/file_format.h"
#include "io/token_file.h"
#include "mpi/param_store_replicated.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/train/config.h"
#include "src/train/optimizer.h"

enum { SEED_TOKENS = 5000, SEED_DOCUMENT = 170, SEED_STEP = 100 };

static void add(uint64_t *digest, const void *bytes, size_t count) { *digest = XXH64(bytes, count, *digest); }
static void add_number(uint64_t *digest, int64_t number) { add(digest, &number, sizeof number); }
static void add_text(uint64_t *digest, const char *text) { add(digest, text, strlen(text)); }

static void add_tokenizer(uint64_t *digest, const Tokenizer *tokenizer)
{
    add_text(digest, tokenizer->name);
    add_number(digest, tokenizer->vocab_size);
    for (int64_t i = 0; i < tokenizer->vocab_size && tokenizer_has_pieces(tokenizer); i++) {
        size_t length;
        const uint8_t *piece = tokenizer_piece(tokenizer, i, &length);
        add_number(digest, (int64_t)length);
        add(digest, piece, length);
    }
}

static bool read_format(const char *path, uint64_t *digest, Message *problem)
{
    char format[64];
    int64_t version;
    if (!file_format_read(path, format, &version, problem)) return false;
    add_text(digest, format);
    add_number(digest, version);
    return true;
}

/* ---- checkpoints ---- */

/* Matrices, a stack of them, and vectors, one tensor that is not trained, and one of a single row. */
static ParamTable seed_table(void)
{
    ParamTable table = {0};
    param_table_begin_group(&table);
    param_table_add_matrix(&table, "token_embedding.weight", 64, 24, INIT_NORMAL, 1);
    param_table_begin_group(&table);
    param_table_not_trained(&table, param_table_add_matrix(&table, "layers.0.sketch.g1", 1, 3, INIT_NORMAL, 1));
    param_table_add_matrix(&table, "layers.0.weight", 24, 72, INIT_NORMAL, 1);
    param_table_add_vector(&table, "layers.0.bias", 1, 0.5);
    param_table_add_stack(&table, "layers.0.stack", 3, 5, 4, INIT_NORMAL, 1);
    param_table_begin_group(&table);
    param_table_add_vector(&table, "final.bias", 300, -1);
    param_table_seal(&table);
    return table;
}

static Config seed_config(void)
{
    Config config;
    Message problem;
    OptionTable options = config_options(&config);
    option_set_defaults(&options);
    config.model.vocab_size = 256;
    strcpy(config.data.train, "data/train.h5");
    CHECK(config_finish(&config, 1, &problem), "%s", problem.text);
    return config;
}

/* Numbers that differ from tensor to tensor, and repeat themselves. */
static void fill_states(ParamStore *store)
{
    size_t place = 0;
    for (int i = 0; i < store->states->count; i++) {
        real *state = store->kept_state(store, i);
        for (size_t j = 0; j < store->states->params[i].count; j++)
            state[j] = (real)(0.1 + 1e-3 * (double)(place++ % 1000));
    }
}

static void write_checkpoint(const char *path)
{
    Config config = seed_config();
    ParamTable table = seed_table();
    Tokenizer tokenizer = tokenizer_bytes();
    Optimizer *optimizer = optimizer_plan(&config.train.optimizer, &table);
    ParamStore *store = param_store_replicated(&table, &optimizer->states, STORE_VALUES, SUMS_LAST);
    param_store_initialise(store, 1);
    fill_states(store);
    Checkpoint checkpoint = {.options = config_options(&config),
                             .store = store,
                             .progress = {SEED_STEP, 51200, 800, 2, SEED_STEP - 2, 0.75},
                             .tokenizer = &tokenizer,
                             .data = &(CheckpointData){.tokens = 5000, .digest = "0123456789abcdef"}};
    Message problem;
    CHECK(checkpoint_write(&checkpoint, path, &problem), "%s", problem.text);
    param_store_destroy(store);
    optimizer_destroy(optimizer);
    tokenizer_destroy(&tokenizer);
    param_table_destroy(&table);
}

static void add_store(uint64_t *digest, ParamStore *store)
{
    for (int i = 0; i < store->params->count; i++)
        add(digest, store->kept_values(store, i), store->params->params[i].count * sizeof(real));
    for (int i = 0; i < store->states->count; i++)
        add(digest, store->kept_state(store, i), store->states->params[i].count * sizeof(real));
}

static bool read_tensors(const char *path, uint64_t *digest, Message *problem)
{
    Config config = seed_config();
    ParamTable table = seed_table();
    Optimizer *optimizer = optimizer_plan(&config.train.optimizer, &table);
    Checkpoint into = {.store = param_store_create(&table, &optimizer->states, STORE_VALUES)};
    bool good = checkpoint_load(path, &into, true, problem);
    if (good) add_store(digest, into.store);
    add(digest, &into.progress, sizeof into.progress);
    param_store_destroy(into.store);
    optimizer_destroy(optimizer);
    param_table_destroy(&table);
    return good;
}

/* What is in the file counts, before anything follows from it. */
static bool read_config(const char *path, uint64_t *digest, Message *problem)
{
    Config config, expected = seed_config();
    OptionTable options = config_options(&config);
    option_set_defaults(&options);
    if (!checkpoint_read_options(path, &options, problem)) return false;
    add_number(digest, (int64_t)config_hash(&config));
    return config_finish(&config, 0, problem) && config_same_model(&expected, &config, problem);
}

static bool read_tokenizer(const char *path, uint64_t *digest, Message *problem)
{
    Tokenizer tokenizer;
    if (!checkpoint_read_tokenizer(path, &tokenizer, problem)) return false;
    add_tokenizer(digest, &tokenizer);
    tokenizer_destroy(&tokenizer);
    return true;
}

static bool read_info(const char *path, uint64_t *digest, Message *problem)
{
    CheckpointInfo info;
    if (!checkpoint_read_info(path, &info, problem)) return false;
    add_number(digest, info.format_version);
    add_number(digest, info.step);
    add_number(digest, info.tokens_seen);
    add_text(digest, info.created);
    add_text(digest, info.source_version);
    return true;
}

static bool read_data(const char *path, uint64_t *digest, Message *problem)
{
    CheckpointData data;
    if (!checkpoint_read_data(path, &data, problem)) return false;
    add_number(digest, data.tokens);
    add_text(digest, data.digest);
    return true;
}

static void add_tensor(void *digest, const CheckpointTensor *tensor)
{
    add_text(digest, tensor->name);
    add_number(digest, tensor->shape.dimensions);
    for (int i = 0; i < tensor->shape.dimensions; i++) add_number(digest, (int64_t)tensor->shape.extents[i]);
    add_number(digest, tensor->use);
    add(digest, tensor->values, tensor_shape_count(&tensor->shape) * sizeof *tensor->values);
}

static bool read_checkpoint(const char *path, uint64_t *digest, Message *problem)
{
    *digest = 0;
    return checkpoint_examine(path, SEED_STEP, problem) == CHECKPOINT_WHOLE && read_format(path, digest, problem) &&
           read_info(path, digest, problem) && read_data(path, digest, problem) && read_config(path, digest, problem) &&
           read_tokenizer(path, digest, problem) && read_tensors(path, digest, problem) &&
           checkpoint_visit(path, add_tensor, digest, problem);
}

/* ---- token files ---- */

static void write_tokens(const char *path)
{
    Tokenizer tokenizer = tokenizer_bytes();
    Message problem;
    TokenWriter *writer = token_file_create(path, &tokenizer, SEED_TOKENS, &problem);
    CHECK(writer, "%s", problem.text);
    int32_t *ids = checked_calloc(SEED_TOKENS, sizeof *ids);
    for (size_t i = 0; i < SEED_TOKENS; i++) ids[i] = (int32_t)(256 * rng_uniform(rng_stream(4, "seed tokens", 0), i));
    bool good = true;
    for (size_t first = 0; first < SEED_TOKENS && good; first += SEED_DOCUMENT) {
        size_t count = SEED_TOKENS - first < SEED_DOCUMENT ? SEED_TOKENS - first : SEED_DOCUMENT;
        token_file_begin_document(writer);
        good = token_file_append(writer, ids + first, count, &problem);
    }
    good = good && token_file_finish(&writer, 1, NULL, &problem);
    CHECK(good, "%s", problem.text);
    free(ids);
    tokenizer_destroy(&tokenizer);
}

static bool read_documents(TokenFile *file, uint64_t *digest, Message *problem)
{
    int64_t *starts = checked_calloc(file->document_count, sizeof *starts);
    bool good = token_file_documents(file, 0, file->document_count, starts, problem);
    if (good) add(digest, starts, file->document_count * sizeof *starts);
    free(starts);
    return good;
}

static bool read_tokens(const char *path, uint64_t *digest, Message *problem)
{
    enum { PIECE = 1 << 12 };
    *digest = 0;
    if (!read_format(path, digest, problem)) return false;
    TokenFile *file = token_file_open(path, problem);
    if (!file) return false;
    add_tokenizer(digest, &file->tokenizer);
    add_number(digest, (int64_t)file->count);
    int32_t *ids = checked_calloc(PIECE, sizeof *ids);
    bool good = token_file_examine(file, problem);
    for (size_t first = 0; good && first < file->count; first += PIECE) {
        size_t count = file->count - first < PIECE ? file->count - first : PIECE;
        good = token_file_read(file, first, count, ids, problem);
        if (good) add(digest, ids, count * sizeof *ids);
    }
    good = good && read_documents(file, digest, problem);
    free(ids);
    token_file_close(file);
    return good;
}

/* ---- both ---- */

const SeedKind seed_kinds[] = {
    {"checkpoint", write_checkpoint, read_checkpoint},
    {"tokens", write_tokens, read_tokens},
};
const int seed_kind_count = sizeof seed_kinds / sizeof *seed_kinds;

const SeedKind *seed_kind_named(const char *name)
{
    for (int i = 0; i < seed_kind_count; i++)
        if (strcmp(seed_kinds[i].name, name) == 0) return &seed_kinds[i];
    return NULL;
}
