/* What all ranks do together with checkpoints: writing and loading. Reading is in io/checkpoint_read.c, the folder of a
   run's checkpoints in io/checkpoint_folder.c.

   Rank 0 lays the file out, with the digests of all tensors; every rank writes its slice of every tensor; every rank
   reads some of the tensors back from the disk and compares their digests; only then does the file get its name. */
#include "io/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
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
    case OPTION_CHOICE:
        option_format(row, values, text);
        h5_write_text(group, name, text);
        break;
    }
}

static void write_config(hid_t file, const Config *config)
{
    OptionTable options = config_options((Config *)config); /* only read here */
    hid_t group = h5_create_group(file, "config");
    for (int i = 0; i < options.count; i++) write_option(group, &options.rows[i], options.values);
    CHECK_H5(H5Gclose(group));
}

/* ---- tensors ---- */

/* The tensors of a file in its order: all parameters, then the moments of those that are trained. */
typedef void (*TensorVisitor)(void *context, int number, const Param *param, const real *values);

static int visit_block(const ParamTable *table, bool trained_only, const real *block, int number, TensorVisitor visit,
                       void *context)
{
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->params[i];
        if (param->trained || !trained_only) visit(context, number++, param, block + param->offset);
    }
    return number;
}

static int visit_tensors(const Checkpoint *checkpoint, TensorVisitor visit, void *context)
{
    int number = visit_block(checkpoint->table, false, checkpoint->values, 0, visit, context);
    if (!checkpoint->m) return number;
    number = visit_block(checkpoint->table, true, checkpoint->m, number, visit, context);
    return visit_block(checkpoint->table, true, checkpoint->v, number, visit, context);
}

static void count_tensor(void *context, int number, const Param *param, const real *values)
{
    (void)context, (void)number, (void)param, (void)values;
}

static void digest_tensor(void *context, int number, const Param *param, const real *values)
{
    ((uint64_t *)context)[number] = digest_reals(values, param->count);
}

/* Of every tensor, in the order of the file; the caller frees. */
static uint64_t *tensor_digests(const Checkpoint *checkpoint, int *count)
{
    *count = visit_tensors(checkpoint, count_tensor, NULL);
    uint64_t *digests = checked_calloc((size_t)*count, sizeof *digests);
    visit_tensors(checkpoint, digest_tensor, digests);
    return digests;
}

/* Rank r of P writes rows (of a matrix) or elements (of a vector) extent r/P .. extent (r+1)/P. */
static void write_slice(void *context, int number, const Param *param, const real *values)
{
    size_t rank = (size_t)world().rank, size = (size_t)world().size;
    size_t extent = param->dimensions == 2 ? param->rows : param->columns, width = param->count / extent;
    size_t first = extent * rank / size * width, end = extent * (rank + 1) / size * width;
    const void *bytes = values + first;
    float *converted = NULL;
    if (sizeof(real) != sizeof(float)) {
        bytes = converted = checked_calloc(end - first, sizeof *converted);
        for (size_t i = first; i < end; i++) converted[i - first] = (float)values[i];
    }
    shared_file_write(context, number, first * sizeof(float), bytes, (end - first) * sizeof(float));
    free(converted);
}

/* ---- the layout, on rank 0 ---- */

typedef struct Layout {
    H5Layout *file;
    hid_t group;
    const uint64_t *digests; /* of all tensors */
} Layout;

static void lay_out_tensor(void *context, int number, const Param *param, const real *values)
{
    const Layout *layout = context;
    (void)values;
    bool matrix = param->dimensions == 2;
    hsize_t shape[2] = {matrix ? param->rows : param->columns, param->columns};
    h5_layout_dataset(layout->file, layout->group, param->name, H5T_IEEE_F32LE, param->dimensions, shape,
                      &layout->digests[number]);
}

static int lay_out_block(Layout *layout, hid_t parent, const char *name, const ParamTable *table, bool trained_only,
                         const real *block, int number)
{
    layout->group = h5_create_group(parent, name);
    number = visit_block(table, trained_only, block, number, lay_out_tensor, layout);
    CHECK_H5(H5Gclose(layout->group));
    return number;
}

static void lay_out_tensors(Layout *layout, hid_t file, const Checkpoint *checkpoint)
{
    int number = lay_out_block(layout, file, "parameters", checkpoint->table, false, checkpoint->values, 0);
    if (!checkpoint->m) return;
    hid_t group = h5_create_group(file, "optimizer");
    number = lay_out_block(layout, group, "m", checkpoint->table, true, checkpoint->m, number);
    lay_out_block(layout, group, "v", checkpoint->table, true, checkpoint->v, number);
    CHECK_H5(H5Gclose(group));
}

static size_t tokenizer_bytes_total(const Tokenizer *tokenizer)
{
    if (!tokenizer || !tokenizer_has_pieces(tokenizer) || tokenizer->vocab_size == 0) return 0;
    return tokenizer->ends[tokenizer->vocab_size - 1];
}

static void lay_out_row(H5Layout *layout, hid_t group, const char *name, hid_t type, hsize_t count, const void *values)
{
    uint64_t digest = digest_bytes(values, (size_t)count * H5Tget_size(type));
    h5_layout_dataset(layout, group, name, type, 1, &count, &digest);
}

