/* All ranks of the job: start, stop, deciding together, failing together. */
#ifndef POLYSKETCH_MPI_WORLD_H
#define POLYSKETCH_MPI_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"

typedef struct World {
    int rank, size;
} World;

/* Starts MPI (MPI_THREAD_FUNNELED) and makes die_at() end every rank. Collective. */
World world_start(int *argc, char ***argv);

/* Ends MPI. Collective; call last. */
void world_stop(void);

World world(void);

/* Collective over all ranks. When `ok` is false on some rank, the lowest such rank prints its `problem`, and all ranks
   leave with exit code 1. Returns only when `ok` is true everywhere. */
void require_all(bool ok, const Message *problem);

/* Called once, by all ranks together, after the line of a require_all() that makes them leave: the last chance to save
   something. It may call require_all() itself. NULL: nothing to do, as in the beginning. Local. */
typedef void (*WorldLeaveHook)(void *context);
void world_set_leave_hook(WorldLeaveHook hook, void *context);

/* All ranks leave with `exit_code` through the same door. Collective; does not return. */
_Noreturn void world_leave(int exit_code);

/* True when `ok` is true on all ranks; otherwise false, and `problem` is that of the lowest rank where it is false.
   Collective. */
bool world_agree(bool ok, Message *problem);

/* Copies `bytes` bytes of rank 0 to all ranks. Collective; any size. */
void world_broadcast(void *data, size_t bytes);
void world_broadcast_from(int root, void *data, size_t bytes); /* of that rank */

/* Element-wise sum, and largest value, over all ranks, in place. Collective. */
void world_sum_doubles(double *values, int count);
void world_max_doubles(double *values, int count);

/* The same value on every rank? Collective. */
bool world_same(uint64_t value);

/* The same; where not, `differing` lists the ranks that do not hold the value which more than half of them hold, or all
   when there is none such. Collective. */
enum { WORLD_RANKS_TEXT = 256 };
bool world_majority(uint64_t value, char differing[WORLD_RANKS_TEXT]);

void world_barrier(void);

/* How many nodes the job has, and the ranks of the smallest and of the largest. Collective. */
typedef struct WorldNodes {
    int count, least, most;
} WorldNodes;
WorldNodes world_nodes(void);

/* Sets the number of OpenMP threads of this rank where the user has not (OMP_NUM_THREADS): the cores the rank may use
   (as the launcher has bound it), shared with the ranks of its node that may use the same. Where the OpenMP library gives
   fewer (OMP_THREAD_LIMIT), so many are used from now on. Returns the number. Collective. */
int world_set_threads(void);

/* One line about the MPI library, for logs. */
void world_library(char *text, size_t size);

/* MPI's verdict on a call, with its own words. */
#define CHECK_MPI(call)                                                                                                \
    do {                                                                                                               \
        int check_mpi_code = (call);                                                                                   \
        if (check_mpi_code) world_die_of_mpi(__FILE__, __LINE__, #call, check_mpi_code);                               \
    } while (0)
_Noreturn void world_die_of_mpi(const char *file, int line, const char *call, int code);

#endif
