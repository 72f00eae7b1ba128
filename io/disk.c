#define _GNU_SOURCE
#include "io/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/memory.h"

static bool make_one(const char *folder, Message *problem)
{
    struct stat status;
    if (mkdir(folder, 0777) == 0) return true;
    int cause = errno;
    if (stat(folder, &status) == 0 && S_ISDIR(status.st_mode)) return true;
    if (cause == EEXIST) return fail(problem, "'%s' should be a folder, but is a file. Choose another folder", folder);
    return fail(problem, "cannot make the folder '%s': %s. Choose a folder you can write to", folder, strerror(cause));
}

bool disk_make_folder(const char *folder, Message *problem)
{
    char partial[DISK_PATH_SIZE];
    if (strlen(folder) >= sizeof partial) return fail(problem, "the name of the folder '%.80s...' is too long", folder);
    strcpy(partial, folder);
    for (char *slash = strchr(partial + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (!make_one(partial, problem)) return false;
        *slash = '/';
    }
    return make_one(partial, problem);
}

void disk_folder_of(const char *path, char folder[DISK_PATH_SIZE])
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        path = ".";
    else if (slash == path)
        path = "/";
    snprintf(folder, DISK_PATH_SIZE, "%.*s", slash > path ? (int)(slash - path) : (int)strlen(path), path);
}

/* From `path` to the folder it is in. */
static void go_up(char path[DISK_PATH_SIZE])
{
    char above[DISK_PATH_SIZE];
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') path[--length] = 0;
    disk_folder_of(path, above);
    strcpy(path, above);
}

void disk_nearest(const char *path, char nearest[DISK_PATH_SIZE])
{
    struct stat status;
    snprintf(nearest, DISK_PATH_SIZE, "%s", path);
    while (stat(nearest, &status) && strcmp(nearest, "/") && strcmp(nearest, ".")) go_up(nearest);
}

void disk_remove_folders(const char *path, const char *nearest)
{
    char folder[DISK_PATH_SIZE];
    for (snprintf(folder, sizeof folder, "%s", path); strlen(folder) > 1 && strcmp(folder, nearest); go_up(folder))
        rmdir(folder); /* stays when there is something in it */
}

bool disk_same_file(const char *path, const char *other)
{
    struct stat one, two;
    return stat(path, &one) == 0 && stat(other, &two) == 0 && one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

bool disk_free_name(const char *path, char place[DISK_PATH_SIZE], Message *problem)
{
    enum { MOST = 100000 };
    struct stat status;
    for (int number = 1; number < MOST; number++) {
        snprintf(place, DISK_PATH_SIZE, "%.1000s.%d", path, number);
        if (lstat(place, &status)) return true;
    }
    return fail(problem, "there are %d older files '%s.1' and so on. Remove some", MOST, path);
}

bool disk_keep_aside(const char *path, char place[DISK_PATH_SIZE], Message *problem)
{
    return disk_free_name(path, place, problem) && (link(path, place) == 0 || disk_rename(path, place, problem));
}

bool disk_has_room(const char *path, uint64_t bytes, Message *problem)
{
    char folder[DISK_PATH_SIZE];
    disk_folder_of(path, folder);
    if (access(folder, W_OK | X_OK))
        return fail(problem, "cannot write '%s': the folder '%s' is not writable (%s). Choose another folder", path,
                    folder, strerror(errno));
    struct statvfs room;
    if (statvfs(folder, &room)) return true; /* some file systems do not tell; writing will */
    double have = (double)room.f_bavail * (double)room.f_frsize;
    if ((double)bytes <= have) return true;
    return fail(problem,
                "cannot write '%s': it needs %.1f MB, but only %.1f MB are free. Remove files or choose another disk",
                path, (double)bytes / 1e6, have / 1e6);
}

void disk_temporary_of(const char *path, char temporary[DISK_PATH_SIZE])
{
    char host[65] = "";
    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = 0;
    snprintf(temporary, DISK_PATH_SIZE, "%.900s.%s-%ld.tmp", path, host, (long)getpid());
}

void disk_remove_temporaries(const char *folder, const char *start)
{
    char path[DISK_PATH_SIZE + 256];
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 4, ".tmp")) continue;
        if (strncmp(entry->d_name, start, strlen(start))) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path); /* one that cannot be removed does no harm */
    }
    if (entries) closedir(entries);
}

char *disk_read_all(const char *path, size_t most, size_t *length, Message *cause)
{
    size_t capacity = 0;
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    bool good = file != NULL;
    *length = 0;
    for (size_t got = 1; good && got > 0 && *length <= most; *length += got) {
        text = checked_grow(text, *length + 1, &capacity, 1); /* and a zero */
        got = fread(text + *length, 1, capacity - 1 - *length, file);
        good = !ferror(file);
    }
    if (!good) fail(cause, "%s", errno == EISDIR ? "it is a folder" : strerror(errno));
    if (file) fclose(file);
    if (good && *length > most) good = fail(cause, "it has more than %zu bytes", most);
    if (good) text[*length] = 0;
    if (good) return text;
    free(text);
    return NULL;
}

