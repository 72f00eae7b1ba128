/* Messages of the simulated ranks: messages.c says which of the calls of MPI are replaced, and by what. */
#ifndef POLYSKETCH_SIMULATE_MESSAGES_H
#define POLYSKETCH_SIMULATE_MESSAGES_H

#include <stdbool.h>

/* How sums of gradients under way travel: by halves, which is the default, or whole messages up and down a tree. */
void messages_set_tree_under_way(bool tree);

#endif
