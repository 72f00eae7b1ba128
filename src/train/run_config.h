/* config.ini of a run folder: what was asked for, which starts the run again, with what follows from it as comments.

   The first line has a digest of the others. By it a file that a person wrote, or edited, is known, and left alone. */
#ifndef POLYSKETCH_TRAIN_RUN_CONFIG_H
#define POLYSKETCH_TRAIN_RUN_CONFIG_H

#include <stdbool.h>

#include "src/train/config.h"

/* Writes <output.folder>/config.ini; beside one that is not the program's own, config.used.ini, and says so in a line. `asked`:
   as file and command line have it; `config`: the same, finished. False with a message when it cannot. Local, for rank 0. */
bool run_config_write(const Config *asked, const Config *config, Message *problem);

#endif
