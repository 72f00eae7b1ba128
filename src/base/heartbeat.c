#include "src/base/heartbeat.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/usage.h"

enum { LONGEST_PAUSE = 600 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stopping = PTHREAD_COND_INITIALIZER;
static pthread_t thread;

/* Under the lock, but for what heartbeat_start() sets before there is a thread. */
static struct {
    bool running;
    double seconds;
    const char *(*place)(void);
    char what[64]; /* "": nothing is under way */
    double since;  /* usage_seconds() */
    double next;   /* what it has to last for the next line */
} watched;

static void say_if_long(void)
{
    double lasted = usage_seconds() - watched.since;
    char text[32];
    if (!watched.what[0] || lasted < watched.next) return;
    log_line("%s | under way for %s | now: %s", watched.what, log_duration(lasted, text), watched.place());
    watched.next = fmin(2 * lasted, lasted + LONGEST_PAUSE);
}

/* Looks from time to time rather than being told of every step: a step costs its process two locks and nothing else. */
static void *look(void *unused)
{
    (void)unused;
    double pause = watched.seconds / 4;
    pthread_mutex_lock(&lock);
    while (watched.running) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        double end = (double)until.tv_nsec * 1e-9 + pause;
        until.tv_sec += (time_t)floor(end);
        until.tv_nsec = (long)((end - floor(end)) * 1e9);
        pthread_cond_timedwait(&stopping, &lock, &until);
        say_if_long();
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

void heartbeat_start(double seconds, const char *(*place)(void))
{
    if (seconds <= 0) return;
    watched.running = true;
    watched.seconds = seconds;
    watched.place = place;
    sigset_t all, before; /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    bool started = pthread_create(&thread, NULL, look, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) return;
    watched.running = false;
    error_say("warning: no thread can be started that would tell when a step takes long");
}

void heartbeat_stop(void)
{
    if (!watched.running) return;
    pthread_mutex_lock(&lock);
    watched.running = false;
    watched.what[0] = 0;
    pthread_cond_signal(&stopping);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
}

void heartbeat_begin(const char *format, ...)
{
    if (!watched.running) return;
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&lock);
    vsnprintf(watched.what, sizeof watched.what, format, arguments);
    watched.since = usage_seconds();
    watched.next = watched.seconds;
    pthread_mutex_unlock(&lock);
    va_end(arguments);
}

void heartbeat_end(void)
{
    if (!watched.running) return;
    pthread_mutex_lock(&lock);
    watched.what[0] = 0;
    pthread_mutex_unlock(&lock);
}
