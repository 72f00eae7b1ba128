#include "src/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static bool speaker = true, use_standard_error = false;
static FILE *log_file = NULL;

void log_set_speaker(bool speaks) { speaker = speaks; }

bool log_speaks(void) { return speaker; }

bool log_open_file(const char *path)
{
    log_file = fopen(path, "a");
    return log_file != NULL;
}

static void write_line(FILE *file, const char *format, va_list arguments)
{
    flockfile(file);
    vfprintf(file, format, arguments);
    fputc('\n', file);
    fflush(file);
    funlockfile(file);
}

void log_use_standard_error(void) { use_standard_error = true; }

void log_line(const char *format, ...)
{
    if (!speaker) return;
    va_list arguments;
    va_start(arguments, format);
    write_line(use_standard_error ? stderr : stdout, format, arguments);
    va_end(arguments);
    if (!log_file) return;
    va_start(arguments, format);
    write_line(log_file, format, arguments);
    va_end(arguments);
}

const char *log_duration(double seconds, char text[32])
{
    long whole = (long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(text, 32, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
    else if (whole >= 60)
        snprintf(text, 32, "%ldm%02lds", whole / 60, whole % 60);
    else
        snprintf(text, 32, "%lds", whole);
    return text;
}

const char *log_clock(double seconds_from_now, char text[32])
{
    enum { DAY = 86400 };
    const char *format = seconds_from_now < DAY ? "%H:%M" : seconds_from_now < 7 * DAY ? "%a %H:%M" : "%d %b";
    time_t then = time(NULL) + (time_t)seconds_from_now;
    struct tm parts;
    if (!localtime_r(&then, &parts) || strftime(text, 32, format, &parts) == 0) snprintf(text, 32, "-");
    return text;
}

const char *log_bytes(double bytes, char text[32])
{
    if (bytes >= 1e9)
        snprintf(text, 32, "%.2f GB", bytes / 1e9);
    else if (bytes >= 1e6)
        snprintf(text, 32, "%.1f MB", bytes / 1e6);
    else
        snprintf(text, 32, "%.1f kB", bytes / 1e3);
    return text;
}
