/* Messages of the simulated ranks: messages.c says which of the calls of MPI are replaced, and by what. */
#ifndef POLYSKETCH_SIMULATE_MESSAGES_H
#define POLYSKETCH_SIMULATE_MESSAGES_H

#include <stdbool.h>

/* How sums of gradients under way travel: whole messages up and down a tree, which Open MPI 4.1 chooses in place and which is
   the default; or by halves. */
void messages_set_halving_under_way(bool halving);

#endif
