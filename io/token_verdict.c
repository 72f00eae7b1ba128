#include "io/token_verdict.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/disk.h"

/* The line, digest included; its first word is the version of this form. */
#define FORM                                                                                                           \
    "polysketch-checked-1 bytes %" PRId64 " modified %" PRId64 " changed %" PRId64 " inode %" PRIu64                   \
    " xxh3 %016" PRIx64 "\n"
enum { LINE_SIZE = 256 };

static const int64_t settled_ns = 2000000000;

static int64_t nanoseconds(struct timespec time) { return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec; }

bool token_verdict_state(const char *path, TokenFileState *state)
{
    struct stat status;
    if (stat(path, &status)) return false;
    *state = (TokenFileState){status.st_size, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim), status.st_ino};
    return true;
}

static bool same_state(const TokenFileState *a, const TokenFileState *b)
{
    return a->bytes == b->bytes && a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns &&
           a->inode == b->inode;
}

static void format_line(char line[LINE_SIZE], const TokenFileState *state, uint64_t digest)
{
    snprintf(line, LINE_SIZE, FORM, state->bytes, state->modified_ns, state->changed_ns, state->inode, digest);
}

/* The name of the verdict; false when it would be too long. */
static bool path_of(const char *path, char verdict[DISK_PATH_SIZE])
{
    return snprintf(verdict, DISK_PATH_SIZE, "%s.checked", path) < 900;
}

bool token_verdict_read(const char *path, const TokenFileState *state, uint64_t *digest)
{
    char name[DISK_PATH_SIZE], found[LINE_SIZE] = "", expected[LINE_SIZE];
    if (!path_of(path, name)) return false;
    int descriptor =
        open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* whatever else has that name must not make us wait */
    if (descriptor < 0) return false;
    ssize_t length = read(descriptor, found, sizeof found - 1);
    close(descriptor);
    const char *place = length > 0 ? strstr(found, " xxh3 ") : NULL;
    if (!place || sscanf(place, " xxh3 %16" SCNx64, digest) != 1) return false;
    format_line(expected, state, *digest);
    return strcmp(found, expected) == 0;
}

void token_verdict_write(const char *path, const TokenFileState *state, uint64_t digest)
{
    char name[DISK_PATH_SIZE], temporary[DISK_PATH_SIZE], line[LINE_SIZE];
    struct stat status;
    TokenFileState now;
    if (!path_of(path, name)) return;
    disk_temporary_of(name, temporary);
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) return;
    format_line(line, state, digest);
    bool good =
        disk_write_at(descriptor, line, strlen(line), 0) && fsync(descriptor) == 0 && fstat(descriptor, &status) == 0;
    good = close(descriptor) == 0 && good;
    int64_t clock_ns = good ? nanoseconds(status.st_mtim) : 0;
    good = good && clock_ns - state->modified_ns >= settled_ns && clock_ns - state->changed_ns >= settled_ns &&
           token_verdict_state(path, &now) && same_state(&now, state);
    if (!good || rename(temporary, name)) unlink(temporary);
}

void token_verdict_remove(const char *path)
{
    char name[DISK_PATH_SIZE];
    if (path_of(path, name)) unlink(name); /* one that stays counts for nothing */
}
