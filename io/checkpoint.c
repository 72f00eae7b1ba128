/* The names of checkpoints, and what all ranks do together: writing and loading. Reading is in io/checkpoint_read.c.

   All ranks create every object together and then write their slices of it in one collective transfer. That needs
   values in memory of the very type of the file: with a conversion, HDF5 falls back to independent transfers. So each
   slice is first turned into float, also when real is float. */
#include "io/checkpoint.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <time.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/version.h"

/* ---- names ---- */

void checkpoint_path(const char *folder, int64_t step, char path[CHECKPOINT_PATH_SIZE])
{
    snprintf(path, CHECKPOINT_PATH_SIZE, "%s/checkpoints/step-%08lld.h5", folder, (long long)step);
}

bool checkpoint_find_newest(const char *folder, char path[CHECKPOINT_PATH_SIZE], int64_t *step)
{
    char place[CHECKPOINT_PATH_SIZE], expected[64];
    snprintf(place, sizeof place, "%s/checkpoints", folder);
    DIR *entries = opendir(place);
    int64_t newest = -1;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        long long found;
        if (sscanf(entry->d_name, "step-%lld.h5", &found) != 1) continue;
        snprintf(expected, sizeof expected, "step-%08lld.h5", found);
        if (strcmp(entry->d_name, expected) == 0 && found > newest) newest = found; /* unfinished ones end in .tmp */
    }
    if (entries) closedir(entries);
    if (newest < 0) return false;
    *step = newest;
    checkpoint_path(folder, newest, path);
    return true;
}

/* ---- attributes ---- */

static void write_root(hid_t file, const Checkpoint *checkpoint)
{
    char created[32] = "";
    time_t now = time(NULL);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    world_broadcast(created, sizeof created); /* all ranks must write the same */
    h5_write_text(file, "format", FORMAT_CHECKPOINT);
    h5_write_integer(file, "format_version", FORMAT_VERSION);
    h5_write_integer(file, "step", checkpoint->step);
    h5_write_integer(file, "tokens_seen", checkpoint->tokens_seen);
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

/* ---- slices ---- */

/* Rank r of P holds rows (of a matrix) or elements (of a vector) extent r/P .. extent (r+1)/P; with fewer rows than
   ranks some hold none, and still take part. */
typedef struct Slice {
    hsize_t first, count;
} Slice;

static Slice slice_of(hsize_t extent)
{
    hsize_t rank = (hsize_t)world().rank, size = (hsize_t)world().size;
    hsize_t first = extent * rank / size, end = extent * (rank + 1) / size;
    return (Slice){first, end - first};
}

/* Creates a dataset and writes this rank's slice of it. `type` is that of the file and of memory. Collective. */
static void write_slices(hid_t parent, const char *name, hid_t type, int dimensions, const hsize_t *shape,
                         const void *slice)
{
    hid_t dataset = h5_create_dataset(parent, name, type, dimensions, shape);
    Slice mine = slice_of(shape[0]);
    hsize_t start[2] = {mine.first, 0}, count[2] = {mine.count, dimensions == 2 ? shape[1] : 1};
    hid_t space = CHECK_H5(H5Dget_space(dataset)), memory = CHECK_H5(H5Screate_simple(dimensions, count, NULL));
    if (mine.count == 0)
        CHECK_H5(H5Sselect_none(space));
    else
        CHECK_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL));
    hid_t transfer = h5_collective_transfer();
    CHECK_H5(H5Dwrite(dataset, type, memory, space, transfer, slice));
    CHECK_H5(H5Pclose(transfer));
    CHECK_H5(H5Sclose(memory));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Dclose(dataset));
}

static void write_tensor(hid_t group, const Param *param, const real *values)
{
    bool matrix = param->dimensions == 2;
    hsize_t shape[2] = {matrix ? param->rows : param->columns, param->columns}, width = matrix ? param->columns : 1;
    Slice mine = slice_of(shape[0]);
    const real *source = values + param->offset + mine.first * width;
    float *slice = checked_calloc(mine.count * width, sizeof *slice);
    for (size_t i = 0; i < mine.count * width; i++) slice[i] = (float)source[i];
    write_slices(group, param->name, H5T_IEEE_F32LE, param->dimensions, shape, slice);
    free(slice);
}

