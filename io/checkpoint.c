/* What all ranks do together with checkpoints: writing. Reading and loading, but of the program's options, are in
   io/checkpoint_read.c, the folder of a run's checkpoints in io/checkpoint_folder.c.

   Rank 0 lays the file out, with the digests of all tensors; every rank writes its slice of every tensor; every rank
   reads some of the tensors back from the disk and compares their digests; only then does the file get its name. */
#include "io/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "io/piece_store.h"
#include "io/shared_file.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/memory.h"
#include "src/base/version.h"

/* ---- attributes ---- */

static void write_root(hid_t file, const Checkpoint *checkpoint)
{
    char created[32] = "";
    time_t now = time(NULL);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    h5_write_text(file, "format", FORMAT_CHECKPOINT);
    h5_write_integer(file, "format_version", FORMAT_VERSION);
    h5_write_integer(file, "step", checkpoint->progress.step);
    h5_write_integer(file, "tokens_seen", checkpoint->progress.tokens_seen);
    h5_write_integer(file, "sequences_seen", checkpoint->progress.sequences_seen);
    h5_write_integer(file, "skipped_steps", checkpoint->progress.skipped_steps);
    h5_write_integer(file, "optimizer_steps", checkpoint->progress.optimizer_steps);
    h5_write_real(file, "average_gradient_norm", checkpoint->progress.average_gradient_norm);
    h5_write_text(file, "created", created);
    h5_write_text(file, "source_version", source_version());
}

static void write_option(hid_t group, const OptionRow *row, const void *values)
{
    char name[128], text[OPTION_TEXT_SIZE];
    option_name(row, name);
    const void *field = (const char *)values + row->offset;
    switch (row->type) {
    case OPTION_INTEGER: h5_write_integer(group, name, *(const int64_t *)field); break;
    case OPTION_REAL: h5_write_real(group, name, *(const double *)field); break;
    case OPTION_BOOL: h5_write_integer(group, name, *(const bool *)field); break;
    case OPTION_TEXT:
    case OPTION_LONG_TEXT:
    case OPTION_CHOICE:
        option_format(row, values, text);
        h5_write_text(group, name, text);
        break;
    }
}

static void write_options(hid_t file, const OptionTable *options)
{
    hid_t group = h5_create_group(file, "config");
    for (int i = 0; i < options->count; i++) write_option(group, &options->rows[i], options->values);
    CHECK_H5(H5Gclose(group));
}

/* ---- tensors ---- */

/* The tensors of a file in its order: all parameters, then the states of the optimizer. `values` is the first of those that this
   rank keeps. */
typedef void (*TensorVisitor)(void *context, int number, const Param *param, const real *values);

static int state_count(const ParamStore *store) { return store->states ? store->states->count : 0; }

static int tensor_count(const Checkpoint *checkpoint)
{
    return checkpoint->store->params->count + state_count(checkpoint->store);
}

static void visit_tensors(const Checkpoint *checkpoint, TensorVisitor visit, void *context)
{
    ParamStore *store = checkpoint->store;
    int params = store->params->count;
    for (int i = 0; i < params; i++) visit(context, i, &store->params->params[i], store->kept_values(store, i));
    for (int i = 0; i < state_count(store); i++)
        visit(context, params + i, &store->states->params[i], store->kept_state(store, i));
}

uint64_t *checkpoint_digests(const Checkpoint *checkpoint)
{
    ParamStore *store = checkpoint->store;
    int params = store->params->count;
    uint64_t *digests = checked_calloc((size_t)tensor_count(checkpoint), sizeof *digests);
    for (int i = 0; i < params; i++) digests[i] = store->digest(store, i);
    for (int i = 0; i < state_count(store); i++) digests[params + i] = store->digest_state(store, i);
    return digests;
}

/* Where slices go. */
typedef struct Slices {
    SharedFile *file;
    const ParamStore *store;
} Slices;

/* The rows that this rank answers for. */
static void write_slice(void *context, int number, const Param *param, const real *values)
{
    const Slices *slices = context;
    RowRange rows = slices->store->written(slices->store, param), kept = slices->store->kept(slices->store, param);
    size_t width = param_row_width(param), first = rows.first * width, count = (rows.end - rows.first) * width;
    const real *numbers = values + (rows.first - kept.first) * width;
    const void *bytes = numbers;
    float *converted = NULL;
    if (sizeof(real) != sizeof(float)) {
        bytes = converted = checked_calloc(count, sizeof *converted);
        for (size_t i = 0; i < count; i++) converted[i] = (float)numbers[i];
    }
    shared_file_write(slices->file, number, first * sizeof(float), bytes, count * sizeof(float));
    free(converted);
}

