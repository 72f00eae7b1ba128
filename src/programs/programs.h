/* The subcommands. Each gets the arguments after its name, returns the exit code, is called by all ranks after
   world_start(), and ends with all ranks together. Beside it is what --help and the manual say of it. */
#ifndef POLYSKETCH_PROGRAMS_PROGRAMS_H
#define POLYSKETCH_PROGRAMS_PROGRAMS_H

#include "src/base/command.h"

int train_main(int argc, char **argv);
int eval_main(int argc, char **argv);
int generate_main(int argc, char **argv);
int prepare_main(int argc, char **argv);
int score_main(int argc, char **argv);
int inspect_main(int argc, char **argv);
int export_main(int argc, char **argv);
int import_main(int argc, char **argv);
int plan_main(int argc, char **argv);
int bench_main(int argc, char **argv);

extern const CommandHelp train_help, eval_help, generate_help, prepare_help, inspect_help, score_help, export_help,
    import_help, plan_help, bench_help;

/* What --version prints: of the source, the compiler and the libraries. After world_start(); rank 0 alone. */
void print_version(void);

#endif
