/* polysketch prepare: texts, or the output of another tokenizer, become token files for training and validation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "io/piece_table.h"
#include "io/token_file.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/options.h"
#include "src/base/rng.h"
#include "src/programs/corpus.h"
#include "src/programs/programs.h"

typedef struct PrepareOptions {
    char input[OPTION_TEXT_SIZE], output[OPTION_TEXT_SIZE];
    double validation_fraction;
    char document_separator[OPTION_TEXT_SIZE];
    bool utf8, ids;
    char pieces[OPTION_TEXT_SIZE];
    int64_t seed;
    bool help;
} PrepareOptions;

#define AT(field) offsetof(PrepareOptions, field)

static const OptionRow rows[] = {
    {"", "input", OPTION_TEXT, AT(input), "", 0, 0, "", false,
     "a text file, or a folder: each file in it is a document"},
    {"", "output", OPTION_TEXT, AT(output), "", 0, 0, "", false, "folder for train.h5 and validation.h5"},
    {"", "validation_fraction", OPTION_REAL, AT(validation_fraction), "0.05", 0, 0.9, "", false,
     "part of the text that is kept for validation, in whole documents; 0: none, and no such file"},
    {"", "document_separator", OPTION_TEXT, AT(document_separator), "", 0, 0, "", false,
     "lines equal to this end a document and are left out"},
    {"", "utf8", OPTION_BOOL, AT(utf8), "false", 0, 0, "", false, "refuse files that are no valid UTF-8"},
    {"", "ids", OPTION_BOOL, AT(ids), "false", 0, 0, "", false,
     "read token numbers from standard input, one document a line"},
    {"", "pieces", OPTION_TEXT, AT(pieces), "", 0, 0, "", false,
     "with --ids: the pieces, one a line, plain or as SentencePiece .vocab"},
    {"", "seed", OPTION_INTEGER, AT(seed), "1", 0, 9e15, "", false, "of the choice of validation documents"},
    {"", "help", OPTION_BOOL, AT(help), "false", 0, 0, "", false, "print this"},
};

static void print_help(const OptionTable *table)
{
    printf("Usage: polysketch prepare --input=FILE_OR_FOLDER --output=FOLDER [options]\n"
           "       ... | polysketch prepare --ids --pieces=FILE --output=FOLDER [options]\n\n"
           "Writes FOLDER/train.h5 and FOLDER/validation.h5. Without --ids each byte is a token (256 in all).\n\n");
    option_print_help(table, stdout);
    printf("\nExample:\n"
           "  polysketch prepare --input=books/ --output=data/books\n"
           "  spm_encode --model=m.model --output_format=id < text | polysketch prepare --ids --pieces=m.vocab "
           "--output=data/spm\n");
}

static bool check_options(const PrepareOptions *options, Message *problem)
{
    if (!options->output[0]) return fail(problem, "--output=FOLDER is missing. polysketch prepare --help explains");
    if (options->ids && options->input[0])
        return fail(problem, "--ids reads standard input, so --input cannot be given. Leave one of them out");
    if (options->ids && !options->pieces[0])
        return fail(problem, "--ids needs --pieces=FILE, the table of pieces, to know the vocabulary");
    if (!options->ids && options->pieces[0])
        return fail(problem, "--pieces goes with --ids only: text is turned into bytes. Leave it out, or add --ids");
    if (!options->ids && !options->input[0])
        return fail(problem, "--input=FILE_OR_FOLDER is missing. polysketch prepare --help explains");
    return true;
}

/* ---- the choice of validation documents ---- */

static size_t total_tokens(const Corpus *corpus)
{
    size_t total = 0;
    for (size_t i = 0; i < corpus->count; i++) total += corpus->documents[i].length;
    return total;
}

/* In a shuffled order, each document that still fits into the fraction; when none fits, the shortest. */
static void choose_documents(const Corpus *corpus, const PrepareOptions *options, bool *chosen /* (count) */)
{
    if (options->validation_fraction == 0) return;
    double room = options->validation_fraction * (double)total_tokens(corpus);
    RngStream stream = rng_stream((uint64_t)options->seed, "validation documents", 0);
    size_t taken = 0, shortest = 0;
    for (size_t i = 0; i < corpus->count; i++) {
        size_t place = rng_permute(stream, corpus->count, i), length = corpus->documents[place].length;
        if (length < corpus->documents[shortest].length) shortest = place;
        if ((double)length > room) continue;
        chosen[place] = true;
        room -= (double)length;
        taken++;
    }
    if (taken == 0) chosen[shortest] = true;
}

