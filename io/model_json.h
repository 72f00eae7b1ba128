/* A model in the words of Hugging Face's transformers: config.json, and generation_config.json beside it (docs/weights.md).

   In config.json are the options that define a model and some that belong to it, sizes under the names that other models there
   have, the rest as section_key. */
#ifndef POLYSKETCH_IO_MODEL_JSON_H
#define POLYSKETCH_IO_MODEL_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/name_list.h"
#include "src/base/error.h"
#include "src/base/options.h"

/* `options` of a finished configuration; `end_of_document`: the token, -1: none. What fails shows in the error indicator. */
void model_json_print(FILE *stream, const OptionTable *options, int64_t end_of_document);

/* Sets those of the options that the file has. `absent` gets the keys that it has not: their options stay as they are. False
   with a message that names `path` when it cannot be read, is of another architecture, or has a value that is none. */
bool model_json_read(const char *path, const OptionTable *options, NameList *absent, Message *problem);

/* How text is generated: the most likely token, of those below `drawable` where the vocabulary is larger. */
void generation_json_print(FILE *stream, int64_t end_of_document, int64_t drawable, int64_t vocab_size);

#endif
