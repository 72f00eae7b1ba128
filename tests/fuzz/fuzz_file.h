/* Files of any bytes, read by every reader of one of our formats. */
#ifndef POLYSKETCH_TESTS_FUZZ_FUZZ_FILE_H
#define POLYSKETCH_TESTS_FUZZ_FUZZ_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Writes the bytes into a file of this process and reads it as the kind of that name (tests/faults/seed_files.h). A
   reader that ends the process is a crash. */
void fuzz_file(const char *kind, const uint8_t *data, size_t size);

/* The name of a file of this process with these bytes, for who reads it otherwise; unlink() it. */
const char *fuzz_file_write(const uint8_t *data, size_t size);

#endif
