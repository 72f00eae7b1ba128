/* One job at a time in a run folder: <folder>/lock says who is there. POSIX only, by rank 0; not collective.

   The file names host, process and job of its owner, and a thread touches it every few seconds. Who finds it asks: is
   the owner known to be gone (its process on this machine has ended, or the same Slurm job was put back into the
   queue), or has the file not been touched for a minute, by the clock of the file system? Then the lock is taken over,
   otherwise the folder is refused. */
#ifndef POLYSKETCH_IO_RUN_LOCK_H
#define POLYSKETCH_IO_RUN_LOCK_H

#include <stdbool.h>

#include "src/base/error.h"

typedef struct RunLock RunLock;

/* The folder exists. NULL with one line that says who has it. A process of this machine that is about to end is given a few
   seconds. */
RunLock *run_lock_take(const char *folder, Message *problem);

/* False with a message when another job has taken the lock over, as it may when this one stood still for long: it must
   write no more. A lock that somebody removed is made again. */
bool run_lock_held(const RunLock *lock, Message *problem);

/* Removes the lock and frees; NULL is allowed. */
void run_lock_release(RunLock *lock);

#endif
