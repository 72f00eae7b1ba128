/* A tokenizer in the files that Hugging Face's transformers reads it from (docs/weights.md).

   One with a file of its own is that file, under the name that transformers knows (tokenizer.json, tokenizer.model). Else
   pieces.json has the table: the name, the token that ends documents, and every piece as a string with one character, U+0000 to
   U+00FF, for each of its bytes. tokenizer_config.json says which class reads it. */
#ifndef POLYSKETCH_IO_TOKENIZER_JSON_H
#define POLYSKETCH_IO_TOKENIZER_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/tokenizer.h"
#include "src/base/error.h"

/* Of a tokenizer with pieces; `end_of_document`: -1: none. What fails shows in the error indicator of the stream. */
void pieces_json_print(FILE *stream, const Tokenizer *tokenizer, int64_t end_of_document);
void tokenizer_config_print(FILE *stream, const Tokenizer *tokenizer, int64_t end_of_document);

/* From a pieces.json, into `tokenizer`, which the caller destroys whatever the outcome. False with a message that names
   `path`. */
bool pieces_json_read(const char *path, Tokenizer *tokenizer, Message *problem);

#endif
