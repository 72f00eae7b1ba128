/* What the files of polysketch score share: score.c (the subcommand), score_items.c (what is asked), score_report.c (the
   answers). */
#ifndef POLYSKETCH_PROGRAMS_SCORE_H
#define POLYSKETCH_PROGRAMS_SCORE_H

#include <jansson.h>
#include <stdio.h>

#include "io/tokenizer.h"
#include "src/inference/scorer.h"

/* A text to score: the end of a line of the file, or one choice of a question. */
typedef struct ScoreText {
    const char *context; /* in the item's document */
    char *continuation;  /* with the delimiter in front, where it is a choice */
    size_t answer_bytes; /* of the continuation without it */
    int32_t *tokens;     /* those of `request` */
    ScoreRequest request;
    Score score;
} ScoreText;

/* A line of the file. */
typedef struct ScoreItem {
    json_t *document;
    size_t first, texts; /* which of the list's texts are its own */
    int64_t gold;        /* which of them is right; -1: it is no question, and has one text */
} ScoreItem;

typedef struct ScoreList {
    ScoreItem *items;
    ScoreText *texts;
    size_t count, capacity, text_count, text_capacity;
    size_t shortened; /* texts whose context lost its beginning */
} ScoreList;

/* How lines become tokens. */
typedef struct ScoreReader {
    Tokenizer *tokenizer;
    const char *delimiter; /* between a question and a choice */
    int64_t start;         /* the token before texts without a context; -1: there is none */
    size_t vocab_size;     /* that it is below */
    size_t context_length; /* the most tokens that a model is given */
} ScoreReader;

/* Reads the `length` bytes of a file of JSON lines. False with a message that names the line. */
bool score_list_read(ScoreList *list, const ScoreReader *reader, const char *text, size_t length, Message *problem);
void score_list_free(ScoreList *list);

/* Writes a line of JSON for every item, in the form of the samples of lm_eval. False with errno set. */
bool score_write_samples(const ScoreList *list, FILE *file);

/* Prints the means over all items. */
void score_print_summary(const ScoreList *list);

#endif
