/* polysketch prepare: texts, or tokens of another tokenizer, become token files for training and validation. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/piece_table.h"
#include "io/token_file.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/base/options.h"
#include "src/programs/configuration.h"
#include "src/programs/corpus.h"
#include "src/programs/input_files.h"
#include "src/programs/programs.h"
#include "src/programs/split.h"

typedef struct PrepareOptions {
    char input[OPTION_TEXT_SIZE], output[OPTION_TEXT_SIZE];
    double validation_fraction;
    char document_separator[OPTION_TEXT_SIZE];
    bool utf8, ids;
    char tokens[OPTION_TEXT_SIZE];
    int token_format; /* TokenFormat */
    char tokenizer[OPTION_TEXT_SIZE], pieces[OPTION_TEXT_SIZE];
    int64_t vocab_size; /* 0: that of the pieces */
    char end_of_document[OPTION_TEXT_SIZE];
    int64_t seed;
    bool overwrite;
} PrepareOptions;

#define AT(field) offsetof(PrepareOptions, field)

static const OptionRow rows[] = {
    {"", "input", OPTION_TEXT, AT(input), "", 0, 0, "", false,
     "a text file, or a folder: each file in it and in the folders in it is a document"},
    {"", "output", OPTION_TEXT, AT(output), "", 0, 0, "", false, "folder for train.h5 and validation.h5"},
    {"", "overwrite", OPTION_BOOL, AT(overwrite), "false", 0, 0, "", false,
     "replace the train.h5 and validation.h5 that are there"},
    {"", "validation_fraction", OPTION_REAL, AT(validation_fraction), "0.05", 0, 0.9, "", false,
     "part of the tokens that is kept for validation, in whole documents where that comes near; 0: none, and no such "
     "file"},
    {"", "document_separator", OPTION_TEXT, AT(document_separator), "", 0, 0, "", false,
     "lines equal to this end a document and are left out"},
    {"", "utf8", OPTION_BOOL, AT(utf8), "false", 0, 0, "", false, "refuse files that are no valid UTF-8"},
    {"", "ids", OPTION_BOOL, AT(ids), "false", 0, 0, "", false,
     "read token numbers from standard input, one document a line"},
    {"", "tokens", OPTION_TEXT, AT(tokens), "", 0, 0, "", false,
     "read token files of other programs: files or folders, between commas"},
    {"", "token_format", OPTION_CHOICE, AT(token_format), "auto", 0, 0, TOKEN_FORMAT_CHOICES, false,
     "of --tokens: NumPy, llm.c, or bare numbers of 16 or 32 bits, little-endian; auto: by the first bytes, *.bin as "
     "raw16"},
    {"", "tokenizer", OPTION_TEXT, AT(tokenizer), "", 0, 0, "", false,
     "tokenizer.json of Hugging Face's tokenizers (byte-level BPE) or the .model of SentencePiece: with --input texts "
     "are cut "
     "by it, with --ids or --tokens it says the pieces; it is kept in the files, and in checkpoints"},
    {"", "pieces", OPTION_TEXT, AT(pieces), "", 0, 0, "", false,
     "with --ids or --tokens: the pieces, one a line, plain or as SentencePiece .vocab"},
    {"", "vocab_size", OPTION_INTEGER, AT(vocab_size), "0", 0, 1 << 24, "", false,
     "with --ids or --tokens, where pieces are not known: every token is below it"},
    {"", "end_of_document", OPTION_TEXT, AT(end_of_document), "", 0, 0, "", false,
     "token that ends each document, added where it is missing: a number, or auto: 256 for bytes, else the piece for "
     "it"},
    {"", "seed", OPTION_INTEGER, AT(seed), "1", 0, 9e15, "", false, "of the choice of validation documents"},
};