static void write_tensors(hid_t parent, const char *name, const ParamTable *table, bool trained_only,
                          const real *values)
{
    hid_t group = h5_create_group(parent, name);
    for (int i = 0; i < table->count; i++)
        if (table->params[i].trained || !trained_only) write_tensor(group, &table->params[i], values);
    CHECK_H5(H5Gclose(group));
}

static void write_optimizer(hid_t file, const Checkpoint *checkpoint)
{
    hid_t group = h5_create_group(file, "optimizer");
    write_tensors(group, "m", checkpoint->table, true, checkpoint->m);
    write_tensors(group, "v", checkpoint->table, true, checkpoint->v);
    CHECK_H5(H5Gclose(group));
}

static size_t tokenizer_bytes_total(const Tokenizer *tokenizer)
{
    if (!tokenizer || !tokenizer_has_pieces(tokenizer) || tokenizer->vocab_size == 0) return 0;
    return tokenizer->ends[tokenizer->vocab_size - 1];
}

static void write_tokenizer(hid_t file, const Tokenizer *tokenizer)
{
    hsize_t bytes = tokenizer_bytes_total(tokenizer), ends = (hsize_t)tokenizer->vocab_size;
    hid_t group = h5_create_group(file, "tokenizer");
    h5_write_text(group, "name", tokenizer->name);
    if (bytes > 0) {
        write_slices(group, "bytes", H5T_STD_U8LE, 1, &bytes, tokenizer->bytes + slice_of(bytes).first);
        write_slices(group, "ends", H5T_STD_U64LE, 1, &ends, tokenizer->ends + slice_of(ends).first);
    }
    CHECK_H5(H5Gclose(group));
}

/* ---- the file ---- */

static uint64_t estimated_bytes(const Checkpoint *checkpoint)
{
    const uint64_t descriptions = 1 << 20; /* names, shapes, attributes */
    uint64_t values = checkpoint->table->total_count + (checkpoint->m ? 2 * checkpoint->table->trained_count : 0);
    uint64_t tokens = checkpoint->tokenizer ? (uint64_t)checkpoint->tokenizer->vocab_size : 0;
    return 4 * values + tokenizer_bytes_total(checkpoint->tokenizer) + 8 * tokens + descriptions;
}

static bool can_write(const Checkpoint *checkpoint, const char *path, Message *problem)
{
    char folder[DISK_PATH_SIZE];
    disk_folder_of(path, folder);
    return disk_make_folder(folder, problem) && disk_has_room(path, estimated_bytes(checkpoint), problem);
}

bool checkpoint_write(const Checkpoint *checkpoint, const char *path, Message *problem)
{
    bool first = world().rank == 0;
    char temporary[CHECKPOINT_PATH_SIZE + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (!world_agree(!first || can_write(checkpoint, path, problem), problem)) return false;

    hid_t file = h5_create_parallel(temporary);
    write_root(file, checkpoint);
    write_config(file, checkpoint->config);
    write_tensors(file, "parameters", checkpoint->table, false, checkpoint->values);
    if (checkpoint->m) write_optimizer(file, checkpoint);
    if (checkpoint->tokenizer) write_tokenizer(file, checkpoint->tokenizer);
    CHECK_H5(H5Fflush(file, H5F_SCOPE_GLOBAL));
    CHECK_H5(H5Fclose(file));

    bool named = !first || (disk_sync(temporary, problem) && disk_rename(temporary, path, problem));
    if (!named) unlink(temporary);
    return world_agree(named, problem);
}

/* ---- loading on all ranks ---- */

bool checkpoint_load(const char *path, const Checkpoint *into, int64_t *step, int64_t *tokens_seen, Message *problem)
{
    bool read = world().rank > 0 || checkpoint_read(path, into, step, tokens_seen, problem);
    if (!world_agree(read, problem)) return false;
    world_broadcast(step, sizeof *step);
    world_broadcast(tokens_seen, sizeof *tokens_seen);
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
