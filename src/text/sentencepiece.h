/* SentencePiece: unigram and BPE models from their .model file, through the library of SentencePiece itself
   (text/sentencepiece_calls.h). The tokens are those of spm_encode, of a whole text at once; what the model's normalisation
   does to it (by most of them line ends become spaces, and spaces at the ends and repeated ones go) it does here.

   A space is part of the pieces that begin with U+2581; <0xNN> is the byte NN; control tokens and <unk> have their names. */
#ifndef POLYSKETCH_TEXT_SENTENCEPIECE_H
#define POLYSKETCH_TEXT_SENTENCEPIECE_H

#include <stdbool.h>

#include "src/text/cutter.h"

/* Where this program was built without the library, reading fails and says so. */
extern const CutterKind cutter_sentencepiece;

bool sentencepiece_is_built_in(void);

#endif
