/* train.init_from: a new run begins with the weights of another run's checkpoint.

   Tensors of the same name and shape are taken, all others have their initial values; the optimizer, the step and the order of
   the data begin anew. A run that has a checkpoint of its own does not read the file again. */
#ifndef POLYSKETCH_TRAIN_INIT_FROM_H
#define POLYSKETCH_TRAIN_INIT_FROM_H

#include "io/token_file.h"
#include "src/core/param_store.h"
#include "src/train/config.h"

/* Leaves together when the file cannot be used for a model of these tensors: a shape, the heads, the tokenizer is another, or
   there is nothing to take. `train` may be NULL: no file. Reads no values and writes nothing. Collective. */
void init_from_check(const Config *config, const ParamTable *params, const TokenFile *train);

/* Takes the values, which is said in lines with all names: what was taken, what is new, what stayed in the file, and which
   options of the model are others. The store is otherwise as param_store_initialise() left it. Checks as init_from_check() does.
   Collective; leaves together. */
void init_from_load(const Config *config, ParamStore *store, const TokenFile *train);

/* Both do nothing where train.init_from is empty. */

#endif
