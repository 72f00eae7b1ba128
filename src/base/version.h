/*
 * Which version of the source this program was built from. It is printed at the start of a run and stored in every checkpoint.
 */
#ifndef SRC_BASE_VERSION_H
#define SRC_BASE_VERSION_H

/* What `git describe --always --dirty` said when the program was built; "unknown" outside a git repository. Never NULL. */
const char *source_version(void);

#endif
