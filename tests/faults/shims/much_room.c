/* To be preloaded (LD_PRELOAD): file systems say that they have much room, as one does of which another program then takes it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

enum { BLOCKS = 1 << 24 };

#define SAYS_MUCH(function)                                                                                            \
    int function(const char *path, struct function *room)                                                              \
    {                                                                                                                  \
        int code = ((__typeof__(&function))dlsym(RTLD_NEXT, #function))(path, room);                                   \
        room->f_blocks = room->f_bfree = room->f_bavail = BLOCKS;                                                      \
        return code;                                                                                                   \
    }

SAYS_MUCH(statvfs)
SAYS_MUCH(statfs)
