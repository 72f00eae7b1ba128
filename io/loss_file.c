#include "io/loss_file.h"

#include <stdlib.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "io/shared_file.h"
#include "mpi/world.h"
#include "src/base/memory.h"

struct LossFile {
    SharedFile *file;
    size_t context_length; /* T */
    bool with_tokens;
};

enum { LOSSES, INPUTS, TARGETS }; /* the datasets, in their order; all of numbers of 4 bytes */

static H5Layout *lay_out(size_t sequences, size_t context_length, bool with_tokens, Message *problem)
{
    hsize_t shape[2] = {sequences, context_length};
    H5Layout *layout = h5_layout_create((with_tokens ? 3 : 1) * sequences * context_length * sizeof(float), 0, problem);
    if (!layout) return NULL;
    hid_t file = h5_layout_file(layout);
    h5_write_text(file, "format", FORMAT_LOSSES);
    h5_write_integer(file, "format_version", FORMAT_VERSION);
    h5_layout_dataset(layout, file, "per_token_loss", H5T_IEEE_F32LE, 2, shape, NULL);
    if (with_tokens) {
        h5_layout_dataset(layout, file, "inputs", H5T_STD_I32LE, 2, shape, NULL);
        h5_layout_dataset(layout, file, "targets", H5T_STD_I32LE, 2, shape, NULL);
    }
    h5_layout_close(layout);
    return layout;
}

LossFile *loss_file_create(const char *path, size_t sequences, size_t context_length, bool with_tokens,
                           Message *problem)
{
    bool first = world().rank == 0;
    uint64_t bytes = (with_tokens ? 3 : 1) * sequences * context_length * sizeof(float);
    bool possible =
        !first || (file_format_may_replace(path, FORMAT_LOSSES, problem) && disk_has_room(path, bytes, problem));
    if (!world_agree(possible, problem)) return NULL;
    H5Layout *layout = first ? lay_out(sequences, context_length, with_tokens, problem) : NULL;
    bool laid_out = world_agree(!first || layout, problem);
    SharedFile *shared = laid_out ? shared_file_create(path, layout, problem) : NULL;
    h5_layout_destroy(layout);
    if (!shared) return NULL;
    LossFile *file = checked_calloc(1, sizeof *file);
    *file = (LossFile){shared, context_length, with_tokens};
    return file;
}

void loss_file_write(LossFile *file, size_t sequence, TokenRange range, const real *losses, const int32_t *inputs,
                     const int32_t *targets)
{
    size_t bytes = range.count * sizeof(float), place = (sequence * file->context_length + range.first) * sizeof(float);
    float *row = checked_calloc(range.count, sizeof *row);
    for (size_t i = 0; i < range.count; i++) row[i] = (float)losses[i];
    shared_file_write(file->file, LOSSES, place, row, bytes);
    free(row);
    if (!file->with_tokens) return;
    shared_file_write(file->file, INPUTS, place, inputs, bytes);
    shared_file_write(file->file, TARGETS, place, targets, bytes);
}

bool loss_file_finish(LossFile *file, Message *problem)
{
    bool good = shared_file_sync(file->file, problem) && shared_file_name(file->file, problem);
    loss_file_abandon(file);
    return good;
}

void loss_file_abandon(LossFile *file)
{
    shared_file_destroy(file->file);
    free(file);
}
