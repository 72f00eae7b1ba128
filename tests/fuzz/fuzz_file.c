#include "tests/fuzz/fuzz_file.h"

#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/faults/seed_files.h"

static char path[64];

static void remove_file(void) { unlink(path); }

/* In memory, and open for the whole life of the process. */
static int open_file(void)
{
    snprintf(path, sizeof path, "/dev/shm/polysketch-fuzz-%d.h5", (int)getpid());
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(file >= 0, "cannot make '%s'", path);
    error_set_exit_hook(abort); /* with a stack */
    atexit(remove_file);
    return file;
}

void fuzz_file(const char *kind, const uint8_t *data, size_t size)
{
    static int file = -1;
    if (file < 0) file = open_file();
    CHECK(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size, "cannot write '%s'", path);
    uint64_t digest;
    Message problem;
    seed_kind_named(kind)->read(path, &digest, &problem);
    CHECK(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL) == 0, "the readers left something open");
}
