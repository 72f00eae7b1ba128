#define _GNU_SOURCE
#include "io/run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/disk.h"
#include "src/base/memory.h"

enum { BEAT_SECONDS = 5, STALE_SECONDS = 60, PATIENCE_SECONDS = 5 };

/* Who holds a lock. Two processes can be compared only when their machine and process space are the same. */
typedef struct Owner {
    char host[65], space[128], job[32];
    int restart; /* how often Slurm has put the job back into the queue */
    long process;
    long long start; /* of the process, in clock ticks since the machine started: numbers of processes are used again */
} Owner;

struct RunLock {
    char path[DISK_PATH_SIZE], own[DISK_PATH_SIZE]; /* the lock, and the file that becomes it */
    Owner me;
    char text[512]; /* of both */
    pthread_t heart;
    pthread_mutex_t mutex;
    pthread_cond_t stopped;
    bool stopping;
};

/* ---- owners ---- */

/* What the system says of a process; false when it says nothing: there is none, or those of others are hidden. */
static bool read_process(long process, char *state, long long *start)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", process);
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file) fclose(file);
    text[length] = 0;
    char *field = strrchr(text, ')'); /* the name before it may contain anything */
    if (!field) return false;
    *state = field[2];
    for (int i = 0; field && i < 20; i++) field = strchr(field + 1, ' ');
    *start = field ? atoll(field) : 0;
    return field != NULL;
}

/* One that only waits for its parent has ended; another one of the same number is not it. */
static bool process_ended(const Owner *owner)
{
    char state;
    long long start;
    if (read_process(owner->process, &state, &start)) return state == 'Z' || state == 'X' || start != owner->start;
    return kill((pid_t)owner->process, 0) && errno == ESRCH;
}

