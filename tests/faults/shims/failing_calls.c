/* To be preloaded (LD_PRELOAD): one call that writes to a disk fails, as on a full or dying one.

       FAULT_PATH     only calls on files whose path contains this
       FAULT_NUMBER   the number of the call that fails, 1, 2, ...; 0: none
       FAULT_ERRNO    with which error; default ENOSPC
       FAULT_COUNT    a file that gets the number of such calls when the program ends */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int calls;

static int setting(const char *name, int fallback)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : fallback;
}

/* Is it this call's turn to fail? */
static int fails(const char *path)
{
    const char *watched = getenv("FAULT_PATH");
    if (!watched || !path || !strstr(path, watched)) return 0;
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) != setting("FAULT_NUMBER", 0)) return 0;
    errno = setting("FAULT_ERRNO", ENOSPC);
    return 1;
}

static int fails_on(int descriptor)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return fails(path);
}

__attribute__((destructor)) static void leave_count(void)
{
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%d\n", calls);
    fclose(file);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int open_mode(int flags, va_list arguments) { return flags & O_CREAT ? va_arg(arguments, int) : 0; }

#define FAILING_OPEN(name)                                                                                             \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        va_start(arguments, flags);                                                                                    \
        int mode = open_mode(flags, arguments);                                                                        \
        va_end(arguments);                                                                                             \
        if ((flags & O_ACCMODE) != O_RDONLY && fails(path)) return -1;                                                 \
        return REAL(name)(path, flags, mode);                                                                          \
    }
FAILING_OPEN(open)
FAILING_OPEN(open64)

#define FAILING_FOPEN(name)                                                                                            \
    FILE *name(const char *path, const char *mode)                                                                     \
    {                                                                                                                  \
        if (mode[0] != 'r' && fails(path)) return NULL;                                                                \
        return REAL(name)(path, mode);                                                                                 \
    }
FAILING_FOPEN(fopen)
FAILING_FOPEN(fopen64)

int fflush(FILE *file) { return file && fails_on(fileno(file)) ? EOF : REAL(fflush)(file); }
ssize_t write(int file, const void *bytes, size_t count)
{
    return fails_on(file) ? -1 : REAL(write)(file, bytes, count);
}
int fsync(int file) { return fails_on(file) ? -1 : REAL(fsync)(file); }
int rename(const char *from, const char *to) { return fails(from) ? -1 : REAL(rename)(from, to); }
int link(const char *from, const char *to) { return fails(from) ? -1 : REAL(link)(from, to); }

#define FAILING_PWRITE(name, offset_type)                                                                              \
    ssize_t name(int file, const void *bytes, size_t count, offset_type offset)                                        \
    {                                                                                                                  \
        return fails_on(file) ? -1 : REAL(name)(file, bytes, count, offset);                                           \
    }
FAILING_PWRITE(pwrite, off_t)
FAILING_PWRITE(pwrite64, off64_t)

#define FAILING_FALLOCATE(name, offset_type)                                                                           \
    int name(int file, int mode, offset_type offset, offset_type count)                                                \
    {                                                                                                                  \
        return fails_on(file) ? -1 : REAL(name)(file, mode, offset, count);                                            \
    }
FAILING_FALLOCATE(fallocate, off_t)
FAILING_FALLOCATE(fallocate64, off64_t)

/* The file is closed all the same, as POSIX leaves open and Linux does. */
int close(int file)
{
    int failed = fails_on(file), cause = errno, result = REAL(close)(file);
    if (failed) errno = cause;
    return failed ? -1 : result;
}