/* A single document is cut in two instead: its end becomes the second document. */
static void cut_single_document(Corpus *corpus, double fraction)
{
    Document whole = corpus->documents[0];
    size_t tail = (size_t)((double)whole.length * fraction);
    if (tail < 2) tail = 2; /* an input and a target */
    if (tail >= whole.length) return;
    Document *cut = checked_calloc(2, sizeof *cut);
    cut[0] = (Document){whole.file, whole.start, whole.length - tail};
    cut[1] = (Document){whole.file, whole.start + whole.length - tail, tail};
    free(corpus->documents);
    corpus->documents = cut;
    corpus->count = corpus->capacity = 2;
    printf("There is a single document: its last %zu tokens are for validation\n", tail);
}

/* ---- writing ---- */

typedef struct Tally {
    size_t documents, tokens, bytes;
} Tally;

static bool write_document(TokenWriter *writer, const Corpus *corpus, const Document *document,
                           const Tokenizer *tokenizer, Tally *tally, Message *problem)
{
    enum { CHUNK = 1 << 18 };
    int32_t *tokens = checked_calloc(CHUNK, sizeof *tokens);
    bool good = true;
    token_file_begin_document(writer);
    for (size_t first = 0; first < document->length && good; first += CHUNK) {
        size_t count = document->length - first < CHUNK ? document->length - first : CHUNK, length;
        good = corpus_tokens(corpus, document, first, count, tokens, problem) &&
               token_file_append(writer, tokens, count, problem);
        for (size_t i = 0; i < count && good; i++, tally->bytes += length)
            tokenizer_piece(tokenizer, tokens[i], &length);
    }
    free(tokens);
    tally->documents++;
    tally->tokens += document->length;
    return good;
}

static void print_tally(const char *path, const Tally *tally, const Tokenizer *tokenizer)
{
    printf("%s: %zu document%s, %zu tokens, vocabulary %lld (%s), %zu bytes of text\n", path, tally->documents,
           tally->documents == 1 ? "" : "s", tally->tokens, (long long)tokenizer->vocab_size, tokenizer->name,
           tally->bytes);
}

/* Writes the files, train.h5 alone or both; they appear together or not at all. */
static bool write_files(const Corpus *corpus, const bool *chosen, const Tokenizer *tokenizer, const char *folder,
                        int files, Message *problem)
{
    char paths[2][DISK_PATH_SIZE];
    TokenWriter *writers[2] = {NULL, NULL};
    Tally tallies[2] = {{0}};
    bool good = disk_make_folder(folder, problem);
    for (int i = 0; i < files && good; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%s.h5", folder, i == 0 ? "train" : "validation");
        good = (writers[i] = token_file_create(paths[i], tokenizer, total_tokens(corpus), problem)) != NULL;
    }
    for (size_t d = 0; d < corpus->count && good; d++)
        good =
            write_document(writers[chosen[d]], corpus, &corpus->documents[d], tokenizer, &tallies[chosen[d]], problem);
    for (int i = 0; i < files && good; i++)
        if (tallies[i].tokens < 2) good = fail(problem, "the text is too short for %s. Give a longer one", paths[i]);
    if (good)
        good = token_file_finish(writers, files, problem);
    else
        for (int i = 0; i < files; i++) token_file_abandon(writers[i]);
    for (int i = 0; i < files && good; i++) print_tally(paths[i], &tallies[i], tokenizer);
    return good;
}

static bool prepare(const PrepareOptions *options, Message *problem)
{
    Corpus corpus = {0};
    Tokenizer tokenizer = {0};
    if (options->ids) {
        if (!piece_table_read(options->pieces, &tokenizer, problem)) return false;
    } else
        tokenizer = tokenizer_bytes();
    bool good = options->ids
                    ? corpus_read_ids(&corpus, stdin, tokenizer.vocab_size, problem)
                    : corpus_read_texts(&corpus, options->input, options->document_separator, options->utf8, problem);
    if (good) {
        bool split = options->validation_fraction > 0, single = split && corpus.count == 1;
        if (single) cut_single_document(&corpus, options->validation_fraction);
        bool *chosen = checked_calloc(corpus.count, sizeof *chosen);
        if (single)
            chosen[corpus.count - 1] = true;
        else
            choose_documents(&corpus, options, chosen);
        good = write_files(&corpus, chosen, &tokenizer, options->output, split ? 2 : 1, problem);
        free(chosen);
    }
    corpus_destroy(&corpus);
    tokenizer_destroy(&tokenizer);
    return good;
}

int prepare_main(int argc, char **argv)
{
    PrepareOptions options;
    OptionTable table = {rows, (int)(sizeof rows / sizeof *rows), &options};
    Message problem;
    option_set_defaults(&table);
    bool good = option_read_arguments(&table, 1, argc, argv, NULL, 0, &problem);
    require_all(good, &problem);
    if (options.help) {
        if (world().rank == 0) print_help(&table);
        return EXIT_SUCCESS;
    }
    /* The work is for one process; the others only learn whether it went well. */
    good = world().rank > 0 || (check_options(&options, &problem) && prepare(&options, &problem));
    require_all(good, &problem);
    return EXIT_SUCCESS;
}