const CommandHelp prepare_help = {
    .usage = "polysketch prepare --input=FILE_OR_FOLDER --output=FOLDER [--tokenizer=FILE] [options]\n"
             "... | polysketch prepare --ids --pieces=FILE --output=FOLDER [options]\n"
             "polysketch prepare --tokens=FILE[,FILE] --vocab_size=N --output=FOLDER [options]",
    .text =
        "Writes FOLDER/train.h5 and FOLDER/validation.h5. With --input each byte is a token (256 in all), or with "
        "--tokenizer what that makes of a text; documents are cut on OMP_NUM_THREADS threads. In "
        "folders, names that begin with '.' or end with '~' are left out. Besides some 40 MB, memory is needed for "
        "24 to 72 bytes a document, with --tokenizer for some documents with their tokens; that and --ids need room "
        "on the disk for 4 bytes a token beside what is written.",
    .example =
        "polysketch prepare --input=books/ --output=data/books\n"
        "polysketch prepare --input=books/ --tokenizer=gpt2/tokenizer.json --end_of_document=auto --output=data/gpt2\n"
        "spm_encode --model=m.model --output_format=id < text | polysketch prepare --ids --pieces=m.vocab "
        "--output=data/spm\n"
        "polysketch prepare --tokens=shards/ --vocab_size=50257 --end_of_document=50256 --output=data/shards",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

static bool check_options(const PrepareOptions *options, Message *problem)
{
    bool input = options->input[0], tokens = options->tokens[0], pieces = options->pieces[0];
    int vocabularies = pieces + (options->vocab_size > 0) + (options->tokenizer[0] != 0);
    if (!options->output[0]) return fail(problem, "--output=FOLDER is missing. polysketch prepare --help explains");
    if (input + options->ids + tokens == 0)
        return fail(problem, "--input=FILE_OR_FOLDER is missing. polysketch prepare --help explains");
    if (input + options->ids + tokens > 1)
        return fail(problem, "--input reads texts, --ids standard input, --tokens token files. Give one of them");
    if (input && (pieces || options->vocab_size > 0))
        return fail(problem,
                    "--pieces and --vocab_size go with --ids or --tokens: text is turned into bytes, or into what "
                    "--tokenizer makes of it. Leave them out, or give tokens");
    if (!input && vocabularies != 1)
        return fail(problem,
                    "%s needs the vocabulary: --tokenizer=FILE, --pieces=FILE, the table of pieces, or --vocab_size=N, "
                    "one of them",
                    tokens ? "--tokens" : "--ids");
    if (!input && (options->document_separator[0] || options->utf8))
        return fail(problem, "--document_separator and --utf8 are for texts, with --input. Leave them out");
    if (!tokens && options->token_format != TOKENS_AUTO)
        return fail(problem, "--token_format is that of --tokens=FILE. Leave it out, or give the files");
    return true;
}

/* ---- vocabulary ---- */

/* The one piece of the table that is known to end documents. */
static bool find_end(const Tokenizer *tokenizer, int64_t *end, Message *problem)
{
    int found;
    *end = tokenizer_find_end(tokenizer, &found);
    return *end >= 0 ||
           fail(problem,
                "--end_of_document=auto: %d pieces are one of %s, %s, %s and %s. Give the number of the "
                "token instead",
                found, tokenizer_end_names[0], tokenizer_end_names[1], tokenizer_end_names[2], tokenizer_end_names[3]);
}

/* Of bytes, one token more can be asked for, which has no text. */
static bool choose_end(const PrepareOptions *options, Tokenizer *tokenizer, int64_t *end, Message *problem)
{
    const char *word = options->end_of_document;
    char *rest;
    bool bytes = options->input[0] && !options->tokenizer[0], automatic = strcmp(word, "auto") == 0;
    *end = -1;
    if (!word[0]) return true;
    if (automatic && !bytes) return find_end(tokenizer, end, problem);
    errno = 0;
    *end = automatic ? 256 : strtoll(word, &rest, 10);
    if (!automatic && (*rest || errno || *end < 0))
        return fail(problem, "--end_of_document=%s is neither auto nor the number of a token. Example: 256", word);
    if (bytes && *end == 256) {
        tokenizer_destroy(tokenizer);
        *tokenizer = tokenizer_bytes_with_end();
    }
    return *end < tokenizer->vocab_size ||
           fail(problem, "--end_of_document=%s, but the vocabulary has tokens 0 to %lld. Choose one of them%s", word,
                (long long)tokenizer->vocab_size - 1, bytes ? ", or 256" : "");
}

static bool choose_tokenizer(const PrepareOptions *options, Tokenizer *tokenizer, int64_t *end, Message *problem)
{
    Message remark = {""};
    if (options->tokenizer[0]) {
        if (!tokenizer_read(options->tokenizer, tokenizer, &remark, problem)) return false;
    } else if (options->pieces[0]) {
        if (!piece_table_read(options->pieces, tokenizer, &remark, problem)) return false;
    } else if (options->input[0])
        *tokenizer = tokenizer_bytes();
    else
        *tokenizer = (Tokenizer){.name = "unknown", .vocab_size = options->vocab_size};
    if (remark.text[0]) printf("note: %s%s\n", options->tokenizer[0] ? "of the tokenizer: " : "", remark.text);
    return choose_end(options, tokenizer, end, problem);
}

/* ---- reading ---- */

/* A name, or several between commas, or a single one with commas in it. */
static bool find_files(InputFiles *files, const PrepareOptions *options, Message *problem)
{
    if (options->ids) return true;
    if (options->input[0]) return input_files_add(files, "--input", options->input, options->output, problem);
    if (access(options->tokens, F_OK) == 0)
        return input_files_add(files, "--tokens", options->tokens, options->output, problem);
    char names[OPTION_TEXT_SIZE], *rest = NULL;
    strcpy(names, options->tokens);
    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        if (!input_files_add(files, "--tokens", name, options->output, problem)) return false;
    return true;
}

static bool read_texts(Corpus *corpus, const PrepareOptions *options, const InputFiles *files, Tokenizer *tokenizer,
                       Message *problem)
{
    if (!corpus_read_texts(corpus, files, options->document_separator, options->utf8, problem)) return false;
    return !options->tokenizer[0] || corpus_cut_texts(corpus, tokenizer, options->output, problem);
}

static bool read_corpus(Corpus *corpus, const PrepareOptions *options, const InputFiles *files, Tokenizer *tokenizer,
                        Message *problem)
{
    bool good = options->ids ? corpus_read_ids(corpus, stdin, options->output, problem)
                : options->tokens[0]
                    ? corpus_read_token_files(corpus, files, (TokenFormat)options->token_format, problem)
                    : read_texts(corpus, options, files, tokenizer, problem);
    if (!good) return false;
    if (corpus->empty)
        printf("left out: %zu document%s without %s\n", corpus->empty, corpus->empty > 1 ? "s" : "",
               options->input[0] ? "text" : "tokens");
    if (corpus->count > 0) return true;
    return options->ids
               ? fail(problem, "no token numbers on standard input. Give one document a line")
               : fail(problem, "'%s' has no %s in it. Check %s", options->input[0] ? options->input : options->tokens,
                      options->input[0] ? "text" : "tokens", options->input[0] ? "--input" : "--tokens");
}

/* ---- writing ---- */

static const char *const file_names[2] = {"train.h5", "validation.h5"};

static void path_of(const PrepareOptions *options, int file, char path[DISK_PATH_SIZE])
{
    snprintf(path, DISK_PATH_SIZE, "%s/%s", options->output, file_names[file]);
}

/* Also a validation.h5 that would not be written now: it would stand beside a train.h5 that it does not belong to. */
static bool check_earlier_files(const PrepareOptions *options, Message *problem)
{
    char path[DISK_PATH_SIZE];
    for (int file = 0; file < 2; file++) {
        struct stat status;
        path_of(options, file, path);
        if (lstat(path, &status)) continue;
        if (!options->overwrite)
            return fail(problem,
                        "'%s' is there already. Choose another folder, or give --overwrite to replace train.h5 and "
                        "validation.h5",
                        path);
        if (!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode))
            return fail(problem, "'%s' is there already, and is no file. Choose another folder with --output", path);
    }
    return true;
}

