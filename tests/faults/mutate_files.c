/* Damages a file of ours in many random ways and reads each result whole, in a process of its own.

       mutate_files checkpoint|tokens COUNT [SEED] [FIRST]

   Every damaged file must be refused with a message, or be read as if nothing had happened (the damage hit bytes that
   belong to nothing). Exit code 0 when none was accepted with other values, none crashed in code of ours, and none took
   longer than the time limit. A crash inside the HDF5 library, which has known ones, is counted apart. Built with the
   address and undefined-behaviour sanitizers (make VARIANT=asan), whose reports say where a crash was. The same
   arguments do the same; FIRST is the number of the first mutation, to look at one alone. */
#define _GNU_SOURCE /* memfd_create */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/h5.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "tests/faults/mutate.h"
#include "tests/faults/seed_files.h"

enum { TIME_LIMIT_SECONDS = 20, LOG_SIZE = 1 << 16, EXAMPLES = 5 };

typedef enum Outcome { REFUSED, HARMLESS, ACCEPTED_WRONGLY, CRASHED_HERE, CRASHED_IN_LIBRARY, HUNG, OUTCOMES } Outcome;

static const char *const outcome_names[OUTCOMES] = {
    "refused", "harmless", "accepted wrongly", "crashed in ours", "crashed in the library", "hung"};

/* What the reading process leaves for the one that waits for it. */
typedef struct Report {
    bool finished, accepted, late;
    uint64_t digest;
    Message problem;
} Report;

static Report *report; /* shared with the child */

/* The sanitizers' defaults for this program: big requests fail as they would without them; a signal is reported. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=4096:handle_abort=1:abort_on_error=0";
}

/* Ends in abort(), so that the sanitizer shows where the time went. */
static void on_alarm(int signal_number)
{
    (void)signal_number;
    report->late = true;
    abort();
}

static _Noreturn void read_in_child(const SeedKind *kind, const char *path, int log)
{
    dup2(log, STDERR_FILENO);
    signal(SIGALRM, on_alarm);
    alarm(TIME_LIMIT_SECONDS);
    report->accepted = kind->read(path, &report->digest, &report->problem);
    CHECK(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL) == 0, "the readers left something open");
    report->finished = true;
    _exit(EXIT_SUCCESS); /* no library is shut down here: that is the end of a program, not of reading */
}

static void rewrite(int file, const void *data, size_t count)
{
    bool good = ftruncate(file, 0) == 0 && pwrite(file, data, count, 0) == (ssize_t)count;
    CHECK(good, "cannot write %zu bytes in memory", count);
}

/* Whose the crash is: the first line of a stack in `log` that is in HDF5, or in a source file of ours; "" when there is
   none. What lies above it belongs to the sanitizer and to libc. */
static void crashing_frame(const char *log, char frame[160])
{
    static const char *const places[] = {"libhdf5", " io/", " src/", " mpi/", " tests/"};
    frame[0] = 0;
    for (const char *line = strstr(log, "    #0 "); line && strncmp(line, "    #", 5) == 0;) {
        size_t length = strcspn(line, "\n");
        snprintf(frame, 160, "%.*s", (int)length, line + 4);
        for (size_t i = 0; i < sizeof places / sizeof *places && !strstr(frame, "on_alarm"); i++)
            if (strstr(frame, places[i])) return;
        line += length + (line[length] != 0);
    }
    frame[0] = 0;
}

static Outcome judge(const char *log, uint64_t original, char frame[160])
{
    crashing_frame(log, frame);
    if (report->late) return HUNG;
    if (!report->finished) return strstr(frame, "libhdf5") ? CRASHED_IN_LIBRARY : CRASHED_HERE;
    if (!report->accepted) return REFUSED;
    return report->digest == original ? HARMLESS : ACCEPTED_WRONGLY;
}

