/* What the readers of tokenizer.json fill in and byte_bpe.c works with. For text/byte_bpe*.c only. */
#ifndef POLYSKETCH_TEXT_BYTE_BPE_PARTS_H
#define POLYSKETCH_TEXT_BYTE_BPE_PARTS_H

#include <jansson.h>

#include "src/text/added_tokens.h"
#include "src/text/bpe.h"
#include "src/text/byte_bpe.h"
#include "src/text/pattern.h"

/* A step from texts to words. */
typedef struct CutStage {
    Pattern *pattern; /* NULL: puts a space before what does not begin with one */
    bool keep_matches, keep_gaps;
} CutStage;

enum { MOST_STAGES = 32, MOST_NORMAL_FORMS = 4 };

typedef struct ByteBpe {
    Pieces pieces;                       /* of the model and of added tokens; one of a number without token is empty */
    Pieces words;                        /* those of the model alone */
    AddedTokens before, behind;          /* normalisation: those that are found before it, and in what it leaves */
    int normal_forms[MOST_NORMAL_FORMS]; /* options of utf8proc_map(), one after another */
    int normal_form_count;
    CutStage stages[MOST_STAGES];
    int stage_count;
    BpeSettings settings;
    Bpe *bpe;
    uint64_t digest; /* of all of it */
} ByteBpe;

/* Adds to the digest of the rules. */
void byte_bpe_mix(ByteBpe *rules, const void *bytes, size_t count);

/* Parts of tokenizer.json, each its value there; NULL: it is absent. False with the cause and the remedy. */
bool byte_bpe_read_normalizer(ByteBpe *rules, const json_t *normalizer, Message *problem);
bool byte_bpe_read_stages(ByteBpe *rules, const json_t *pre_tokenizer, Message *problem);

/* `added` comes after the model, some of whose tokens are named again there, and after the normalizer, which some names go
   through. */
bool byte_bpe_read_model(ByteBpe *rules, const json_t *model, const json_t *added, Message *problem);

/* A text in the normal forms, for free(); NULL: it is so already, or stays as it is. */
uint8_t *byte_bpe_normalise(const ByteBpe *rules, const uint8_t *text, size_t length, size_t *normal_length);

/* The type of a part, for messages: "none", or as it is called. */
const char *byte_bpe_type(const json_t *part);

#endif
