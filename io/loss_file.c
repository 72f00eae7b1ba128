#include "io/loss_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "mpi/world.h"
#include "src/base/memory.h"

struct LossFile {
    char path[DISK_PATH_SIZE], temporary[DISK_PATH_SIZE + 8];
    hid_t file, losses;
};

LossFile *loss_file_create(const char *path, size_t sequences, size_t context_length, Message *problem)
{
    hsize_t shape[2] = {sequences, context_length};
    bool ok = world().rank != 0 || disk_has_room(path, sequences * context_length * sizeof(float), problem);
    if (!world_agree(ok, problem)) return NULL;
    LossFile *file = checked_calloc(1, sizeof *file);
    snprintf(file->path, sizeof file->path, "%s", path);
    snprintf(file->temporary, sizeof file->temporary, "%s.tmp", file->path);
    file->file = h5_create_parallel(file->temporary);
    h5_write_text(file->file, "format", FORMAT_LOSSES);
    h5_write_integer(file->file, "format_version", FORMAT_VERSION);
    file->losses = h5_create_dataset(file->file, "per_token_loss", H5T_IEEE_F32LE, 2, shape);
    return file;
}

void loss_file_write(LossFile *file, size_t first, size_t count, TokenRange range, const real *losses)
{
    hid_t type = sizeof(real) == sizeof(float) ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
    hsize_t start[2] = {first, range.first}, shape[2] = {count, range.count};
    hid_t place = (hid_t)CHECK_H5(H5Dget_space(file->losses)),
          memory = (hid_t)CHECK_H5(H5Screate_simple(2, shape, NULL));
    CHECK_H5(H5Sselect_hyperslab(place, H5S_SELECT_SET, start, NULL, shape, NULL));
    CHECK_H5(H5Dwrite(file->losses, type, memory, place, H5P_DEFAULT, losses));
    CHECK_H5(H5Sclose(memory));
    CHECK_H5(H5Sclose(place));
}

bool loss_file_finish(LossFile *file, Message *problem)
{
    CHECK_H5(H5Dclose(file->losses));
    CHECK_H5(H5Fclose(file->file));
    bool ok =
        world().rank != 0 || (disk_sync(file->temporary, problem) && disk_rename(file->temporary, file->path, problem));
    if (!ok) unlink(file->temporary);
    free(file);
    return world_agree(ok, problem);
}

void loss_file_abandon(LossFile *file)
{
    CHECK_H5(H5Dclose(file->losses));
    CHECK_H5(H5Fclose(file->file));
    if (world().rank == 0) unlink(file->temporary);
    free(file);
}