/* ---- the layout, on rank 0 ---- */

/* STATE/TENSOR: into `state`, and returns the tensor's name; of parameters, the whole name. */
static const char *split_name(const char *name, char state[32])
{
    const char *slash = strchr(name, '/');
    int length = slash ? (int)(slash - name) : 0;
    snprintf(state, 32, "%.*s", length, name);
    return slash ? slash + 1 : name;
}

static void lay_out_tensor(H5Layout *layout, hid_t group, const Param *param, uint64_t digest)
{
    char state[32];
    hsize_t extents[TENSOR_DIMENSIONS];
    int dimensions = param->shape.dimensions;
    for (int i = 0; i < dimensions; i++) extents[i] = param->shape.extents[i];
    h5_layout_dataset(layout, group, split_name(param->name, state), H5T_IEEE_F32LE, dimensions, extents, &digest);
}

/* Tensors of one state after the other, each in a group of its own. */
static void lay_out_states(H5Layout *layout, hid_t optimizer, const ParamTable *states, const uint64_t *digests)
{
    char present[32] = "", state[32];
    hid_t group = -1;
    for (int i = 0; i < states->count; i++) {
        split_name(states->params[i].name, state);
        if (strcmp(state, present) != 0) {
            if (group >= 0) CHECK_H5(H5Gclose(group));
            group = h5_create_group(optimizer, strcpy(present, state));
        }
        lay_out_tensor(layout, group, &states->params[i], digests[i]);
    }
    if (group >= 0) CHECK_H5(H5Gclose(group));
}

static void lay_out_tensors(H5Layout *layout, hid_t file, const ParamStore *store, const uint64_t *digests)
{
    const ParamTable *params = store->params;
    hid_t group = h5_create_group(file, "parameters");
    for (int i = 0; i < params->count; i++) lay_out_tensor(layout, group, &params->params[i], digests[i]);
    CHECK_H5(H5Gclose(group));
    if (!store->states) return;
    group = h5_create_group(file, "optimizer");
    lay_out_states(layout, group, store->states, digests + params->count);
    CHECK_H5(H5Gclose(group));
}

/* Its datasets: none where pieces have no bytes at all. */
static int tokenizer_rows(const Tokenizer *tokenizer, PieceRow rows[MOST_PIECE_ROWS])
{
    int count = piece_store_rows(tokenizer, rows);
    return count > 0 && rows[0].count > 0 ? count : 0;
}

/* They are the last ones; rank 0 writes them. */
static void lay_out_tokenizer(H5Layout *layout, hid_t file, const Tokenizer *tokenizer)
{
    PieceRow rows[MOST_PIECE_ROWS];
    int count = tokenizer_rows(tokenizer, rows);
    hid_t group = h5_create_group(file, "tokenizer");
    h5_write_text(group, "name", tokenizer->name);
    for (int i = 0; i < count; i++) {
        uint64_t digest = digest_bytes(rows[i].values, rows[i].count * H5Tget_size(rows[i].type));
        h5_layout_dataset(layout, group, rows[i].name, rows[i].type, 1, &rows[i].count, &digest);
    }
    piece_store_write_form(group, tokenizer);
    CHECK_H5(H5Gclose(group));
}

static void write_tokenizer(SharedFile *file, int number, const Tokenizer *tokenizer)
{
    PieceRow rows[MOST_PIECE_ROWS];
    int count = world().rank > 0 ? 0 : tokenizer_rows(tokenizer, rows);
    for (int i = 0; i < count; i++)
        shared_file_write(file, number + i, 0, rows[i].values, rows[i].count * H5Tget_size(rows[i].type));
}

static uint64_t tokenizer_bytes_total(const Tokenizer *tokenizer)
{
    PieceRow rows[MOST_PIECE_ROWS];
    int count = tokenizer_rows(tokenizer, rows);
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += rows[i].count * H5Tget_size(rows[i].type);
    return bytes;
}

