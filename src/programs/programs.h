/* The subcommands. Each gets the arguments after its name, returns the exit code, is called by all ranks after
   world_start(), and ends with all ranks together. */
#ifndef POLYSKETCH_PROGRAMS_PROGRAMS_H
#define POLYSKETCH_PROGRAMS_PROGRAMS_H

int train_main(int argc, char **argv);
int eval_main(int argc, char **argv);
int generate_main(int argc, char **argv);
int prepare_main(int argc, char **argv);
int score_main(int argc, char **argv);
int inspect_main(int argc, char **argv);
int plan_main(int argc, char **argv);
int bench_main(int argc, char **argv);

#endif
