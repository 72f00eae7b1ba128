/* How parameters follow from gradients: the interface, and the table of optimizers.

   An optimizer is a row, as an attention kind is: its name, its own options, the states it keeps of each tensor, the update.
   States are tensors of a ParamTable of their own, named STATE/TENSOR; a ParamStore keeps them beside the parameters, and
   checkpoints, reports and comparisons loop over whatever there are.

   CONTRIBUTING.md says how to add one. */
#ifndef POLYSKETCH_TRAIN_OPTIMIZER_H
#define POLYSKETCH_TRAIN_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/options.h"
#include "src/core/param_store.h"

typedef struct OptimizerKind OptimizerKind;

/* Options of all optimizers, as rows in section [train] of a configuration. */
typedef struct OptimizerSpec {
    int kind;             /* row of the table of optimizers */
    double learning_rate; /* peak */
    double weight_decay;
    double beta1, beta2, epsilon;             /* AdamW */
    double muon_learning_rate, muon_momentum; /* Muon */
} OptimizerSpec;

enum { OPTIMIZER_STATES = 2 }; /* of a tensor, at most */

typedef struct Optimizer {
    OptimizerSpec spec;
    const OptimizerKind *kind;
    const ParamTable *params;
    ParamTable states;
    int (*state_of)[OPTIMIZER_STATES]; /* per parameter: rows of `states`; -1: none */
    real *scratch;                     /* kind->scratch_count() numbers */
    void *prepared;                    /* kind->prepare() */
} Optimizer;

/* One step. */
typedef struct OptimizerStep {
    double learning_rate;   /* of this step */
    double gradient_factor; /* gradients are taken times it: clipping */
    int64_t number;         /* 1, 2, ...: steps since the states began */
} OptimizerStep;

struct OptimizerKind {
    const char *name; /* train.optimizer */
    /* Rows of the options that only this one reads, with offsets in OptimizerSpec. */
    const OptionRow *(*options)(int *count);
    /* Names of all states, in the order of checkpoints, then NULL. */
    const char *const *state_names;
    /* Those of a trained tensor into `names`; returns how many, at most OPTIMIZER_STATES. */
    int (*states)(const Param *, const char *names[OPTIMIZER_STATES]);
    /* Numbers that an update works with, where ranks that all keep everything share its work (`shared`) or not; NULL: none. */
    size_t (*scratch_count)(const Optimizer *, bool shared);
    /* It works on whole matrices, those of Param.hidden_parts: a store that divides rows gives each to one rank. */
    bool whole_matrices;
    /* Numbers that go from one rank to all in an update where all keep everything; NULL: none. */
    size_t (*exchanged_count)(const Optimizer *);
    /* What all updates have in common, made once and freed with free(); NULL: nothing. */
    void *(*prepare)(const Optimizer *);
    /* Brings all kept values and states up to date from the summed gradients. Collective over the ranks of the store; what
       several ranks keep gets the same bits on all. Pads stay zero. */
    void (*update)(const Optimizer *, ParamStore *, const OptimizerStep *);
};

/* The rows of all optimizers, with offsets in OptimizerSpec; valid for ever. */
const OptionRow *optimizer_options(int *count);

/* What states there are, which is enough for reports and to make a store. `params` must outlive it. */
Optimizer *optimizer_plan(const OptimizerSpec *spec, const ParamTable *params);
/* Takes what updates need. The store is the one of all updates, made with &optimizer->states. */
void optimizer_prepare(Optimizer *optimizer, const ParamStore *store);
void optimizer_destroy(Optimizer *optimizer);

/* Of several ranks that all keep everything, each does a part of the work of an update. */
bool optimizer_work_is_shared(int ranks, bool divided);

/* Bytes of scratch, which optimizer_prepare() takes. */
size_t optimizer_scratch_bytes(const Optimizer *optimizer, bool shared);

/* kind->update(), and the new values reach all that read them. Collective. */
void optimizer_update(const Optimizer *optimizer, ParamStore *store, const OptimizerStep *step);

/* "adamw", ... of a row of the table. */
const char *optimizer_name(int kind);

/* The factor that brings a gradient of norm `norm` down to clip_norm; 1 when it is shorter or clip_norm is 0. */
double optimizer_clip_factor(double norm, double clip_norm);

#endif
