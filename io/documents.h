/* Where the documents of a token file begin (docs/format.md, section 5). */
#ifndef POLYSKETCH_IO_DOCUMENTS_H
#define POLYSKETCH_IO_DOCUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/token_file.h"
#include "src/base/error.h"
#include "src/core/sequence_link.h"

/* All of them, in memory: 8 bytes for each document. */
typedef struct Documents {
    int64_t *starts; /* (count): places of first tokens in the file, rising; the first is 0 */
    size_t count;
} Documents;

/* file->documents = what /documents says or, where the file has none, the tokens that its attribute end_of_document names. Rank 0
   reads, all ranks get the same. Collective; false with the same message on every rank when the file says neither, or something
   that cannot be. */
bool documents_read(TokenFile *file, Message *problem);

/* NULL is allowed. */
void documents_destroy(Documents *documents);

/* starts (range.count): for each token of a range of the sequence that begins at token `sequence_start` of the file, the position
   in the sequence where its document begins; 0 when that was earlier. */
void documents_of_range(const Documents *documents, uint64_t sequence_start, TokenRange range, int32_t *starts);

#endif
