/* What a user reads while the program runs: lines of rank 0 on standard output and, for a run, in its log file. */
#ifndef POLYSKETCH_BASE_LOG_H
#define POLYSKETCH_BASE_LOG_H

#include <stdbool.h>

/* Only the process that speaks prints; the default is to speak. */
void log_set_speaker(bool speaks);
bool log_speaks(void);

/* Lines also go to the end of this file, until the program ends. False when it cannot be written. */
bool log_open_file(const char *path);

/* Lines go to standard error instead of standard output, which then is for a document. */
void log_use_standard_error(void);

/* One line, whole also when threads write at the same time; the newline is added. Flushed at once, so that a job's output can be
   followed. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "1h02m", "3m20s", "12s": for people. */
const char *log_duration(double seconds, char text[32]);

/* When that will be by the clock of this machine: "14:32", later than in a day "Fri 14:32", in a week "27 Nov". */
const char *log_clock(double seconds_from_now, char text[32]);

/* "1.23 GB", "45.0 MB": for people. */
const char *log_bytes(double bytes, char text[32]);

#endif