static void write_data(hid_t file, const CheckpointData *data)
{
    hid_t group = h5_create_group(file, "data");
    h5_write_integer(group, "train_tokens", data->tokens);
    h5_write_text(group, "train_digest", data->digest);
    CHECK_H5(H5Gclose(group));
}

uint64_t checkpoint_bytes(const Checkpoint *checkpoint)
{
    const ParamStore *store = checkpoint->store;
    const uint64_t descriptions = 1 << 20; /* names, shapes, attributes */
    return (store->params->total_count + (store->states ? store->states->total_count : 0)) * sizeof(float) +
           (checkpoint->tokenizer ? tokenizer_bytes_total(checkpoint->tokenizer) : 0) + descriptions;
}

static H5Layout *lay_out(const Checkpoint *checkpoint, const uint64_t *digests, const char *path, Message *problem)
{
    Message cause;
    H5Layout *layout = h5_layout_create(checkpoint_bytes(checkpoint), 0, &cause);
    if (!layout) fail(problem, "cannot write '%s': %.800s", path, cause.text);
    if (!layout) return NULL;
    hid_t file = h5_layout_file(layout);
    write_root(file, checkpoint);
    write_options(file, &checkpoint->options);
    lay_out_tensors(layout, file, checkpoint->store, digests);
    if (checkpoint->data) write_data(file, checkpoint->data);
    if (checkpoint->tokenizer) lay_out_tokenizer(layout, file, checkpoint->tokenizer);
    h5_layout_close(layout);
    return layout;
}

/* ---- the file ---- */

bool checkpoint_same_on_all_ranks(const Checkpoint *checkpoint, Message *problem)
{
    char ranks[WORLD_RANKS_TEXT];
    uint64_t *taken = checkpoint->digests ? NULL : checkpoint_digests(checkpoint);
    const uint64_t *digests = taken ? taken : checkpoint->digests;
    bool same = world_majority(digest_bytes(digests, (size_t)tensor_count(checkpoint) * sizeof *digests), ranks);
    free(taken);
    return same ||
           fail(problem,
                "step %lld: the parameters or optimizer states of rank %s are not those of the other ranks, so no "
                "checkpoint is written. Its memory or processor may be faulty: continue from the last "
                "checkpoint without that node",
                (long long)checkpoint->progress.step, ranks);
}

/* Every rank reads a part of the file as it is on disk. */
static bool verify(const char *path, Message *problem)
{
    hid_t file;
    bool good = h5_open_readonly(path, &file, problem);
    if (good) {
        good = h5_check_digests(file, path, world().rank, world().size, true, problem);
        CHECK_H5(H5Fclose(file));
    }
    return world_agree(good, problem);
}

static bool fill(SharedFile *file, const Checkpoint *checkpoint, Message *problem)
{
    Slices slices = {file, checkpoint->store};
    visit_tensors(checkpoint, write_slice, &slices);
    if (checkpoint->tokenizer) write_tokenizer(file, tensor_count(checkpoint), checkpoint->tokenizer);
    return shared_file_sync(file, problem) && verify(shared_file_temporary(file), problem) &&
           shared_file_name(file, problem);
}

bool checkpoint_write(const Checkpoint *checkpoint, const char *path, Message *problem)
{
    char folder[DISK_PATH_SIZE];
    bool first = world().rank == 0;
    disk_folder_of(path, folder);
    if (!world_agree(!first || disk_make_folder(folder, problem), problem)) return false;
    uint64_t *taken = checkpoint->digests ? NULL : checkpoint_digests(checkpoint);
    H5Layout *layout = first ? lay_out(checkpoint, taken ? taken : checkpoint->digests, path, problem) : NULL;
    bool laid_out = world_agree(!first || layout, problem);
    SharedFile *file = laid_out ? shared_file_create(path, layout, problem) : NULL;
    bool good = file && fill(file, checkpoint, problem);
    shared_file_destroy(file);
    h5_layout_destroy(layout);
    free(taken);
    return good;
}

bool checkpoint_load_options(const char *path, const OptionTable *options, size_t bytes, Message *problem)
{
    bool read = world().rank > 0 || checkpoint_read_options(path, options, problem);
    if (!world_agree(read, problem)) return false;
    world_broadcast(options->values, bytes);
    return true;
}
