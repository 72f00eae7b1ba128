/* A folder of its own for the files of a test program. */
#ifndef POLYSKETCH_TESTS_HARNESS_SCRATCH_H
#define POLYSKETCH_TESTS_HARNESS_SCRATCH_H

/* Makes an empty folder under $TMPDIR (or /tmp), the same for all ranks. Collective. */
void scratch_make(void);

/* Its path with "/" and `name` after it. The text is valid until the eighth call after this one. */
const char *scratch_path(const char *name);

/* Writes `text` into the file `name`, replacing it. */
void scratch_write(const char *name, const void *bytes, unsigned long count);

/* Flips the lowest bit of the first float32 in the file `path` that is `value`. */
void scratch_flip_value(const char *path, float value);

/* No file may grow beyond `bytes` from now on: to a program that is what a full disk looks like. And without a limit again. */
void scratch_limit_files(unsigned long bytes);
void scratch_unlimit_files(void);

/* Removes the folder with all that is in it. Collective. */
void scratch_remove(void);

#endif
