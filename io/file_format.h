/* The formats of our files (docs/format.md) and how to tell them apart. */
#ifndef POLYSKETCH_IO_FILE_FORMAT_H
#define POLYSKETCH_IO_FILE_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"

/* Values of the attribute `format` of a file. */
#define FORMAT_TOKENS "polysketch-tokens"
#define FORMAT_CHECKPOINT "polysketch-checkpoint"
#define FORMAT_METRICS "polysketch-metrics"
#define FORMAT_LOSSES "polysketch-losses"
#define FORMAT_STATE "polysketch-state"

/* The newest `format_version` this program writes and reads, for all of them. */
enum { FORMAT_VERSION = 1 };

/* What a file says it is. False with a message when it is no HDF5 file, or says nothing. */
bool file_format_read(const char *path, char format[64], int64_t *version, Message *problem);

/* The version of the HDF5 library that reads and writes them: "1.10.8". */
void file_format_library(char text[64]);
/* May the file be replaced by one of this format? One that is not there, empty, or of the same; else false with a message. */
bool file_format_may_replace(const char *path, const char *format, Message *problem);

#endif
