/* How the program ends when something is wrong.

   Three kinds of trouble, three tools:
   - ASSERT(condition): a bug of ours. Checked in debug builds only.
   - CHECK(condition, "cause and remedy", ...): the world (files, memory, libraries). Always checked. The rank that
     finds it speaks one line and ends the whole job through die_at().
   - A function that returns bool and fills a Message: trouble the caller can foresee (a wrong option, a missing
     file). The callers decide together with require_all() of mpi/world.h, so that one rank speaks and all leave. */
#ifndef POLYSKETCH_BASE_ERROR_H
#define POLYSKETCH_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* One line for the user: the cause and the remedy. */
typedef struct Message {
    char text[1024];
} Message;

/* Formats into `message` and returns false, so that a function can `return fail(message, ...)`. */
bool fail(Message *message, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Called by die_at() after its line is written; must not return. The default ends this process; mpi/world.c
   installs one that ends every rank. NULL restores the default. */
typedef void (*ErrorExitHook)(void);
void error_set_exit_hook(ErrorExitHook hook);

/* Returns what work(context, problem) does, or false where that would end the job: meanwhile die_at() of this thread says
   nothing, leaves its line in `problem` and comes back here. For a library, whose caller decides what an error ends, and for
   threads that have to tell the main one. What was allocated on the way is lost. Not from within a team of threads, which
   cannot be left so: there the process ends all the same. */
typedef bool ErrorWork(void *context, Message *problem);
bool error_catch(ErrorWork *work, void *context, Message *problem);

/* Names this process in error lines; the default is one process alone. */
void error_set_rank(int rank, int size);

/* Writes `polysketch: rank R/P: ...` (the rank only when there are several) as one line to standard error. */
void error_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes one line with its place in the source and ends the whole job. */
_Noreturn void die_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) die_at(__FILE__, __LINE__, __VA_ARGS__);                                                     \
    } while (0)

#ifdef DEBUG
#define ASSERT(condition) CHECK(condition, "internal error: %s is false. Please report this line", #condition)
#else
#define ASSERT(condition) ((void)sizeof(condition))
#endif

#endif