bool disk_write_at(int descriptor, const void *bytes, size_t count, uint64_t offset)
{
    const char *next = bytes;
    while (count > 0) {
        ssize_t written = pwrite(descriptor, next, count, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written == 0) errno = ENOSPC;
        if (written <= 0) return false;
        next += written, offset += (uint64_t)written, count -= (size_t)written;
    }
    return true;
}

static int sync_path(const char *path)
{
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0) return -1;
    int result = fsync(descriptor), cause = errno;
    close(descriptor);
    errno = cause;
    return result;
}

bool disk_sync(const char *path, Message *problem)
{
    if (sync_path(path) == 0) return true;
    return fail(problem, "cannot bring '%s' to disk: %s. Free some space or choose another disk", path,
                strerror(errno));
}

bool disk_rename(const char *temporary, const char *path, Message *problem)
{
    char folder[DISK_PATH_SIZE];
    if (rename(temporary, path))
        return fail(problem, "cannot rename '%s' to '%s': %s. Choose another folder", temporary, path, strerror(errno));
    disk_folder_of(path, folder);
    sync_path(folder); /* a file system that cannot do this for a folder has renamed the file all the same */
    return true;
}

bool disk_remove(const char *path, Message *problem)
{
    return unlink(path) == 0 || errno == ENOENT ||
           fail(problem, "cannot remove '%s': %s. Remove it yourself", path, strerror(errno));
}

static void name_of_earlier(const char *path, char place[DISK_PATH_SIZE])
{
    char name[DISK_PATH_SIZE];
    snprintf(name, sizeof name, "%.890s.earlier", path);
    disk_temporary_of(name, place);
}

static bool move_away(const char *path, Message *problem)
{
    char place[DISK_PATH_SIZE];
    struct stat status;
    name_of_earlier(path, place);
    if (lstat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return fail(problem, "'%s' is a folder. Choose another folder for the files", path);
    return rename(path, place) == 0 || errno == ENOENT ||
           fail(problem, "cannot replace '%s': %s. Choose another folder", path, strerror(errno));
}

static void move_back(const char *path, bool replaced)
{
    char place[DISK_PATH_SIZE];
    name_of_earlier(path, place);
    if (replaced) unlink(path);
    if (rename(place, path) && errno != ENOENT)
        error_say("warning: the earlier '%s' is now called '%s': %s", path, place, strerror(errno));
}

static void remove_earlier(const char *path)
{
    char place[DISK_PATH_SIZE];
    Message problem;
    name_of_earlier(path, place);
    if (!disk_remove(place, &problem)) error_say("warning: %s", problem.text);
}

bool disk_rename_all(const char *const *temporaries, const char *const *paths, int count, Message *problem)
{
    int away = 0, named = 0;
    while (away < count && move_away(paths[away], problem)) away++;
    bool good = away == count;
    while (good && named < count) {
        good = !temporaries[named] || disk_rename(temporaries[named], paths[named], problem);
        named += good;
    }
    for (int i = 0; i < away && !good; i++) move_back(paths[i], i < named && temporaries[i]);
    for (int i = 0; i < count && good; i++) remove_earlier(paths[i]);
    return good;
}

bool disk_close(FILE *file, const char *path, Message *problem)
{
    bool written = fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0;
    int cause = errno;
    if (fclose(file) && written) written = false, cause = errno;
    return written ||
           fail(problem, "cannot write '%s': %s. Free some space or choose another disk", path, strerror(cause));
}

FILE *disk_create(const char *path, Message *problem)
{
    char temporary[DISK_PATH_SIZE];
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        fail(problem, "'%s' is not a regular file. Choose another name", path);
        return NULL;
    }
    disk_temporary_of(path, temporary);
    FILE *file = fopen(temporary, "w");
    if (!file) fail(problem, "cannot write '%s': %s. Choose a folder you can write to", path, strerror(errno));
    return file;
}

bool disk_replace(FILE *file, const char *path, Message *problem)
{
    char temporary[DISK_PATH_SIZE];
    disk_temporary_of(path, temporary);
    if (disk_close(file, path, problem) && disk_rename(temporary, path, problem)) return true;
    unlink(temporary);
    return false;
}

void disk_abandon(FILE *file, const char *path)
{
    char temporary[DISK_PATH_SIZE];
    disk_temporary_of(path, temporary);
    fclose(file);
    unlink(temporary);
}
