#define _GNU_SOURCE
#include "mpi/world.h"

#include <limits.h>
#include <mpi.h>
#include <omp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mpi/node.h"
#include "src/base/denormals.h"
#include "src/base/memory.h"

static World the_world = {0, 1};

static struct {
    WorldLeaveHook hook;
    void *context;
} leaving;

/* MPI_Abort of Open MPI adds lines of its own, which a process alone can spare its user. */
static void abort_every_rank(void)
{
    if (the_world.size == 1) _exit(EXIT_FAILURE);
    MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
}

/* Open MPI's mpirun, and what hands ranks to srun. */
static bool has_launcher(void)
{
    static const char *const given[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD"};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (getenv(given[i])) return true;
    return false;
}

/* Otherwise Open MPI 4 starts a launcher beside the process, whose end it may trip over, and makes a folder of files for other
   ranks, which all processes of a user that are alone share: one that starts fails when one that ends removes it. */
static void settle_alone(void)
{
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    setenv("OMPI_MCA_orte_create_session_dirs", "0", 0);
}

World world_start(int *argc, char ***argv)
{
    signal(SIGXFSZ,
           SIG_IGN); /* a file that grows beyond ulimit -f is an error of write(), not the end of the process */
    if (!has_launcher()) settle_alone();
    /* Sums under way in place go up and down a tree otherwise, where the first rank passes on whole messages, 2 log P of them; by
       halves (Rabenseifner) all ranks pass on as much, two messages. */
    setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "3", 0);
    denormals_flush(); /* before any other thread starts */
    int provided;
    if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided)) die_at(__FILE__, __LINE__, "MPI does not start");
    error_set_exit_hook(abort_every_rank);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); /* inherited by communicators made from it */
    CHECK_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &the_world.rank));
    CHECK_MPI(MPI_Comm_size(MPI_COMM_WORLD, &the_world.size));
    error_set_rank(the_world.rank, the_world.size);
    return the_world;
}

void world_stop(void)
{
    fflush(stdout);
    MPI_Finalize();
    error_set_exit_hook(NULL);
}

World world(void) { return the_world; }

void world_leave(int exit_code)
{
    world_stop();
    exit(exit_code);
}

/* The lowest rank where `ok` is false, or INT_MAX. */
static int lowest_failing(bool ok)
{
    int mine = ok ? INT_MAX : the_world.rank, lowest;
    CHECK_MPI(MPI_Allreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD));
    return lowest;
}

void world_set_leave_hook(WorldLeaveHook hook, void *context)
{
    leaving.hook = hook;
    leaving.context = context;
}

void require_all(bool ok, const Message *problem)
{
    int lowest = lowest_failing(ok);
    if (lowest == INT_MAX) return;
    if (lowest == the_world.rank) error_say("%s", problem->text);
    WorldLeaveHook hook = leaving.hook;
    leaving.hook = NULL; /* what it meets itself ends the job at once */
    if (hook) hook(leaving.context);
    world_leave(EXIT_FAILURE);
}

bool world_agree(bool ok, Message *problem)
{
    int lowest = lowest_failing(ok);
    if (lowest == INT_MAX) return true;
    CHECK_MPI(MPI_Bcast(problem, sizeof *problem, MPI_BYTE, lowest, MPI_COMM_WORLD));
    return false;
}

void world_broadcast(void *data, size_t bytes) { world_broadcast_from(0, data, bytes); }

void world_broadcast_from(int root, void *data, size_t bytes)
{
    const size_t chunk = 1 << 30; /* counts of MPI 3 are int */
    for (size_t start = 0; start < bytes; start += chunk) {
        size_t count = bytes - start < chunk ? bytes - start : chunk;
        CHECK_MPI(MPI_Bcast((char *)data + start, (int)count, MPI_BYTE, root, MPI_COMM_WORLD));
    }
}

void world_sum_doubles(double *values, int count)
{
    CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD));
}

void world_max_doubles(double *values, int count)
{
    CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD));
}

bool world_same(uint64_t value)
{
    uint64_t ends[2] = {value, ~value}; /* the smallest of both say the least and the greatest value */
    CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD));
    return ends[0] == ~ends[1];
}

/* How many ranks hold the value of rank `i`. */
static int holders(const uint64_t *values, int i)
{
    int count = 0;
    for (int j = 0; j < the_world.size; j++) count += values[j] == values[i];
    return count;
}

bool world_majority(uint64_t value, char differing[WORLD_RANKS_TEXT])
{
    differing[0] = 0;
    if (world_same(value)) return true;
    uint64_t *values = checked_calloc((size_t)the_world.size, sizeof *values);
    CHECK_MPI(MPI_Allgather(&value, 1, MPI_UINT64_T, values, 1, MPI_UINT64_T, MPI_COMM_WORLD));
    int best = 0;
    size_t length = 0;
    for (int i = 1; i < the_world.size; i++)
        if (holders(values, i) > holders(values, best)) best = i;
    bool majority = 2 * holders(values, best) > the_world.size;
    for (int i = 0; i < the_world.size && length + 16 < WORLD_RANKS_TEXT; i++)
        if (!majority || values[i] != values[best])
            length += (size_t)snprintf(differing + length, WORLD_RANKS_TEXT - length, "%s%d", length ? ", " : "", i);
    free(values);
    return false;
}

void world_barrier(void) { CHECK_MPI(MPI_Barrier(MPI_COMM_WORLD)); }

WorldNodes world_nodes(void)
{
    Node node = node_create();
    node_destroy(&node);
    return node.all;
}

/* How many ranks of this node may use the same processors as this one, itself included. */
static int ranks_on_these_processors(void)
{
    Node node = node_create();
    int same = 0;
    cpu_set_t mine, *all = checked_calloc((size_t)node.size, sizeof *all);
    CPU_ZERO(&mine);
    sched_getaffinity(0, sizeof mine, &mine);
    CHECK_MPI(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, node.comm));
    for (int i = 0; i < node.size; i++) same += CPU_EQUAL(&mine, &all[i]) != 0;
    node_destroy(&node);
    free(all);
    return same;
}

/* Threads that a team really has. */
static int team_size(void)
{
    int size = 1;
#pragma omp parallel
#pragma omp single
    size = omp_get_num_threads();
    return size;
}

int world_set_threads(void)
{
    bool given = getenv("OMP_NUM_THREADS") != NULL;
    if (!given) {
        int share = omp_get_num_procs() / ranks_on_these_processors();
        omp_set_num_threads(share > 1 ? share : 1);
    }
    omp_set_dynamic(0); /* the threads of a product in OpenBLAS wait for each other: all that it counts on must come */
    int wanted = omp_get_max_threads(), threads = team_size();
    omp_set_num_threads(threads);
    if (given && threads < wanted && the_world.rank == 0)
        error_say("warning: OMP_NUM_THREADS asks for %d threads, but the OpenMP library gives %d, which are used. "
                  "OMP_THREAD_LIMIT and OMP_MAX_ACTIVE_LEVELS say how many it may give",
                  wanted, threads);
    return threads;
}

void world_library(char *text, size_t size)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length;
    MPI_Get_library_version(version, &length);
    version[strcspn(version, ",\n")] = 0;
    snprintf(text, size, "%s", version);
}

void world_die_of_mpi(const char *file, int line, const char *call, int code)
{
    char words[MPI_MAX_ERROR_STRING] = "unknown error";
    int length;
    MPI_Error_string(code, words, &length);
    die_at(file, line, "%s: %s", call, words);
}
