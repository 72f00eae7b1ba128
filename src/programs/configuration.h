/* What the subcommands share: a configuration from file and command line. */
#ifndef POLYSKETCH_PROGRAMS_CONFIGURATION_H
#define POLYSKETCH_PROGRAMS_CONFIGURATION_H

#include "src/train/config.h"

/* Fills `config` and the subcommand's own table `own` from the defaults, then the one positional argument (an INI file, or
   a run folder, whose config.ini is read and which becomes output.folder), then the options. Rank 0 reads the file.
   Collective; leaves together with one line when something is wrong. */
void configuration_read(const OptionTable *own, Config *config, int argc, char **argv);

/* The bytes of a file on all ranks, with a zero behind them, which the caller frees; rank 0 reads. `what` is for the message:
   "cannot read <what> from ...". Collective; leaves together. */
char *read_on_all_ranks(const char *path, const char *what, size_t *length);

/* Options of a subcommand that takes no configuration. Collective; leaves together. */
void arguments_read(const OptionTable *own, int argc, char **argv);

#endif
