/* Folders, and files that appear only when they are complete. POSIX only; local to the calling process. */
#ifndef POLYSKETCH_IO_DISK_H
#define POLYSKETCH_IO_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"

enum { DISK_PATH_SIZE = 1024 };

/* Makes a folder and the ones above it; one that exists is fine. */
bool disk_make_folder(const char *folder, Message *problem);

/* The folder of `path`: "." for a bare name. */
void disk_folder_of(const char *path, char folder[DISK_PATH_SIZE]);

/* Can a file of `bytes` bytes be written to `path`? Looks at the folder and at the free space. */
bool disk_has_room(const char *path, uint64_t bytes, Message *problem);

/* Brings a file that was written and closed to the disk itself. */
bool disk_sync(const char *path, Message *problem);

/* Gives the file `temporary` its final name, replacing one that has it, and brings the change to disk. */
bool disk_rename(const char *temporary, const char *path, Message *problem);

#endif
