#include "tests/fuzz/fuzz_file.h"

#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/faults/seed_files.h"

/* A new file each time: when HDF5 loses track of one that it could not open, it takes a later one with the same inode for
   it, and would read what it remembers. */
const char *fuzz_file_write(const uint8_t *data, size_t size)
{
    static char path[256];
    error_set_exit_hook(abort); /* with a stack */
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/polysketch-fuzz-%d.h5", folder ? folder : "/tmp", (int)getpid());
    unlink(path); /* what an earlier process of this number left when it crashed */
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0 && write(file, data, size) == (ssize_t)size, "cannot write '%s'", path);
    close(file);
    return path;
}

void fuzz_file(const char *kind, const uint8_t *data, size_t size)
{
    uint64_t digest;
    Message problem;
    const char *path = fuzz_file_write(data, size);
    seed_kind_named(kind)->read(path, &digest, &problem);
    unlink(path);
    CHECK(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL) == 0, "the readers left something open");
}
