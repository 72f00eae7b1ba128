/* Numbers too small for a full mantissa count as zero from now on, in this thread and those it starts: many processors take a
   hundred times as long for arithmetic with them, and what gates have closed away is full of them. Nothing where the processor
   has no such switch that we know. */
#ifndef POLYSKETCH_BASE_DENORMALS_H
#define POLYSKETCH_BASE_DENORMALS_H

void denormals_flush(void);

#endif