/* Reads the file in a child; what it says on standard error ends up in `text`. */
static void read_apart(const SeedKind *kind, const char *path, int log, char text[LOG_SIZE])
{
    rewrite(log, "", 0);
    lseek(log, 0, SEEK_SET);
    memset(report, 0, sizeof *report);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0, "cannot start a process");
    if (child == 0) read_in_child(kind, path, log);
    waitpid(child, NULL, 0);
    ssize_t length = pread(log, text, LOG_SIZE - 1, 0);
    text[length > 0 ? length : 0] = 0;
}

/* MPI is started in a child: a process that has it should not fork. */
static Bytes make_seed(const SeedKind *kind, const char *path, int argc, char **argv)
{
    pid_t child = fork();
    CHECK(child >= 0, "cannot start a process");
    if (child == 0) {
        world_start(&argc, &argv);
        kind->write(path);
        world_stop();
        _exit(EXIT_SUCCESS);
    }
    int status = 0;
    waitpid(child, &status, 0);
    FILE *file = fopen(path, "r");
    CHECK(file && status == 0, "the %s to damage could not be made", kind->name);
    fseek(file, 0, SEEK_END);
    Bytes seed = {NULL, (size_t)ftell(file)};
    rewind(file);
    seed.data = checked_calloc(seed.count, 1);
    CHECK(fread(seed.data, 1, seed.count, file) == seed.count, "cannot read '%s'", path);
    fclose(file);
    return seed;
}

typedef struct Tally {
    size_t counts[OUTCOMES];
} Tally;

static bool bad(Outcome outcome) { return outcome == ACCEPTED_WRONGLY || outcome == CRASHED_HERE || outcome == HUNG; }

static void tell(size_t number, Outcome outcome, const char *description, const char *frame, const char *log)
{
    printf("    mutation %zu (%s): %s %s\n", number, description, outcome_names[outcome], frame);
    if (outcome == CRASHED_HERE || outcome == HUNG) printf("%.4000s\n", log);
}

static void run(const SeedKind *kind, Bytes seed, const char *path, size_t first, size_t count, uint64_t random_seed,
                Tally *tally)
{
    static char log_text[LOG_SIZE];
    char description[256], frame[160];
    int file = open(path, O_RDWR), log = memfd_create("log", 0);
    CHECK(file >= 0 && log >= 0, "cannot open '%s'", path);
    rewrite(file, seed.data, seed.count);
    read_apart(kind, path, log, log_text);
    CHECK(report->finished && report->accepted, "the undamaged %s is refused: %s %s", kind->name, report->problem.text,
          log_text);
    uint64_t original = report->digest;
    for (size_t i = first; i < first + count; i++) {
        Bytes damaged = mutate(seed, random_seed, i, description);
        rewrite(file, damaged.data, damaged.count);
        free(damaged.data);
        read_apart(kind, path, log, log_text);
        Outcome outcome = judge(log_text, original, frame);
        size_t seen = tally->counts[outcome]++;
        if ((bad(outcome) || outcome == CRASHED_IN_LIBRARY) && seen < EXAMPLES)
            tell(i, outcome, description, frame, log_text);
    }
    close(log);
    close(file);
}

int main(int argc, char **argv)
{
    const SeedKind *kind = argc > 2 ? seed_kind_named(argv[1]) : NULL;
    if (!kind) {
        fprintf(stderr, "usage: mutate_files checkpoint|tokens COUNT [SEED] [FIRST]\n");
        return 2;
    }
    size_t count = strtoull(argv[2], NULL, 10), first = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    uint64_t random_seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(report != MAP_FAILED, "no shared memory");
    char path[256];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/polysketch-damaged-%d.h5", folder ? folder : "/tmp", (int)getpid());
    Bytes seed = make_seed(kind, path, argc, argv);
    h5_start(); /* once, for all children */
    Tally tally = {{0}};
    run(kind, seed, path, first, count, random_seed, &tally);
    unlink(path);
    bool good = true;
    printf("%s (%zu bytes): %zu mutations", kind->name, seed.count, count);
    for (int i = 0; i < OUTCOMES; i++) {
        printf(", %zu %s", tally.counts[i], outcome_names[i]);
        good = good && (!bad((Outcome)i) || tally.counts[i] == 0);
    }
    printf("\n");
    free(seed.data);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
