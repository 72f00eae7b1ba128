#define _GNU_SOURCE
#include "src/train/stop.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "mpi/world.h"
#include "src/base/usage.h"

static volatile sig_atomic_t stop_signals, save_signals, interrupts;
static double program_start;

static void on_stop(int number)
{
    if (number == SIGINT && interrupts++) { /* at a keyboard, twice means now */
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    stop_signals = 1;
}

static void on_save(int number)
{
    (void)number;
    save_signals = 1;
}

static void catch_signal(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

void stop_catch_signals(void)
{
    program_start = usage_seconds();
    catch_signal(SIGTERM, on_stop);
    catch_signal(SIGINT, on_stop);
    catch_signal(SIGUSR1, on_stop);
    catch_signal(SIGUSR2, on_save);
}

static bool stop_file_exists(const Config *config)
{
    char path[OPTION_TEXT_SIZE + 8];
    snprintf(path, sizeof path, "%s/STOP", config->output.folder);
    return access(path, F_OK) == 0;
}

bool stop_check_file(const Config *config, Message *problem)
{
    return !stop_file_exists(config) ||
           fail(problem, "'%s/STOP' asks this run to stop. Remove that file to go on", config->output.folder);
}

/* Would another step and its checkpoint end too late? */
static bool time_is_up(const StopClock *clock)
{
    double limit = 60 * clock->config->output.stop_after_minutes, used = usage_seconds() - program_start;
    return limit > 0 && used + clock->longest_step + clock->longest_save >= limit;
}

static bool save_is_due(const StopClock *clock)
{
    double every = 60 * clock->config->output.checkpoint_minutes;
    return every > 0 && usage_seconds() - clock->saved_seconds >= every;
}

void stop_wishes(const StopClock *clock, double wishes[WISHES])
{
    bool first = world().rank == 0;
    wishes[WISH_SIGNAL] = stop_signals;
    wishes[WISH_FILE] = first && stop_file_exists(clock->config);
    wishes[WISH_TIME] = first && time_is_up(clock);
    wishes[WISH_SAVE] = save_signals || (first && save_is_due(clock));
    save_signals = 0;
}

bool stop_wished(const StopClock *clock)
{
    bool first = world().rank == 0;
    return stop_signals || (first && (stop_file_exists(clock->config) || time_is_up(clock)));
}

const char *stop_cause(const double wishes[WISHES])
{
    static const char *const causes[] = {"a signal", "the file STOP", "output.stop_after_minutes"};
    for (int wish = WISH_SIGNAL; wish <= WISH_TIME; wish++)
        if (wishes[wish] > 0) return causes[wish];
    return NULL;
}
