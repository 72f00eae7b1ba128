/* The lock of a run folder: one owner at a time; owners that are gone are found out, whatever machine they were on. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/run_lock.h"
#include "mpi/world.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

static const char *folder(const char *name)
{
    const char *path = scratch_path(name);
    mkdir(path, 0777);
    return path;
}

static void expect_refused(const char *path, const char *words)
{
    Message problem = {""};
    RunLock *lock = run_lock_take(path, &problem);
    check_true(!lock && strstr(problem.text, words), "'%s' says: %s", problem.text, words);
    run_lock_release(lock);
}

static void expect_taken(const char *path)
{
    Message problem = {""};
    RunLock *lock = run_lock_take(path, &problem);
    check_true(lock != NULL && run_lock_held(lock, &problem), "taken: %s", problem.text);
    run_lock_release(lock);
    char file[600];
    snprintf(file, sizeof file, "%s/lock", path);
    check_true(access(file, F_OK) != 0, "released");
}

/* A process that takes the lock, says so, and waits to be killed. */
static pid_t start_owner(const char *path)
{
    int ready[2];
    char byte = 0;
    Message problem;
    check_true(pipe(ready) == 0, "a pipe");
    pid_t child = fork();
    if (child == 0) {
        byte = run_lock_take(path, &problem) != NULL;
        if (write(ready[1], &byte, 1) == 1) pause();
        _exit(1);
    }
    check_true(read(ready[0], &byte, 1) == 1 && byte == 1, "the other process has it");
    close(ready[0]), close(ready[1]);
    return child;
}

static void test_another_process(void)
{
    const char *path = folder("process");
    pid_t child = start_owner(path);
    char words[64];
    snprintf(words, sizeof words, "held by process %ld", (long)child);
    expect_refused(path, words);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    expect_taken(path); /* it left its lock behind */
}

/* A lock from somewhere else, last touched so many seconds ago. */
static void write_foreign(const char *name, int silent_seconds)
{
    char file[64];
    const char *text =
        "host elsewhere\nprocess 4711\nslurm_job 17\nslurm_restart 1\nprocess_start 5\nprocess_space other boot\n";
    snprintf(file, sizeof file, "%s/lock", name);
    scratch_write(file, text, strlen(text));
    struct timespec times[2];
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= silent_seconds;
    times[1] = times[0];
    utimensat(AT_FDCWD, scratch_path(file), times, 0);
}

/* Touches the file once a second, as the heart of a living owner does. */
static pid_t start_heart(const char *file)
{
    pid_t child = fork();
    if (child != 0) return child;
    for (int i = 0; i < 20; i++) {
        sleep(1);
        utimensat(AT_FDCWD, file, NULL, 0);
    }
    _exit(0);
}

static void test_another_machine(void)
{
    const char *path = folder("machine");
    write_foreign("machine", 61);
    expect_taken(path); /* silent for a minute */
    write_foreign("machine", 2);
    pid_t heart = start_heart(scratch_path("machine/lock"));
    expect_refused(path, "on elsewhere, Slurm job 17");
    kill(heart, SIGKILL);
    waitpid(heart, NULL, 0);
}

static void test_requeued(void)
{
    const char *path = folder("requeued");
    write_foreign("requeued", 2);
    setenv("SLURM_JOB_ID", "17", 1);
    setenv("SLURM_RESTART_COUNT", "2", 1);
    expect_taken(path); /* the same job, started once more */
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
}

static void test_while_held(void)
{
    const char *path = folder("held");
    Message problem = {""};
    RunLock *lock = run_lock_take(path, &problem);
    check_true(lock != NULL, "taken: %s", problem.text);
    unlink(scratch_path("held/lock"));
    check_true(run_lock_held(lock, &problem) && access(scratch_path("held/lock"), F_OK) == 0, "made again: %s",
               problem.text);
    write_foreign("held", 2);
    check_true(!run_lock_held(lock, &problem) && strstr(problem.text, "taken over"), "'%s'", problem.text);
    run_lock_release(lock);
    check_true(access(scratch_path("held/lock"), F_OK) == 0, "the lock of the other stays");
}

int main(int argc, char **argv)
{
    static const TestCase tests[] = {
        {"another process", test_another_process},
        {"another machine", test_another_machine},
        {"the same job again", test_requeued},
        {"while it is held", test_while_held},
    };
    static const Suite suites[] = {SUITE("run lock", tests)};
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_run_lock", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
