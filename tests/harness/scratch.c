#define _XOPEN_SOURCE 700 /* nftw */
#include "tests/harness/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "mpi/world.h"
#include "src/base/error.h"

static char folder[256];

void scratch_make(void)
{
    const char *above = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/polysketch-test-XXXXXX", above ? above : "/tmp");
    if (world().rank == 0) CHECK(mkdtemp(folder), "cannot make '%s'. Set TMPDIR to a folder you can write to", folder);
    world_broadcast(folder, sizeof folder);
}

const char *scratch_path(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void scratch_write(const char *name, const void *bytes, unsigned long count)
{
    FILE *file = fopen(scratch_path(name), "w");
    CHECK(file && fwrite(bytes, 1, count, file) == count && fclose(file) == 0, "cannot write '%s'", scratch_path(name));
}

void scratch_flip_value(const char *path, float value)
{
    static unsigned char bytes[1 << 20];
    FILE *file = fopen(path, "r+");
    CHECK(file, "cannot open '%s'", path);
    size_t count = fread(bytes, 1, sizeof bytes, file), place = 0;
    while (place + sizeof value <= count && memcmp(bytes + place, &value, sizeof value) != 0) place++;
    CHECK(place + sizeof value <= count, "%g is not in '%s'", (double)value, path);
    bytes[place] ^= 1;
    bool written = fseek(file, (long)place, SEEK_SET) == 0 && fwrite(bytes + place, 1, 1, file) == 1;
    CHECK(fclose(file) == 0 && written, "cannot write '%s'", path);
}

static void set_limit(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "cannot set a limit of file sizes");
}

void scratch_limit_files(unsigned long bytes) { set_limit(bytes); }
void scratch_unlimit_files(void) { set_limit(RLIM_INFINITY); }

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

void scratch_remove(void)
{
    world_barrier();
    if (world().rank == 0) nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