/* This run of this machine, and within it the space of process numbers (containers have their own). */
static void process_space(char *text, size_t size)
{
    char boot[40] = "", space[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (file && fgets(boot, sizeof boot, file)) boot[strcspn(boot, "\n")] = 0;
    if (file) fclose(file);
    ssize_t length = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    snprintf(text, size, "%s %.*s", boot, length > 0 ? (int)length : 0, space);
}

static Owner this_process(void)
{
    Owner owner = {.process = (long)getpid()};
    gethostname(owner.host, sizeof owner.host - 1);
    process_space(owner.space, sizeof owner.space);
    const char *job = getenv("SLURM_JOB_ID"), *restart = getenv("SLURM_RESTART_COUNT");
    snprintf(owner.job, sizeof owner.job, "%s", job ? job : "none");
    owner.restart = restart ? atoi(restart) : 0;
    char state;
    read_process(owner.process, &state, &owner.start);
    return owner;
}

static void owner_format(const Owner *owner, char *text, size_t size)
{
    snprintf(text, size, "host %s\nprocess %ld\nslurm_job %s\nslurm_restart %d\nprocess_start %lld\nprocess_space %s\n",
             owner->host, owner->process, owner->job, owner->restart, owner->start, owner->space);
}

static bool owner_parse(const char *text, Owner *owner)
{
    *owner = (Owner){.process = 0};
    return sscanf(text,
                  "host %64s\nprocess %ld\nslurm_job %31s\nslurm_restart %d\nprocess_start %lld\n"
                  "process_space %127[^\n]",
                  owner->host, &owner->process, owner->job, &owner->restart, &owner->start, owner->space) == 6;
}

/* ---- the file ---- */

static bool read_file(const char *path, char text[512], struct timespec *touched)
{
    struct stat status;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    ssize_t length = read(descriptor, text, 511);
    bool known = fstat(descriptor, &status) == 0;
    close(descriptor);
    text[length > 0 ? length : 0] = 0;
    if (known) *touched = status.st_mtim;
    return known;
}

typedef enum Holder { HELD_BY_US, HELD_BY_OTHERS, HELD_BY_NOBODY, HOLDER_UNKNOWN } Holder;

static Holder holder_of(const RunLock *lock)
{
    char text[512];
    struct timespec touched;
    if (!read_file(lock->path, text, &touched)) return errno == ENOENT ? HELD_BY_NOBODY : HOLDER_UNKNOWN;
    return strcmp(text, lock->text) == 0 ? HELD_BY_US : HELD_BY_OTHERS;
}

/* A file of our own with our text; its time is what the file system calls now. */
static bool write_own(const RunLock *lock, struct timespec *now)
{
    struct stat status;
    int descriptor = open(lock->own, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) return false;
    bool good = disk_write_at(descriptor, lock->text, strlen(lock->text), 0) && fstat(descriptor, &status) == 0;
    if (close(descriptor)) good = false;
    if (good) *now = status.st_mtim;
    return good;
}

/* ---- taking it ---- */

/* A lock that stands in the way. */
typedef struct Found {
    char text[512];
    Owner owner;
    bool known; /* the text is that of an owner */
    struct timespec now, touched;
    double silent_seconds; /* from touched to now, both by the clock of the file system */
} Found;

static bool look(const char *path, Found *found)
{
    if (!read_file(path, found->text, &found->touched)) return false;
    found->known = owner_parse(found->text, &found->owner);
    found->silent_seconds = (double)(found->now.tv_sec - found->touched.tv_sec) +
                            1e-9 * (double)(found->now.tv_nsec - found->touched.tv_nsec);
    return true;
}

/* Can we look at the owner's process? */
static bool is_near(const RunLock *lock, const Found *found)
{
    return found->known && strcmp(found->owner.space, lock->me.space) == 0;
}

static bool is_gone(const RunLock *lock, const Found *found)
{
    const Owner *me = &lock->me, *owner = &found->owner;
    if (is_near(lock, found)) return process_ended(owner);
    bool requeued =
        found->known && strcmp(me->job, "none") && strcmp(me->job, owner->job) == 0 && me->restart > owner->restart;
    return requeued || found->silent_seconds > STALE_SECONDS;
}

/* Removes the lock that was judged, and no other that may have taken its place meanwhile. */
static void remove_stale(const RunLock *lock, const char *judged)
{
    char moved[DISK_PATH_SIZE + 8], text[512];
    struct timespec touched;
    snprintf(moved, sizeof moved, "%s.old", lock->own); /* no name that a clean-up of others matches */
    if (!read_file(lock->path, text, &touched) || strcmp(text, judged) || rename(lock->path, moved)) return;
    if (read_file(moved, text, &touched) && strcmp(text, judged) && link(moved, lock->path))
        error_say("warning: '%s' was taken by another job at this moment", lock->path);
    unlink(moved);
}

static void say_owner(const RunLock *lock, const Found *found, Message *problem)
{
    const Owner *owner = &found->owner;
    bool slurm = strcmp(owner->job, "none") != 0;
    if (!found->known) {
        fail(problem,
             "'%s' is no lock of this program, or is being written. If no job trains in this folder, remove it",
             lock->path);
        return;
    }
    fail(problem,
         "'%s' is held by process %ld on %s%s%s, alive %.0f s ago: another job trains in this folder. Wait for it, end "
         "it, "
         "or choose another output.folder",
         lock->path, owner->process, owner->host, slurm ? ", Slurm job " : "", slurm ? owner->job : "",
         found->silent_seconds > 0 ? found->silent_seconds : 0);
}

/* Makes the lock where there is none. It never replaces one: of several jobs one succeeds. */
static bool make_lock(const RunLock *lock)
{
    if (link(lock->own, lock->path) == 0) return true;
    int cause = errno;
    if (cause == EEXIST && holder_of(lock) == HELD_BY_US)
        return true; /* the answer to an earlier try was lost on its way */
    errno = cause;
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) return false;
    int descriptor = open(lock->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); /* file systems without links */
    if (descriptor < 0) return false;
    bool written = disk_write_at(descriptor, lock->text, strlen(lock->text), 0);
    return close(descriptor) == 0 && written;
}

typedef enum Attempt { LOCK_TAKEN, LOCK_IN_THE_WAY, LOCK_IMPOSSIBLE } Attempt;

/* `found` is filled when a lock is in the way whose owner may be alive. */
static Attempt attempt(RunLock *lock, Found *found, Message *problem)
{
    *found = (Found){.known = false};
    if (!write_own(lock, &found->now)) {
        fail(problem, "cannot write '%s': %s. Choose a writable output.folder", lock->own, strerror(errno));
        return LOCK_IMPOSSIBLE;
    }
    if (make_lock(lock)) return LOCK_TAKEN;
    if (errno != EEXIST &&
        errno != ENOENT) { /* ENOENT: whoever was here before us removed our file with the stale ones */
        fail(problem, "cannot make '%s': %s. Choose another output.folder", lock->path, strerror(errno));
        return LOCK_IMPOSSIBLE;
    }
    fail(problem, "'%s' is contended by other jobs. Try again, or choose another output.folder", lock->path);
    if (!look(lock->path, found)) return LOCK_IN_THE_WAY; /* just released */
    if (is_gone(lock, found))
        remove_stale(lock, found->text);
    else
        say_owner(lock, found, problem);
    return LOCK_IN_THE_WAY;
}

