#include "src/base/option_names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 128 };

/* What other programs call the same. */
static const struct {
    const char *word, *key;
} other_words[] = {
    {"lr", "learning_rate"},
    {"max_lr", "learning_rate"},
    {"min_lr", "min_learning_rate"},
    {"batch", "batch_sequences"},
    {"batch_size", "batch_sequences"},
    {"micro_batch_size", "micro_batch_sequences"},
    {"epochs", "steps"},
    {"iterations", "steps"},
    {"max_steps", "steps"},
    {"seq_len", "context_length"},
    {"sequence_length", "context_length"},
    {"hidden_size", "width"},
    {"d_model", "width"},
    {"n_layers", "layers"},
    {"num_layers", "layers"},
    {"n_heads", "heads"},
    {"num_heads", "heads"},
    {"grad_clip", "clip_norm"},
    {"max_grad_norm", "clip_norm"},
    {"output_dir", "folder"},
    {"save_every", "checkpoint_every"},
    {"max_tokens", "tokens"},
    {"max_new_tokens", "tokens"},
    {"ckpt", "checkpoint"},
    {"output", "folder"},
    {"data", "train"},
};

/* Levenshtein distance; both shorter than NAME_SIZE. */
static int edit_distance(const char *a, const char *b)
{
    int row[NAME_SIZE], columns = (int)strlen(b);
    for (int j = 0; j <= columns; j++) row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < columns; j++) {
            int replace = diagonal + (a[i] != b[j]), shorter = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = replace < shorter ? replace : shorter;
        }
    }
    return row[columns];
}

static int least(int a, int b) { return a < b ? a : b; }

static bool begins_with(const char *text, const char *start) { return strncmp(text, start, strlen(start)) == 0; }

/* A name as it was given, in the letters that options have, and what of it would be the key. */
typedef struct Given {
    char name[NAME_SIZE], section[NAME_SIZE];
    const char *key;
} Given;

static void read_given(const char *name, Given *given)
{
    size_t length = 0;
    for (; name[length] && length + 1 < NAME_SIZE; length++)
        given->name[length] = name[length] == '-' ? '_' : (char)tolower((unsigned char)name[length]);
    given->name[length] = 0;
    const char *dot = strrchr(given->name, '.');
    snprintf(given->section, NAME_SIZE, "%.*s", dot ? (int)(dot - given->name) : 0, given->name);
    given->key = dot ? dot + 1 : given->name;
    for (size_t i = 0; i < sizeof other_words / sizeof *other_words; i++)
        if (strcmp(given->key, other_words[i].word) == 0) given->key = other_words[i].key;
}

/* How far a row is from what was given, in halves of a letter: of equals the one in the same section is nearer. */
static int distance(const OptionRow *row, const Given *given)
{
    enum { SHORTEST_BEGINNING = 3 };
    char full[NAME_SIZE];
    option_name(row, full);
    int letters = least(edit_distance(given->name, full), edit_distance(given->key, row->key));
    bool long_enough = strlen(given->key) >= SHORTEST_BEGINNING;
    if (long_enough && begins_with(row->key, given->key)) letters = least(letters, 1);
    return 2 * letters + (strcmp(given->section, row->section) != 0);
}

bool option_fail_unknown(const OptionTable *tables, int table_count, const char *name, Message *problem)
{
    Given given;
    read_given(name, &given);
    const OptionRow *nearest = NULL;
    int farthest = 2 * (1 + (int)strlen(given.key) / 3) + 1, best = farthest + 1;
    for (int t = 0; t < table_count; t++)
        for (int i = 0; i < tables[t].count; i++) {
            int candidate = distance(&tables[t].rows[i], &given);
            if (candidate < best) best = candidate, nearest = &tables[t].rows[i];
        }
    if (!nearest) return fail(problem, "unknown option '%s'. --help lists all", name);
    char full[NAME_SIZE];
    option_name(nearest, full);
    return fail(problem, "unknown option '%s'. The nearest known one is '%s'; --help lists all", name, full);
}
