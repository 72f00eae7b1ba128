/* Folders, and files that appear only when they are complete. POSIX only; local to the calling process.

   A file is written under a temporary name, brought to disk, and renamed. What a killed program leaves behind ends in
   ".tmp". */
#ifndef POLYSKETCH_IO_DISK_H
#define POLYSKETCH_IO_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/error.h"

enum { DISK_PATH_SIZE = 1024 };

/* Makes a folder and the ones above it; one that exists is fine. */
bool disk_make_folder(const char *folder, Message *problem);

/* The folder of `path`: "." for a bare name. */
void disk_folder_of(const char *path, char folder[DISK_PATH_SIZE]);

/* `path` when it is there, else the nearest folder above it that is. */
void disk_nearest(const char *path, char nearest[DISK_PATH_SIZE]);

/* Removes the folder `path` and those above it up to `nearest`, which stays; one with something in it stays too. */
void disk_remove_folders(const char *path, const char *nearest);

/* Do both names lead to one file that is there? */
bool disk_same_file(const char *path, const char *other);

/* The first of <path>.1, <path>.2, ... that is free. The caller knows that no other job takes such names. */
bool disk_free_name(const char *path, char place[DISK_PATH_SIZE], Message *problem);

/* Gives a file that second name before its own is used for another. Where the file system knows no second names the file is
   renamed. */
bool disk_keep_aside(const char *path, char place[DISK_PATH_SIZE], Message *problem);

/* Can a file of `bytes` bytes be written to `path`? Looks at the folder and at the free space. */
bool disk_has_room(const char *path, uint64_t bytes, Message *problem);

/* <path>.<host>-<process>.tmp: a name that no other job has. */
void disk_temporary_of(const char *path, char temporary[DISK_PATH_SIZE]);

/* Removes what killed jobs left in a folder: files whose names end in ".tmp" and begin with `start`. The caller knows
   that no other job writes such files there. */
void disk_remove_temporaries(const char *folder, const char *start);

/* All bytes of a file, or of a pipe, with a zero behind them, which the caller frees. NULL when it cannot be opened or read,
   or has more than `most` bytes; `cause` is then why, in a few words: the name and the remedy are for the caller to say. */
char *disk_read_all(const char *path, size_t most, size_t *length, Message *cause);

/* All `count` bytes at `offset`. False with errno set. */
bool disk_write_at(int descriptor, const void *bytes, size_t count, uint64_t offset);

/* Brings a file that was written and closed to the disk itself. */
bool disk_sync(const char *path, Message *problem);

/* Gives the file `temporary` its final name, replacing one that has it, and brings the change to disk. */
bool disk_rename(const char *temporary, const char *path, Message *problem);

/* Gives `count` files that belong together their final names, all or none; where a temporary name is NULL the file is
   only removed. Earlier files get out of the way first, so that new ones never stand beside old ones: when one cannot be
   named they come back; a program that is killed meanwhile leaves them as <path>.earlier.<host>-<process>.tmp. */
bool disk_rename_all(const char *const *temporaries, const char *const *paths, int count, Message *problem);

/* Removes a file. */
bool disk_remove(const char *path, Message *problem);

/* Brings what was printed into `file` to disk and closes it. Messages call it `path`, which may be the name it is to get. */
bool disk_close(FILE *file, const char *path, Message *problem);

/* Opens a file to print into that is to take the place of `path`: under its temporary name, until disk_replace() brings it to
   disk, closes and renames it, or disk_abandon() closes and removes it. When anything fails the old file is untouched and the
   temporary removed. NULL with a message, also when `path` is there and no file that can be replaced: a folder, a device. */
FILE *disk_create(const char *path, Message *problem);
bool disk_replace(FILE *file, const char *path, Message *problem);
void disk_abandon(FILE *file, const char *path);

#endif
