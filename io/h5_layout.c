#define _GNU_SOURCE
#include "io/h5_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/h5.h"
#include "src/base/memory.h"

/* Metadata is allocated in blocks of this size: what is left of the last one belongs to nothing, and damage to it does
   not show. */
enum { METADATA_BLOCK = 2 << 10 };

/* Metadata fits well into this; values that others write take no room. */
enum { ROOM = 32 << 20 };

typedef struct Extent {
    uint64_t offset, bytes;
} Extent;

struct H5Layout {
    int memory; /* descriptor of a sparse file in memory: what has no values takes no room */
    hid_t file;
    Extent *values; /* (count), of the datasets */
    int count, capacity;
    uint64_t bytes;
};

static bool has_room(const char *folder, uint64_t written)
{
    struct statvfs room;
    return statvfs(folder, &room) == 0 && (uint64_t)room.f_bavail * room.f_frsize > ROOM + written;
}

/* A new file in memory, or where that is not to be had on a local disk; its name into `path`. HDF5 opens files by name. */
static int open_memory(uint64_t written, char *path, size_t size)
{
    const char *const folders[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    for (int i = 0; i < 3; i++) {
        if (!folders[i] || !has_room(folders[i], written)) continue;
        snprintf(path, size, "%s/polysketch-XXXXXX", folders[i]);
        int descriptor = mkostemp(path, O_CLOEXEC);
        if (descriptor >= 0) return descriptor;
    }
    return -1;
}

static bool may_grow(uint64_t bytes)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur;
}

H5Layout *h5_layout_create(uint64_t bytes, uint64_t written, Message *problem)
{
    char path[DISK_PATH_SIZE];
    bool allowed = may_grow(bytes);
    int memory = allowed ? open_memory(written, path, sizeof path) : -1;
    if (!allowed)
        fail(problem, "%.1f MB are more than a file may have here. Raise the limit with: ulimit -f",
             (double)bytes / 1e6);
    else if (memory < 0)
        fail(problem, "no folder of /dev/shm, TMPDIR and /tmp has %.0f MB of room. Free some, or set TMPDIR",
             (double)(ROOM + written) / 1e6);
    if (memory < 0) return NULL;
    H5Layout *layout = checked_calloc(1, sizeof *layout);
    layout->memory = memory;
    hid_t access = h5_access_properties();
    h5_without_lock(access); /* nobody else knows it */
    CHECK_H5(H5Pset_meta_block_size(access, METADATA_BLOCK));
    CHECK_H5(H5Pset_small_data_block_size(access, 0));
    layout->file = CHECK_H5(h5_create_with(path, access));
    CHECK_H5(H5Pclose(access));
    unlink(path); /* it lives as long as it is open, whatever happens to this process */
    return layout;
}

hid_t h5_layout_file(H5Layout *layout) { return layout->file; }

static int add_extent(H5Layout *layout, Extent extent)
{
    if (layout->count == layout->capacity) {
        layout->capacity = layout->capacity ? 2 * layout->capacity : 64;
        layout->values = realloc(layout->values, (size_t)layout->capacity * sizeof *layout->values);
        CHECK(layout->values, "cannot allocate the list of %d datasets", layout->capacity);
    }
    layout->values[layout->count] = extent;
    return layout->count++;
}

int h5_layout_dataset(H5Layout *layout, hid_t parent, const char *name, hid_t type, int dimensions,
                      const hsize_t *shape, const uint64_t *digest)
{
    hid_t properties = CHECK_H5(H5Pcreate(H5P_DATASET_CREATE));
    CHECK_H5(H5Pset_obj_track_times(properties, false));
    CHECK_H5(H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY));
    CHECK_H5(H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER));
    hid_t space = CHECK_H5(H5Screate_simple(dimensions, shape, NULL));
    hid_t dataset = CHECK_H5(H5Dcreate2(parent, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    if (digest) h5_write_digest(dataset, *digest);
    haddr_t offset = H5Dget_offset(dataset);
    uint64_t bytes = (uint64_t)CHECK_H5(H5Sget_simple_extent_npoints(space)) * H5Tget_size(type);
    CHECK(offset != HADDR_UNDEF || bytes == 0, "HDF5 gave the dataset %s no place in the file", name);
    CHECK_H5(H5Dclose(dataset));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Pclose(properties));
    return add_extent(layout, (Extent){bytes ? offset : 0, bytes});
}

void h5_layout_close(H5Layout *layout)
{
    struct stat status;
    CHECK_H5(H5Fclose(layout->file));
    CHECK(fstat(layout->memory, &status) == 0, "cannot tell the size of a file in memory: %s", strerror(errno));
    layout->bytes = (uint64_t)status.st_size;
}

uint64_t h5_layout_bytes(const H5Layout *layout) { return layout->bytes; }
int h5_layout_datasets(const H5Layout *layout) { return layout->count; }
uint64_t h5_layout_offset(const H5Layout *layout, int dataset) { return layout->values[dataset].offset; }

static bool copy_range(const H5Layout *layout, int descriptor, uint64_t first, uint64_t end)
{
    char chunk[1 << 14];
    while (first < end) {
        size_t wanted = end - first < sizeof chunk ? (size_t)(end - first) : sizeof chunk;
        ssize_t read = pread(layout->memory, chunk, wanted, (off_t)first);
        if (read <= 0 || !disk_write_at(descriptor, chunk, (size_t)read, first)) return false;
        first += (uint64_t)read;
    }
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const Extent *one = a, *other = b;
    return (one->offset > other->offset) - (one->offset < other->offset);
}

bool h5_layout_write(const H5Layout *layout, int descriptor)
{
    Extent *values = checked_calloc((size_t)layout->count, sizeof *values);
    for (int i = 0; i < layout->count; i++) values[i] = layout->values[i];
    qsort(values, (size_t)layout->count, sizeof *values, by_offset); /* HDF5 may fill a gap with a small one */
    uint64_t place = 0;
    bool good = true;
    for (int i = 0; i < layout->count && good; i++) {
        if (values[i].bytes == 0) continue;
        good = copy_range(layout, descriptor, place, values[i].offset);
        place = values[i].offset + values[i].bytes;
    }
    good = good && copy_range(layout, descriptor, place, layout->bytes);
    free(values);
    return good;
}

void h5_layout_destroy(H5Layout *layout)
{
    if (!layout) return;
    close(layout->memory);
    free(layout->values);
    free(layout);
}
