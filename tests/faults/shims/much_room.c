/* To be preloaded (LD_PRELOAD): file systems say that they have much room, as one does of which another program then takes it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

/* The C library's function of this name; not a cast, which ISO C does not have between data and functions. */
static void find_next(const char *name, void *function)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
}

enum { BLOCKS = 1 << 24 };

int statvfs(const char *path, struct statvfs *room)
{
    int (*next)(const char *, struct statvfs *);
    find_next("statvfs", &next);
    int code = next(path, room);
    room->f_blocks = room->f_bfree = room->f_bavail = BLOCKS;
    return code;
}

int statfs(const char *path, struct statfs *room)
{
    int (*next)(const char *, struct statfs *);
    find_next("statfs", &next);
    int code = next(path, room);
    room->f_blocks = room->f_bfree = room->f_bavail = BLOCKS;
    return code;
}
