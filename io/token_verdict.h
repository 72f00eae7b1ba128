/* That a token file was read whole and found good, kept beside it as FILE.checked, so that a large file costs that once and
   not at every start.

   The file holds a line of text: size, times of the last change of the contents (mtime) and of the file (ctime), in nanoseconds,
   inode, and the digest of all tokens. When anything of it is no longer so, the verdict counts for nothing. POSIX only; local to
   the calling process. */
#ifndef POLYSKETCH_IO_TOKEN_VERDICT_H
#define POLYSKETCH_IO_TOKEN_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

/* What tells whether a file was changed. */
typedef struct TokenFileState {
    int64_t bytes, modified_ns, changed_ns;
    uint64_t inode;
} TokenFileState;

/* False when the file is not there. */
bool token_verdict_state(const char *path, TokenFileState *state);

/* Is there a verdict about the file in this very state? Then *digest is that of its tokens. */
bool token_verdict_read(const char *path, const TokenFileState *state, uint64_t *digest);

/* Leaves a verdict, whole or not at all: none when the file is no longer in this state, was changed within the last two
   seconds by the clock of its file system (a change at the same moment would not show), or its folder is read-only; nothing
   is said of that. */
void token_verdict_write(const char *path, const TokenFileState *state, uint64_t digest);

/* The verdict about a file that is no longer there. */
void token_verdict_remove(const char *path);

#endif
