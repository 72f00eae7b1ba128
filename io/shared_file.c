#define _GNU_SOURCE
#include "io/shared_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "mpi/world.h"
#include "src/base/memory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "files are little-endian, and values are written as they are");

struct SharedFile {
    char path[DISK_PATH_SIZE], temporary[DISK_PATH_SIZE];
    int descriptor; /* -1: closed */
    int datasets;
    uint64_t *offsets; /* (datasets) */
    int failure;       /* errno of the first write that failed on this rank, or 0 */
    bool named;
};

/* Takes the room of the whole file, so that a full disk shows at once, where the file system can; else only the size. 0
   or errno. */
static int take_room(int descriptor, uint64_t bytes)
{
    while (fallocate(descriptor, 0, 0, (off_t)bytes)) {
        if (errno == EOPNOTSUPP) return ftruncate(descriptor, (off_t)bytes) ? errno : 0;
        if (errno != EINTR) return errno;
    }
    return 0;
}

/* Rank 0: the file in its full size, without values. */
static bool reserve(SharedFile *file, const H5Layout *layout, Message *problem)
{
    file->descriptor = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool opened = file->descriptor >= 0;
    int cause = opened ? take_room(file->descriptor, h5_layout_bytes(layout)) : errno;
    if (cause == 0 && !h5_layout_write(layout, file->descriptor)) cause = errno;
    if (cause == 0) return true;
    if (opened) unlink(file->temporary);
    return fail(problem, "cannot write '%s' (%.1f MB): %s. Free some space or choose another folder", file->path,
                (double)h5_layout_bytes(layout) / 1e6, strerror(cause));
}

static void broadcast_places(SharedFile *file, const H5Layout *layout)
{
    world_broadcast(file->temporary, sizeof file->temporary);
    file->datasets = layout ? h5_layout_datasets(layout) : 0;
    world_broadcast(&file->datasets, sizeof file->datasets);
    file->offsets = checked_calloc((size_t)file->datasets, sizeof *file->offsets);
    for (int i = 0; layout && i < file->datasets; i++) file->offsets[i] = h5_layout_offset(layout, i);
    world_broadcast(file->offsets, (size_t)file->datasets * sizeof *file->offsets);
}

/* The ranks but the first open what that one has made. */
static bool join(SharedFile *file, Message *problem)
{
    if (world().rank == 0) return true;
    file->descriptor = open(file->temporary, O_WRONLY | O_CLOEXEC);
    return file->descriptor >= 0 ||
           fail(problem,
                "cannot open '%s', which rank 0 has made: %s. Choose a folder on a file system that all ranks share",
                file->temporary, strerror(errno));
}

SharedFile *shared_file_create(const char *path, const H5Layout *layout, Message *problem)
{
    SharedFile *file = checked_calloc(1, sizeof *file);
    file->descriptor = -1;
    snprintf(file->path, sizeof file->path, "%s", path);
    disk_temporary_of(path, file->temporary);
    if (world_agree(world().rank > 0 || reserve(file, layout, problem), problem)) {
        broadcast_places(file, layout);
        if (world_agree(join(file, problem), problem)) return file;
    }
    shared_file_destroy(file);
    return NULL;
}

const char *shared_file_temporary(const SharedFile *file) { return file->temporary; }

void shared_file_write(SharedFile *file, int dataset, uint64_t first, const void *bytes, size_t count)
{
    if (file->failure) return;
    if (!disk_write_at(file->descriptor, bytes, count, file->offsets[dataset] + first)) file->failure = errno;
}

bool shared_file_sync(SharedFile *file, Message *problem)
{
    if (!file->failure && fsync(file->descriptor)) file->failure = errno;
    /* Reading it back should show what is on the disk, not what is in memory. A wish, no promise. */
    (void)posix_fadvise(file->descriptor, 0, 0, POSIX_FADV_DONTNEED);
    if (close(file->descriptor) && !file->failure) file->failure = errno;
    file->descriptor = -1;
    if (file->failure)
        fail(problem, "cannot write '%s': %s. Free some space or choose another disk", file->path,
             strerror(file->failure));
    return world_agree(!file->failure, problem);
}

bool shared_file_name(SharedFile *file, Message *problem)
{
    file->named = world_agree(world().rank > 0 || disk_rename(file->temporary, file->path, problem), problem);
    return file->named;
}

void shared_file_destroy(SharedFile *file)
{
    if (!file) return;
    if (file->descriptor >= 0) close(file->descriptor);
    if (!file->named && world().rank == 0) unlink(file->temporary);
    free(file->offsets);
    free(file);
}
