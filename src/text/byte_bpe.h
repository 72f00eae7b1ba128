/* Byte-level BPE, the tokenizers of GPT-2, Llama 3, Qwen and others, from the tokenizer.json of Hugging Face's tokenizers.

   A text goes through four stages: added tokens are taken out under their names; what is between them is normalised (NFC, NFD,
   NFKC, NFKD, with utf8proc); regular expressions cut it into words (pre-tokenizers Split, Digits, ByteLevel, alone or in a
   Sequence); bytes of words are merged (text/bpe.h). The tokens are those of encode(text, add_special_tokens=False) of
   that package.

   Bytes that are no UTF-8, for which that package has no text, are words of their own, so that nothing is lost: what is before
   and behind them is cut as texts of its own are, but gets no space before it. */
#ifndef POLYSKETCH_TEXT_BYTE_BPE_H
#define POLYSKETCH_TEXT_BYTE_BPE_H

#include "src/text/cutter.h"

/* Refused, by name: other models, normalizers and pre-tokenizers; dropout; prefixes and suffixes of subwords; added tokens that
   are whole words; byte_fallback where a byte has no token; patterns that text/onig_pattern.h refuses. A post_processor that
   would put tokens around texts is left out, which is remarked. Truncation, padding and decoder play no part here. */
extern const CutterKind cutter_byte_bpe;

#endif
