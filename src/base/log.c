#include "src/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static bool speaker = true;
static FILE *log_file = NULL;

void log_set_speaker(bool speaks) { speaker = speaks; }

bool log_open_file(const char *path)
{
    log_file = fopen(path, "a");
    return log_file != NULL;
}

static void write_line(FILE *file, const char *format, va_list arguments)
{
    vfprintf(file, format, arguments);
    fputc('\n', file);
    fflush(file);
}

void log_line(const char *format, ...)
{
    if (!speaker) return;
    va_list arguments;
    va_start(arguments, format);
    write_line(stdout, format, arguments);
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
