/* An HDF5 file that all ranks fill together, each the values it has.

   Rank 0 lays it out (io/h5_layout.h) and reserves its room on the disk; then every rank writes its values with plain
   writes at their places. The file grows under a temporary name and takes its own when all of it is on disk. Every
   failure of a disk, on whatever rank, is an ordinary message on all of them, and leaves what had the name before
   untouched.

   No MPI-IO: the places are disjoint and known, which is all that collective writing would find out, and its layers
   differ from library to library, have hung, and end the job where a disk is full. Collective over all ranks unless it
   says local. */
#ifndef POLYSKETCH_IO_SHARED_FILE_H
#define POLYSKETCH_IO_SHARED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/h5_layout.h"
#include "src/base/error.h"

typedef struct SharedFile SharedFile;

/* `layout` is rank 0's, closed, and stays with the caller; NULL on the others. NULL with the same message on every rank
   when the file cannot be made: no room, no permission, or a folder that not all ranks see. */
SharedFile *shared_file_create(const char *path, const H5Layout *layout, Message *problem);

/* The temporary name, until shared_file_name(). Local. */
const char *shared_file_temporary(const SharedFile *file);

/* Writes at byte `first` of the values of dataset number `dataset`. Local; the first failure is kept for
   shared_file_sync(). */
void shared_file_write(SharedFile *file, int dataset, uint64_t first, const void *bytes, size_t count);

/* All that was written is on disk, and is read from there from now on. */
bool shared_file_sync(SharedFile *file, Message *problem);

/* Gives the file its name. */
bool shared_file_name(SharedFile *file, Message *problem);

/* Frees; a file that has not got its name is removed. */
void shared_file_destroy(SharedFile *file);

#endif
