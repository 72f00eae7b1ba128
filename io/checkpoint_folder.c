/* The checkpoints of a run folder (io/checkpoint.h): names, the newest, which ones stay. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/disk.h"
#include "src/base/memory.h"
#include "src/base/log.h"

void checkpoint_path(const char *folder, int64_t step, char path[CHECKPOINT_PATH_SIZE])
{
    snprintf(path, CHECKPOINT_PATH_SIZE, "%s/checkpoints/step-%08lld.h5", folder, (long long)step);
}

/* The step of a file called as checkpoint_path() calls it, or -1: unfinished ones end in .tmp, damaged ones in .damaged. */
static int64_t step_of(const char *name)
{
    long long step;
    char expected[64];
    if (sscanf(name, "step-%lld.h5", &step) != 1 || step < 0) return -1;
    snprintf(expected, sizeof expected, "step-%08lld.h5", step);
    return strcmp(name, expected) == 0 ? step : -1;
}

static int newest_first(const void *a, const void *b)
{
    const int64_t *one = a, *other = b;
    return (*one < *other) - (*one > *other);
}

/* The steps of all checkpoints, the newest first; the caller frees. */
static int64_t *list_steps(const char *folder, size_t *count)
{
    char place[CHECKPOINT_PATH_SIZE];
    snprintf(place, sizeof place, "%s/checkpoints", folder);
    DIR *entries = opendir(place);
    size_t capacity = 0;
    int64_t *steps = NULL;
    *count = 0;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        int64_t step = step_of(entry->d_name);
        if (step < 0) continue;
        steps = checked_grow(steps, *count, &capacity, sizeof *steps);
        steps[(*count)++] = step;
    }
    if (entries) closedir(entries);
    if (*count) qsort(steps, *count, sizeof *steps, newest_first);
    return steps;
}

bool checkpoint_find_newest(const char *folder, int64_t limit, char path[CHECKPOINT_PATH_SIZE], int64_t *step)
{
    size_t count, i = 0;
    int64_t *steps = list_steps(folder, &count);
    while (i < count && steps[i] > limit) i++;
    bool found = i < count;
    if (found) *step = steps[i];
    free(steps);
    if (found) checkpoint_path(folder, *step, path);
    return found;
}

bool checkpoint_list(const char *folder, char *text, size_t size)
{
    enum { MOST = 16 };
    size_t count, length = 0;
    int64_t *steps = list_steps(folder, &count);
    size_t named = count < MOST ? count : MOST;
    text[0] = 0;
    for (size_t i = named; i-- > 0 && length < size;)
        length += (size_t)snprintf(text + length, size - length, "%s%lld",
                                   length          ? ", "
                                   : count > named ? "..., "
                                                   : "",
                                   (long long)steps[i]);
    free(steps);
    return count > 0;
}

bool checkpoint_set_aside(const char *path, char place[CHECKPOINT_PATH_SIZE + 16], Message *problem)
{
    char older[DISK_PATH_SIZE];
    snprintf(place, CHECKPOINT_PATH_SIZE + 16, "%s.damaged", path);
    if (access(place, F_OK) == 0) {
        if (!disk_keep_aside(place, older, problem)) return false;
        log_line("an earlier '%s' is now %s", place, older);
    }
    return disk_rename(path, place, problem);
}

int checkpoint_remove_old(const char *folder, int64_t keep, int64_t keep_every, bool keep_start)
{
    size_t count;
    int removed = 0;
    char path[CHECKPOINT_PATH_SIZE];
    int64_t *steps = list_steps(folder, &count);
    for (size_t i = 1; i < count; i++) { /* never the newest */
        bool for_ever = steps[i] == 0 ? keep_start : keep_every > 0 && steps[i] % keep_every == 0;
        bool recent = steps[i] > 0 && (keep == 0 || i < (size_t)keep);
        checkpoint_path(folder, steps[i], path);
        if (!for_ever && !recent) removed += unlink(path) == 0; /* one that cannot be removed only takes room */
    }
    free(steps);
    return removed;
}
