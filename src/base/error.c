#include "src/base/error.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void exit_this_process(void) { exit(EXIT_FAILURE); }

/* Where die_at() goes instead of ending the job. */
typedef struct ErrorReturn {
    jmp_buf place;
    Message problem;
} ErrorReturn;

static ErrorExitHook exit_hook = exit_this_process;
static int my_rank = 0, rank_count = 1;
static _Thread_local ErrorReturn *returning;

void error_set_exit_hook(ErrorExitHook hook) { exit_hook = hook ? hook : exit_this_process; }

void error_set_rank(int rank, int size)
{
    my_rank = rank;
    rank_count = size;
}

bool error_catch(ErrorWork *work, void *context, Message *problem)
{
    ErrorReturn here, *outer = returning;
    bool good = false;
    returning = &here;
    if (setjmp(here.place) == 0)
        good = work(context, problem);
    else
        *problem = here.problem;
    returning = outer;
    return good;
}

bool fail(Message *message, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message->text, sizeof message->text, format, arguments);
    va_end(arguments);
    return false;
}

/* One write() call, so that the lines of several ranks never mix. */
static void write_line(const char *place, const char *format, va_list arguments)
{
    char line[2048];
    size_t length = 0, room = sizeof line - 1; /* the newline always fits */
    length += (size_t)snprintf(line, room, "polysketch: ");
    if (rank_count > 1) length += (size_t)snprintf(line + length, room - length, "rank %d/%d: ", my_rank, rank_count);
    length += (size_t)snprintf(line + length, room - length, "%s", place);
    length += (size_t)vsnprintf(line + length, room - length, format, arguments);
    if (length > room - 1) length = room - 1;
    line[length++] = '\n';
    fflush(stdout);
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written; /* nothing is left to do when standard error is gone */
}

void error_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line("", format, arguments);
    va_end(arguments);
}

static _Noreturn void jump_back(const char *place, const char *format, va_list arguments)
{
    Message *problem = &returning->problem;
    int length = snprintf(problem->text, sizeof problem->text, "%s", place);
    vsnprintf(problem->text + length, sizeof problem->text - (size_t)length, format, arguments);
    longjmp(returning->place, 1);
}

void die_at(const char *file, int line, const char *format, ...)
{
    char place[256];
    snprintf(place, sizeof place, "%s:%d: ", file, line);
    va_list arguments;
    va_start(arguments, format);
    if (returning && !omp_in_parallel()) jump_back(place, format, arguments);
    write_line(place, format, arguments);
    va_end(arguments);
    exit_hook();
    abort(); /* a hook that returns is a bug; do not run on */
}