/* Is it worth waiting for the lock? A near owner may be about to end; a far one shows that it is alive by touching its
   lock. */
static bool worth_waiting(const RunLock *lock, const Found *first, const Found *now, double waited_seconds)
{
    bool touched = first->touched.tv_sec != now->touched.tv_sec || first->touched.tv_nsec != now->touched.tv_nsec;
    bool same_owner = strcmp(first->text, now->text) == 0;
    if (!now->text[0] || is_near(lock, now)) return waited_seconds < PATIENCE_SECONDS;
    return waited_seconds < STALE_SECONDS + PATIENCE_SECONDS && !(same_owner && touched);
}

/* ---- the heart ---- */

static void *beat(void *argument)
{
    RunLock *lock = argument;
    pthread_mutex_lock(&lock->mutex);
    while (!lock->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += BEAT_SECONDS;
        pthread_cond_timedwait(&lock->stopped, &lock->mutex, &until);
        if (!lock->stopping && holder_of(lock) == HELD_BY_US) utimensat(AT_FDCWD, lock->path, NULL, 0);
    }
    pthread_mutex_unlock(&lock->mutex);
    return NULL;
}

/* Signals are for the threads that train. */
static void start_heart(RunLock *lock)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_condattr_t steady; /* not moved when somebody sets the clock */
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&lock->stopped, &steady);
    pthread_condattr_destroy(&steady);
    int cause = pthread_create(&lock->heart, NULL, beat, lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    CHECK(cause == 0, "cannot start a thread: %s", strerror(cause));
}

/* However the program ends, but for a crash, the lock goes with it. */
static RunLock *held;

static void release_held(void) { run_lock_release(held); }

RunLock *run_lock_take(const char *folder, Message *problem)
{
    RunLock *lock = checked_calloc(1, sizeof *lock);
    lock->me = this_process();
    snprintf(lock->path, sizeof lock->path, "%s/lock", folder);
    disk_temporary_of(lock->path, lock->own);
    owner_format(&lock->me, lock->text, sizeof lock->text);
    Found first, found;
    Attempt outcome = attempt(lock, &first, problem);
    found = first;
    for (int tenths = 0; outcome == LOCK_IN_THE_WAY && worth_waiting(lock, &first, &found, 0.1 * tenths); tenths++) {
        nanosleep(&(struct timespec){0, 100 * 1000 * 1000}, NULL);
        outcome = attempt(lock, &found, problem);
    }
    unlink(lock->own);
    if (outcome == LOCK_TAKEN) {
        start_heart(lock);
        held = lock;
        atexit(release_held);
        return lock;
    }
    free(lock);
    return NULL;
}

bool run_lock_held(const RunLock *lock, Message *problem)
{
    struct timespec now;
    Holder holder = holder_of(lock);
    if (holder == HELD_BY_NOBODY && write_own(lock, &now)) { /* somebody removed it: it is made again */
        bool made = make_lock(lock);
        unlink(lock->own);
        if (!made && errno == EEXIST) holder = holder_of(lock);
    }
    return holder != HELD_BY_OTHERS || fail(problem,
                                            "'%s' was taken over by another job, as when this one stands still for "
                                            "more than %d s. This one ends without "
                                            "writing; the other goes on",
                                            lock->path, STALE_SECONDS);
}

void run_lock_release(RunLock *lock)
{
    if (!lock) return;
    held = NULL;
    pthread_mutex_lock(&lock->mutex);
    lock->stopping = true;
    pthread_cond_signal(&lock->stopped);
    pthread_mutex_unlock(&lock->mutex);
    pthread_join(lock->heart, NULL);
    if (holder_of(lock) == HELD_BY_US) unlink(lock->path);
    pthread_mutex_destroy(&lock->mutex);
    pthread_cond_destroy(&lock->stopped);
    free(lock);
}