/* Its pieces are the last two datasets; rank 0 writes them. */
static void lay_out_tokenizer(H5Layout *layout, hid_t file, const Tokenizer *tokenizer)
{
    size_t bytes = tokenizer_bytes_total(tokenizer);
    hid_t group = h5_create_group(file, "tokenizer");
    h5_write_text(group, "name", tokenizer->name);
    if (bytes > 0) {
        lay_out_row(layout, group, "bytes", H5T_STD_U8LE, bytes, tokenizer->bytes);
        lay_out_row(layout, group, "ends", H5T_STD_U64LE, (hsize_t)tokenizer->vocab_size, tokenizer->ends);
    }
    CHECK_H5(H5Gclose(group));
}

static void write_tokenizer(SharedFile *file, int number, const Tokenizer *tokenizer)
{
    size_t bytes = tokenizer_bytes_total(tokenizer);
    if (bytes == 0 || world().rank > 0) return;
    shared_file_write(file, number, 0, tokenizer->bytes, bytes);
    shared_file_write(file, number + 1, 0, tokenizer->ends, (size_t)tokenizer->vocab_size * sizeof *tokenizer->ends);
}

static void write_data(hid_t file, const CheckpointData *data)
{
    hid_t group = h5_create_group(file, "data");
    h5_write_integer(group, "train_tokens", data->tokens);
    h5_write_text(group, "train_digest", data->digest);
    CHECK_H5(H5Gclose(group));
}

/* About the size of the file. */
static uint64_t estimated_bytes(const Checkpoint *checkpoint)
{
    const uint64_t descriptions = 1 << 20; /* names, shapes, attributes */
    uint64_t values = checkpoint->table->total_count + (checkpoint->m ? 2 * checkpoint->table->trained_count : 0);
    return values * sizeof(float) + descriptions;
}

static H5Layout *lay_out(const Checkpoint *checkpoint, const uint64_t *digests, const char *path, Message *problem)
{
    Message cause;
    Layout layout = {.file = h5_layout_create(estimated_bytes(checkpoint), 0, &cause), .digests = digests};
    if (!layout.file) fail(problem, "cannot write '%s': %.800s", path, cause.text);
    if (!layout.file) return NULL;
    hid_t file = h5_layout_file(layout.file);
    write_root(file, checkpoint);
    write_config(file, checkpoint->config);
    lay_out_tensors(&layout, file, checkpoint);
    if (checkpoint->data) write_data(file, checkpoint->data);
    if (checkpoint->tokenizer) lay_out_tokenizer(layout.file, file, checkpoint->tokenizer);
    h5_layout_close(layout.file);
    return layout.file;
}

/* ---- the file ---- */

bool checkpoint_same_on_all_ranks(const Checkpoint *checkpoint, Message *problem)
{
    int count;
    char ranks[WORLD_RANKS_TEXT];
    uint64_t *digests = tensor_digests(checkpoint, &count);
    bool same = world_majority(digest_bytes(digests, (size_t)count * sizeof *digests), ranks);
    free(digests);
    return same || fail(problem,
                        "step %lld: the parameters or moments of rank %s are not those of the other ranks, so no "
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

static bool fill(SharedFile *file, const Checkpoint *checkpoint, int tensors, Message *problem)
{
    visit_tensors(checkpoint, write_slice, file);
    if (checkpoint->tokenizer) write_tokenizer(file, tensors, checkpoint->tokenizer);
    return shared_file_sync(file, problem) && verify(shared_file_temporary(file), problem) &&
           shared_file_name(file, problem);
}

bool checkpoint_write(const Checkpoint *checkpoint, const char *path, Message *problem)
{
    char folder[DISK_PATH_SIZE];
    bool first = world().rank == 0;
    disk_folder_of(path, folder);
    if (!world_agree(!first || disk_make_folder(folder, problem), problem)) return false;
    int tensors = visit_tensors(checkpoint, count_tensor, NULL);
    uint64_t *digests = first ? tensor_digests(checkpoint, &tensors) : NULL;
    H5Layout *layout = first ? lay_out(checkpoint, digests, path, problem) : NULL;
    bool laid_out = world_agree(!first || layout, problem);
    SharedFile *file = laid_out ? shared_file_create(path, layout, problem) : NULL;
    bool good = file && fill(file, checkpoint, tensors, problem);
    shared_file_destroy(file);
    h5_layout_destroy(layout);
    free(digests);
    return good;
}

/* ---- loading on all ranks ---- */

bool checkpoint_load(const char *path, Checkpoint *into, Message *problem)
{
    if (!world_agree(world().rank > 0 || checkpoint_read(path, into, problem), problem)) return false;
    world_broadcast(&into->progress, sizeof into->progress);
    world_broadcast(into->values, into->table->total_count * sizeof *into->values);
    if (into->m) world_broadcast(into->m, into->table->trained_count * sizeof *into->m);
    if (into->m) world_broadcast(into->v, into->table->trained_count * sizeof *into->v);
    return true;
}

bool checkpoint_load_config(const char *path, Config *config, Message *problem)
{
    bool read = world().rank > 0 || checkpoint_read_config(path, config, problem);
    if (!world_agree(read, problem)) return false;
    world_broadcast(config, sizeof *config);
    return true;
}
