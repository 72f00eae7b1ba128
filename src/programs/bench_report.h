/* The rows of polysketch bench in CSV files, and the profile of a row. Rank 0 alone writes; files are NULL when not asked for. */
#ifndef POLYSKETCH_PROGRAMS_BENCH_REPORT_H
#define POLYSKETCH_PROGRAMS_BENCH_REPORT_H

#include <stdio.h>

#include "src/base/facts.h"
#include "src/programs/bench_cases.h"

typedef struct BenchFiles {
    FILE *rows, *profile;
} BenchFiles;

/* Opens the files whose paths are not empty, to append to. Leaves together when one cannot be written. Collective. */
BenchFiles bench_files_open(const char *rows_path, const char *profile_path);
void bench_files_close(BenchFiles *files);

void bench_report_row(const BenchFiles *files, const Config *config, const char *what, const BenchRow *row,
                      int64_t repeats);
/* Also as facts: a line for each phase, in JSON a list "phases". */
void bench_report_profile(const BenchFiles *files, const Config *config, const char *what, const BenchRow *row,
                          Facts *facts);

#endif
