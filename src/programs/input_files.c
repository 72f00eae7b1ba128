#define _GNU_SOURCE /* tdestroy */
#include "src/programs/input_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/disk.h"
#include "src/base/memory.h"

/* A file or folder, whatever its name. */
typedef struct Place {
    dev_t device;
    ino_t inode;
} Place;

typedef struct Walk {
    InputFiles *files;
    const char *option;
    Place output; /* the folder for results, or the nearest one above it that exists */
    const char *output_path;
    Message *problem;
} Walk;

static int compare_places(const void *a, const void *b)
{
    const Place *one = a, *other = b;
    if (one->device != other->device) return one->device < other->device ? -1 : 1;
    return (one->inode > other->inode) - (one->inode < other->inode);
}

/* Where `output` is, or the folder in which it will be made. */
static Place place_of_output(const char *output)
{
    char path[DISK_PATH_SIZE];
    struct stat status = {0};
    disk_nearest(output, path);
    (void)stat(path, &status);
    return (Place){status.st_dev, status.st_ino};
}

static void leave_out(Walk *walk, LeftOut kind, const char *path)
{
    if (walk->files->left_out[kind]++ == 0) walk->files->example[kind] = strdup(path);
}

/* Is it met for the first time, under whatever name? */
static bool is_new(InputFiles *files, const struct stat *status)
{
    Place place = {status->st_dev, status->st_ino};
    if (tfind(&place, &files->visited, compare_places)) return false;
    Place *kept = checked_calloc(1, sizeof *kept);
    *kept = place;
    CHECK(tsearch(kept, &files->visited, compare_places), "cannot allocate a list of files");
    return true;
}

static bool fail_of_output(const Walk *walk, const char *path)
{
    return fail(walk->problem,
                "--output=%s is in the folder '%s', which %s reads. Choose a folder outside it for the results",
                walk->output_path, path, walk->option);
}

static bool add_folder(Walk *walk, const char *folder);

static bool add_path(Walk *walk, const char *path, bool named_by_user)
{
    struct stat status;
    InputFiles *files = walk->files;
    if (stat(path, &status)) {
        bool dangling = !named_by_user && (errno == ENOENT || errno == ELOOP);
        return fail(walk->problem,
                    dangling ? "'%s' is a link that leads nowhere: %s. Remove it, or mend it (%s)"
                             : "cannot open '%s': %s. Check %s",
                    path, strerror(errno), walk->option);
    }
    bool folder = S_ISDIR(status.st_mode);
    if (folder && compare_places(&(Place){status.st_dev, status.st_ino}, &walk->output) == 0)
        return fail_of_output(walk, path);
    if (!folder && !S_ISREG(status.st_mode)) {
        if (named_by_user)
            return fail(walk->problem, "'%s' is neither a file nor a folder. Check %s", path, walk->option);
        leave_out(walk, LEFT_SPECIAL, path);
        return true;
    }
    if (!is_new(files, &status)) {
        leave_out(walk, LEFT_REPEATED, path);
        return true;
    }
    if (folder) return add_folder(walk, path);
    files->paths = checked_grow(files->paths, files->count, &files->capacity, sizeof *files->paths);
    files->paths[files->count++] = strdup(path);
    return true;
}

static bool add_entry(Walk *walk, const char *folder, const char *name)
{
    size_t length = strlen(folder), room = length + strlen(name) + 2;
    char *path = checked_calloc(room, 1);
    snprintf(path, room, "%s%s%s", folder, length > 0 && folder[length - 1] == '/' ? "" : "/", name);
    bool good = true;
    if (name[0] == '.')
        leave_out(walk, LEFT_HIDDEN, path);
    else if (name[strlen(name) - 1] == '~')
        leave_out(walk, LEFT_BACKUP, path);
    else
        good = add_path(walk, path, false);
    free(path);
    return good;
}

/* In the order of names, so that a folder with several of them is met by the same one each time. */
static bool add_folder(Walk *walk, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0)
        return fail(walk->problem, "cannot open the folder '%s': %s. Check %s", folder, strerror(errno), walk->option);
    bool good = true;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        bool itself = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
        good = good && (itself || add_entry(walk, folder, name));
        free(entries[i]);
    }
    free(entries);
    return good;
}

static int compare_paths(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

bool input_files_add(InputFiles *files, const char *option, const char *path, const char *output, Message *problem)
{
    Walk walk = {.files = files, .option = option, .output_path = output, .problem = problem};
    size_t before = files->count;
    walk.output = place_of_output(output);
    bool good = add_path(&walk, path, true);
    if (files->count > before) qsort(files->paths + before, files->count - before, sizeof *files->paths, compare_paths);
    return good;
}

void input_files_print_left_out(const InputFiles *files)
{
    static const char *const words[LEFT_KINDS][2] = {
        [LEFT_HIDDEN] = {"name that begins with '.'", "names that begin with '.'"},
        [LEFT_BACKUP] = {"name that ends with '~'", "names that end with '~'"},
        [LEFT_SPECIAL] = {"pipe, socket or device", "pipes, sockets or devices"},
        [LEFT_REPEATED] = {"name of what is read already", "names of what is read already"},
    };
    const char *between = "left out: ";
    for (int kind = 0; kind < LEFT_KINDS; kind++) {
        size_t count = files->left_out[kind];
        if (count == 0) continue;
        printf("%s%zu %s (%s%s)", between, count, words[kind][count > 1], files->example[kind],
               count > 1 ? ", ..." : "");
        between = ", ";
    }
    if (between[0] == ',') printf("\n");
}

void input_files_destroy(InputFiles *files)
{
    for (size_t i = 0; i < files->count; i++) free(files->paths[i]);
    for (int kind = 0; kind < LEFT_KINDS; kind++) free(files->example[kind]);
    free(files->paths);
    tdestroy(files->visited, free);
    *files = (InputFiles){0};
}