/* `tokens` (CORPUS_CHUNK) is for its use; the bytes of the text are added to *bytes. */
static bool write_document(TokenWriter *writer, Corpus *corpus, const Document *document, const Tokenizer *tokenizer,
                           int32_t *tokens, size_t *bytes, Message *problem)
{
    int32_t end = (int32_t)corpus->end_of_document;
    bool good = true;
    token_file_begin_document(writer);
    for (size_t first = 0; first < document->length && good; first += CORPUS_CHUNK) {
        size_t left = document->length - first, count = left < CORPUS_CHUNK ? left : CORPUS_CHUNK, length;
        good = corpus_read(corpus, document->source, document->start + first, count, tokens, problem) &&
               token_file_append(writer, tokens, count, problem);
        for (size_t i = 0; i < count && good; i++, *bytes += length) tokenizer_piece(tokenizer, tokens[i], &length);
    }
    return good && (!document->gets_end || token_file_append(writer, &end, 1, problem));
}

static void print_file(const char *path, const Split *split, int file, const Tokenizer *tokenizer, size_t bytes)
{
    printf("%s: %zu document%s, %zu tokens, vocabulary %lld (%s)", path, split->documents[file],
           split->documents[file] == 1 ? "" : "s", split->tokens[file], (long long)tokenizer->vocab_size,
           tokenizer->name);
    if (tokenizer_has_pieces(tokenizer)) printf(", %zu bytes of text", bytes);
    printf("\n");
}

