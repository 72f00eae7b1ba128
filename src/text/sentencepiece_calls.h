/* The library of SentencePiece, which speaks C++, in C. For text/sentencepiece.c only.

   The library rather than its programs spm_encode and spm_decode: prompts are read where a model runs, on nodes that have no such
   programs, on every rank and in libpolysketch, without a process and two pipes for each; a document is cut whole, not line by
   line; and a refusal is an error value. The price is one file of C++, which is compiled only where the library is. */
#ifndef POLYSKETCH_TEXT_SENTENCEPIECE_CALLS_H
#define POLYSKETCH_TEXT_SENTENCEPIECE_CALLS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SENTENCEPIECE_CAUSE = 256 };

typedef struct SentencePieceModel SentencePieceModel;

/* NULL with the cause. */
SentencePieceModel *sentencepiece_open(const void *file, size_t bytes, char cause[SENTENCEPIECE_CAUSE]);
void sentencepiece_close(SentencePieceModel *model);

/* -1 when the library fails. */
int sentencepiece_count(const SentencePieceModel *model);

/* The text of a piece, with a zero behind it, owned by the model; NULL when the library fails. *plain: it is a part of texts, not
   the name of a control token, of an unknown one or of a byte. */
const char *sentencepiece_piece(const SentencePieceModel *model, int id, size_t *length, int *plain, int *byte);

/* The tokens of a text, for free(), *count of them; NULL with the cause. By several threads at a time. Nothing of ours is called
   from there: an error that leaves with longjmp() must not cross frames of C++. */
int32_t *sentencepiece_encode(const SentencePieceModel *model, const char *text, size_t length, size_t *count,
                              char cause[SENTENCEPIECE_CAUSE]);

#ifdef __cplusplus
}
#endif

#endif
