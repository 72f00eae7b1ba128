/* What the files of polysketch generate share: generate.c (one text), generate_prompts.c (many). */
#ifndef POLYSKETCH_PROGRAMS_GENERATE_H
#define POLYSKETCH_PROGRAMS_GENERATE_H

#include "src/base/options.h"
#include "src/inference/generator.h"
#include "src/library/loaded_model.h"

typedef struct GenerateOptions {
    char checkpoint[OPTION_TEXT_SIZE], prompt_file[OPTION_TEXT_SIZE], prompts[OPTION_TEXT_SIZE];
    char save_state[OPTION_TEXT_SIZE], load_state[OPTION_TEXT_SIZE];
    const char *prompt, *stop;
    int64_t tokens, top_k, seed, at_once;
    double temperature, top_p;
    bool timing;
} GenerateOptions;

GeneratorSettings generate_settings(const GenerateOptions *options);

/* A text as tokens, which the caller frees: by the table of pieces, or numbers between blanks where there is none. NULL with a
   message. */
int32_t *generate_encode(LoadedModel *loaded, const char *text, size_t length, size_t *count, Message *problem);

/* Continues every line of the file --prompts, and prints one line of JSON for each. Collective; leaves together. */
void generate_prompts(const GenerateOptions *options, LoadedModel *loaded);

#endif
