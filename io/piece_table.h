/* Tables of pieces as text files, the form in which other programs hand out their vocabularies. */
#ifndef POLYSKETCH_IO_PIECE_TABLE_H
#define POLYSKETCH_IO_PIECE_TABLE_H

#include <stdbool.h>

#include "io/tokenizer.h"
#include "src/base/error.h"

/* One piece a line; the line number, from 0, is the token. Two forms, told apart by the first line:
   - the `.vocab` file of SentencePiece: piece, TAB, score; U+2581 stands for a space. A piece of newlines alone stands there as
     it is, as empty lines before its TAB and score;
   - plain: the line is the piece.
   In both, <0xNN> is the single byte NN, and <0x> a piece without text. Lines end with LF, or all of them with CR LF; a byte
   order mark at the start and empty lines at the end are left out, which `remark` says ("" when there is nothing to say), as it
   does of pieces that are probably not what they look like. Refused, with the number of the line: other empty lines, where a
   newline as a piece would shift all that follow, line ends of both sorts, zero bytes. The tokenizer is named after the file;
   the caller destroys it. */
bool piece_table_read(const char *path, Tokenizer *tokenizer, Message *remark, Message *problem);

#endif
