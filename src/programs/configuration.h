/* What the subcommands share: a configuration from file and command line, a model from a checkpoint. */
#ifndef POLYSKETCH_PROGRAMS_CONFIGURATION_H
#define POLYSKETCH_PROGRAMS_CONFIGURATION_H

#include "io/tokenizer.h"
#include "src/core/param_store.h"
#include "src/model/model.h"
#include "src/train/config.h"

/* Fills `config` and the subcommand's own table `own` from the defaults, then the one positional argument (an INI file, or
   a run folder, whose config.ini is read and which becomes output.folder), then the options. Rank 0 reads the file.
   Collective; leaves together with one line when something is wrong. */
void configuration_read(const OptionTable *own, Config *config, int argc, char **argv);

/* Options of a subcommand that takes no configuration. Collective; leaves together. */
void arguments_read(const OptionTable *own, int argc, char **argv);

/* The model of a checkpoint on every rank: its plan, its values and what it was trained with. Collective; leaves together. */
typedef struct LoadedModel {
    Config config; /* finished for the model alone */
    Model *model;
    ParamStore *params;
    Tokenizer tokenizer;
    int64_t step;
} LoadedModel;
LoadedModel loaded_model_read(const char *path);
void loaded_model_destroy(LoadedModel *loaded);

#endif
