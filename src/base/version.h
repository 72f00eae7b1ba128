/* Which version of the source this program was built from; printed at the start of a run and stored in checkpoints. */
#ifndef POLYSKETCH_BASE_VERSION_H
#define POLYSKETCH_BASE_VERSION_H

/* What `git describe --always --dirty` said when the program was built; "unknown" outside a git repository. */
const char *source_version(void);

#endif
