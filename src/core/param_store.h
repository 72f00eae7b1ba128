/* Where parameters, gradients and optimizer state are, and which process answers for what.

   Models, optimizers and files know a tensor by its row in a ParamTable. Where its numbers lie, how many copies there are and
   what travels between ranks only the store knows. param_store_create() keeps everything in this process, and so serves one
   rank; mpi/param_store_replicated.c keeps a copy on every rank and sums the gradients, mpi/param_store_sharded.c divides them.

   Tensors come in groups (Param.group): the embedding, each layer, the output. A model reads a group's values between acquire
   and release, which a store that keeps only a share of them uses to fetch and to drop the rest. It says when it has added to
   a group's gradients, which a store uses to begin their sum over the ranks.

   Calls marked collective are made by all processes of a store in the same order. */
#ifndef POLYSKETCH_CORE_PARAM_STORE_H
#define POLYSKETCH_CORE_PARAM_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "src/core/param_table.h"

typedef struct ParamStore ParamStore;
struct ParamStore {
    const ParamTable *params;
    const ParamTable *states; /* of the optimizer, or NULL */
    int rank, ranks;          /* this process, of those that share the work */
    void *memory;             /* of the implementation */
    void *transport;          /* of the implementation */
    void *division;           /* likewise */
    double seconds;           /* spent in calls that wait for other ranks */

    /* Values of a group can be read. Collective. */
    void (*acquire)(ParamStore *, int group);
    void (*release)(ParamStore *, int group);
    /* All values of a tensor, while its group is acquired. */
    const real *(*values)(ParamStore *, int param);

    /* The gradient of a trained tensor, of its whole shape: add here. Main thread; it may wait for a sum of its group that is
       under way. */
    real *(*gradient)(ParamStore *, int param);
    void (*clear_gradients)(ParamStore *);
    /* Sums over the ranks may begin: what is added from now on is the last of a step. Collective. */
    void (*open_sums)(ParamStore *);
    /* A pass adds no more to the gradients of this group, and when it is the `last` of a micro-batch, nor do others (a
       micro-batch has as many as its sequences have stretches). A store that keeps shares of gradients sums them now, and drops
       the rest; others may begin the sum of the step after the last pass since open_sums(). Collective. */
    void (*gradients_added)(ParamStore *, int group, bool last);
    /* Lets sums under way move on. Local, from the main thread, as often as one likes. */
    void (*poll)(ParamStore *);
    /* Returns when the gradients are summed over all ranks, those too of which nobody said so. Collective. */
    void (*close_sums)(ParamStore *);
    /* Norm of the summed gradient over all tensors; the same bits on every rank and number of threads. Collective. */
    double (*gradient_norm)(ParamStore *);

    /* What this process keeps up to date itself: rows of each tensor, of its gradient and of its states; all of them, or, of
       tensors that are trained, those that no other process keeps, or none of its node (`divided`). Pointers are to the first
       kept row. */
    bool divided;
    RowRange (*kept)(const ParamStore *, const Param *param);
    real *(*kept_values)(ParamStore *, int param);
    const real *(*kept_gradient)(ParamStore *, int param);
    real *(*kept_state)(ParamStore *, int state);
    /* Whoever writes kept values does so between these two: nobody reads values any more, which may be in memory of several
       processes; and what was written reaches all that read it. Collective; between passes. */
    void (*begin_change)(ParamStore *);
    void (*spread)(ParamStore *);
    /* XXH3 of all values of a tensor, or of a state, as files have it: of this process's copy where it has one, else of the rows
       of all. Collective. */
    uint64_t (*digest)(ParamStore *, int param);
    uint64_t (*digest_state)(ParamStore *, int state);
    /* Of these, the rows that it writes to files: every row is written by one process. */
    RowRange (*written)(const ParamStore *, const Param *param);
    /* `values` (count) of process `root` reach all. Collective. */
    void (*broadcast)(ParamStore *, real *values, size_t count, int root);
    /* All values of a tensor, or of a state, which process 0 has at `whole` (elsewhere NULL), reach all that keep or read some
       of them. Collective. */
    void (*place)(ParamStore *, int param, const real *whole);
    void (*place_state)(ParamStore *, int state, const real *whole);
    void (*destroy)(ParamStore *); /* collective */
};

/* When stores of several ranks sum gradients: parallel.gradient_sums. */
typedef enum GradientSums {
    SUMS_AUTO,       /* overlapped when the ranks are on several nodes */
    SUMS_OVERLAPPED, /* a group's sum begins when its gradients are complete, and goes on while others are computed */
    SUMS_LAST,       /* all at the end of a step */
} GradientSums;

/* What each process keeps a share of, rather than all: parallel.shard. */
typedef enum ShardStage {
    SHARD_NONE,
    SHARD_OPTIMIZER,  /* states of the optimizer */
    SHARD_GRADIENTS,  /* and gradients: those of a group are summed to shares when a pass has added to them */
    SHARD_PARAMETERS, /* and values: those of a group are gathered while it is acquired */
} ShardStage;

/* What a store holds. */
typedef enum StorePurpose {
    STORE_TABLES = 0, /* no numbers: for stores that keep them elsewhere */
    STORE_VALUES = 1,
    STORE_GRADIENTS_ALONE = 2, /* for those that keep values elsewhere */
    STORE_GRADIENTS = STORE_VALUES | STORE_GRADIENTS_ALONE,
} StorePurpose;

/* Everything in this process, values and states zero. `states` NULL: none. The tables must outlive it. Owned by the caller;
   param_store_destroy(). */
ParamStore *param_store_create(const ParamTable *params, const ParamTable *states, StorePurpose purpose);

/* For tests: over memory of the caller in the plain layout of the table: values (total_count), gradients (trained_count) or
   NULL. */
ParamStore *param_store_over(const ParamTable *params, real *values, real *gradients);

void param_store_destroy(ParamStore *store); /* collective; NULL allowed */

/* Initial values of `seed`; states are zero. Every process draws what it keeps. Collective. */
void param_store_initialise(ParamStore *store, uint64_t seed);

/* What process 0 keeps, which is everything, reaches all. Collective. */
void param_store_place_all(ParamStore *store);

/* False with the name of the first tensor, or state, one of whose kept values is not finite. Local. */
bool param_store_finite(ParamStore *store, const char **name);

/* ---- for models ---- */

/* Ends the job when this process does not keep all of a tensor: for what is not written for other stores yet. */
void param_store_require_whole(const ParamStore *store, const Param *param);

static inline const real *param_values(ParamStore *store, int param) { return store->values(store, param); }
static inline real *param_gradient(ParamStore *store, int param) { return store->gradient(store, param); }

/* Both collective. */

static inline void param_store_acquire_all(ParamStore *store)
{
    for (int group = 0; group < store->params->groups; group++) store->acquire(store, group);
}

static inline void param_store_release_all(ParamStore *store)
{
    for (int group = 0; group < store->params->groups; group++) store->release(store, group);
}

/* Kept values of a tensor. */
static inline size_t param_store_kept_count(const ParamStore *store, const Param *param)
{
    RowRange rows = store->kept(store, param);
    return (rows.end - rows.first) * param_row_width(param);
}

#endif
