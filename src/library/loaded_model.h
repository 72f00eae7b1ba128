/* A trained model, as its checkpoint has it. */
#ifndef POLYSKETCH_LIBRARY_LOADED_MODEL_H
#define POLYSKETCH_LIBRARY_LOADED_MODEL_H

#include "io/tokenizer.h"
#include "src/core/param_store.h"
#include "src/model/model.h"
#include "src/train/config.h"

typedef struct LoadedModel {
    Config config; /* what it was trained with; finished for the model alone */
    Model *model;
    ParamStore *params;
    Tokenizer tokenizer;
    int64_t step;
} LoadedModel;

/* On every rank. Collective; leaves together with one line when something is wrong. */
LoadedModel loaded_model_read(const char *path);

/* In this process alone, without MPI. False with a message, and nothing is left. */
bool loaded_model_open(LoadedModel *loaded, const char *path, Message *problem);

void loaded_model_destroy(LoadedModel *loaded);

#endif
