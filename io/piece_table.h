/* Tables of pieces as text files, the form in which other programs hand out their vocabularies. */
#ifndef POLYSKETCH_IO_PIECE_TABLE_H
#define POLYSKETCH_IO_PIECE_TABLE_H

#include <stdbool.h>

#include "io/tokenizer.h"
#include "src/base/error.h"

/* One piece a line; the line number, from 0, is the token. Two forms, told apart by the first line:
   - the `.vocab` file of SentencePiece: piece, TAB, score; U+2581 stands for a space;
   - plain: the line is the piece.
   In both, <0xNN> is the single byte NN. The tokenizer is named after the file; the caller destroys it. */
bool piece_table_read(const char *path, Tokenizer *tokenizer, Message *problem);

#endif