/* Writes the files, train.h5 alone or both; they appear together or not at all. */
static bool write_files(Corpus *corpus, const Split *split, const Tokenizer *tokenizer, const PrepareOptions *options,
                        Message *problem)
{
    char paths[2][DISK_PATH_SIZE];
    TokenWriter *writers[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0};
    int files = split->documents[1] > 0 ? 2 : 1;
    bool good = true;
    for (int i = 0; i < 2; i++) path_of(options, i, paths[i]);
    for (int i = 0; i < files && good; i++) {
        size_t expected =
            i == 0 ? corpus_total_tokens(corpus) : split->tokens[i]; /* room for both, and then for the second */
        good = (writers[i] = token_file_create(paths[i], tokenizer, expected, problem)) != NULL;
    }
    int32_t *tokens = checked_calloc(CORPUS_CHUNK, sizeof *tokens);
    for (size_t d = 0; d < corpus->count && good; d++) {
        int file = split->validation[d];
        good = write_document(writers[file], corpus, &corpus->documents[d], tokenizer, tokens, &bytes[file], problem);
    }
    free(tokens);
    good = good && check_earlier_files(options, problem); /* others may have written meanwhile */
    struct stat status;
    bool obsolete = files == 1 && lstat(paths[1], &status) == 0;
    if (good)
        good = token_file_finish(writers, files, obsolete ? paths[1] : NULL, problem);
    else
        for (int i = 0; i < files; i++) token_file_abandon(writers[i]);
    if (good && obsolete) printf("%s: the earlier one is removed\n", paths[1]);
    for (int i = 0; i < files && good; i++) print_file(paths[i], split, i, tokenizer, bytes[i]);
    return good;
}

/* ---- all together ---- */

static bool read_and_write(Corpus *corpus, const PrepareOptions *options, const InputFiles *files, Tokenizer *tokenizer,
                           Message *problem)
{
    Split split = {0};
    bool good = read_corpus(corpus, options, files, tokenizer, problem) &&
                split_corpus(&split, corpus, options->validation_fraction, options->seed, problem);
    if (good) split_print(&split, corpus);
    good = good && write_files(corpus, &split, tokenizer, options, problem);
    free(split.validation);
    return good;
}

static bool prepare(const PrepareOptions *options, Message *problem)
{
    Corpus corpus = {0};
    InputFiles files = {0};
    Tokenizer tokenizer = {0};
    char nearest[DISK_PATH_SIZE];
    disk_nearest(options->output, nearest);
    bool good = check_earlier_files(options, problem) &&
                choose_tokenizer(options, &tokenizer, &corpus.end_of_document, problem) &&
                find_files(&files, options, problem) && disk_make_folder(options->output, problem);
    if (good) {
        corpus.vocab_size = tokenizer.vocab_size;
        input_files_print_left_out(&files);
        good = read_and_write(&corpus, options, &files, &tokenizer, problem);
    }
    if (!good) disk_remove_folders(options->output, nearest);
    corpus_destroy(&corpus);
    input_files_destroy(&files);
    tokenizer_destroy(&tokenizer);
    return good;
}

int prepare_main(int argc, char **argv)
{
    PrepareOptions options;
    OptionTable table = {rows, (int)(sizeof rows / sizeof *rows), &options};
    Message problem;
    arguments_read(&table, argc, argv);
    /* The work is for one process; the others only learn whether it went well. */
    bool good = world().rank > 0 || (check_options(&options, &problem) && prepare(&options, &problem));
    require_all(good, &problem);
    return EXIT_SUCCESS;
}
