/* polysketch inspect: what is in a checkpoint, a token file or a metrics file. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/disk.h"
#include "io/file_format.h"
#include "io/metrics.h"
#include "io/token_file.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/memory.h"
#include "src/base/options.h"
#include "src/programs/inspect.h"
#include "src/programs/programs.h"

#define AT(field) offsetof(InspectOptions, field)

static const OptionRow rows[] = {
    {"", "stats", OPTION_BOOL, AT(stats), "false", 0, 0, "", false,
     "of a checkpoint: a small histogram of each tensor, and with --json mean and deviation"},
    {"", "json", OPTION_BOOL, AT(json), "false", 0, 0, "", false, "one JSON document instead of text"},
};

const CommandHelp inspect_help = {
    .usage = "polysketch inspect FILE [--stats] [--json]\n"
             "polysketch inspect CHECKPOINT OTHER_CHECKPOINT [--json]",
    .text = "Prints what is in a checkpoint, a token file or a metrics file, and checks its values; of a file of "
            "losses or of a recurrent state it says which it is. Of two checkpoints "
            "it says "
            "how far each tensor of the first is from that of the second: the largest difference, and the norm of the "
            "difference over that of the first; and which options differ. Different or not, the exit code is 0.",
    .example = "polysketch inspect results/run/checkpoints/step-00000100.h5 --stats",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

void inspect_say_tokenizer(const Tokenizer *tokenizer, Facts *facts)
{
    bool pieces = tokenizer_has_pieces(tokenizer);
    facts_text(facts, "tokenizer", "tokenizer       %s", tokenizer->name);
    facts_flag(facts, "pieces", pieces);
    facts_say(facts, "%s\n", pieces ? "" : " (no pieces)");
    const TokenizerFile *file = &tokenizer->file;
    if (!file->kind) return;
    char digest[DIGEST_TEXT_SIZE];
    digest_format(digest_bytes(file->bytes, file->count), digest);
    facts_text(facts, "tokenizer_file", "                kept as its %s", file->kind->file_name);
    facts_text(facts, "tokenizer_form", " (%s)", file->kind->title);
    facts_integer(facts, "tokenizer_bytes", ", %lld bytes", (int64_t)file->count);
    facts_text(facts, "tokenizer_xxh3", ", xxh3 %s\n", digest);
}

/* ---- token files ---- */

/* Appends a piece, with what cannot be printed as \n, \t or \xNN; UTF-8 goes to the terminal as it is. */
static void add_piece(FILE *text, const Tokenizer *tokenizer, int64_t token)
{
    size_t length;
    const uint8_t *piece = tokenizer_piece(tokenizer, token, &length);
    for (size_t i = 0; i < length; i++) {
        if (piece[i] == '\n')
            fprintf(text, "\\n");
        else if (piece[i] == '\t')
            fprintf(text, "\\t");
        else if (piece[i] == '\\' || piece[i] == '"')
            fprintf(text, "\\%c", piece[i]);
        else if (isprint(piece[i]) || (piece[i] >= 0x80 && length > 1))
            putc(piece[i], text);
        else
            fprintf(text, "\\x%02x", piece[i]);
    }
}

/* Pieces of `count` tokens as one text, which the caller frees. */
static char *pieces_text(const Tokenizer *tokenizer, const int32_t *tokens, size_t count)
{
    char *text = NULL;
    size_t length = 0;
    FILE *pieces = open_memstream(&text, &length);
    CHECK(pieces, "cannot allocate the text of %zu tokens", count);
    for (size_t i = 0; i < count; i++) add_piece(pieces, tokenizer, tokens[i]);
    fclose(pieces);
    return text;
}

static void say_first_tokens(const Tokenizer *tokenizer, const int32_t *tokens, size_t count, Facts *facts)
{
    facts_say(facts, "first tokens   ");
    facts_open_list(facts, "first_tokens");
    for (size_t i = 0; i < count && i < 16; i++) facts_integer(facts, NULL, " %lld", tokens[i]);
    facts_close(facts);
    facts_say(facts, "\n");
    if (!tokenizer_has_pieces(tokenizer)) return;
    char *text = pieces_text(tokenizer, tokens, count < 64 ? count : 64);
    facts_text(facts, "first_text", "as text         \"%s\"\n", text);
    free(text);
}

static void say_most_frequent(const Tokenizer *tokenizer, size_t *counts, size_t total, Facts *facts)
{
    bool has_pieces = tokenizer_has_pieces(tokenizer);
    facts_say(facts, "\n%10s %12s %8s  %s\n", "token", "count", "percent", has_pieces ? "piece" : "");
    facts_open_list(facts, "most_frequent");
    for (int place = 0; place < 10; place++) {
        int32_t best = 0;
        for (int32_t id = 1; id < tokenizer->vocab_size; id++)
            if (counts[id] > counts[best]) best = id;
        if (counts[best] == 0) break;
        facts_open(facts, NULL);
        facts_integer(facts, "token", "%10lld", best);
        facts_integer(facts, "count", " %12lld", (int64_t)counts[best]);
        facts_real(facts, "percent", " %7.2f%%  ", 100.0 * (double)counts[best] / (double)total);
        char *text = has_pieces ? pieces_text(tokenizer, &best, 1) : NULL;
        if (text) facts_text(facts, "piece", "\"%s\"", text);
        facts_say(facts, "\n");
        facts_close(facts);
        free(text);
        counts[best] = 0;
    }
    facts_close(facts);
}

static bool say_contents(TokenFile *file, int32_t *tokens, size_t chunk, size_t *counts, Facts *facts, Message *problem)
{
    for (size_t first = 0; first < file->count; first += chunk) {
        size_t count = file->count - first < chunk ? file->count - first : chunk;
        if (!token_file_read(file, first, count, tokens, problem)) return false; /* also checks every token */
        if (first == 0) say_first_tokens(&file->tokenizer, tokens, count, facts);
        for (size_t i = 0; i < count; i++) counts[tokens[i]]++;
    }
    size_t used = 0;
    for (int64_t id = 0; id < file->vocab_size; id++) used += counts[id] > 0;
    facts_integer(facts, "different", "different       %lld tokens of the vocabulary occur\n", (int64_t)used);
    say_most_frequent(&file->tokenizer, counts, file->count, facts);
    return true;
}

static bool say_documents(TokenFile *file, Facts *facts, Message *problem)
{
    enum { CHUNK = 1 << 16 };
    if (file->document_count == 0) {
        facts_say(facts, "documents       the file does not say where they start\n");
        return true;
    }
    int64_t *starts = checked_calloc(CHUNK, sizeof *starts);
    size_t least = file->count, most = 0, start = 0;
    bool good = true;
    for (size_t first = 1; first <= file->document_count && good;
         first += CHUNK) { /* the last one ends with the file */
        size_t left = file->document_count - first, count = left < CHUNK ? left : CHUNK;
        good = token_file_documents(file, first, count, starts, problem);
        if (count < CHUNK) starts[count++] = (int64_t)file->count;
        for (size_t i = 0; i < count && good; start = (size_t)starts[i++]) {
            size_t length = (size_t)starts[i] - start;
            least = length < least ? length : least;
            most = length > most ? length : most;
        }
    }
    free(starts);
    if (!good) return false;
    facts_integer(facts, "documents", "documents       %lld", (int64_t)file->document_count);
    facts_integer(facts, "shortest_document", ", of %lld", (int64_t)least);
    facts_integer(facts, "longest_document", " to %lld tokens\n", (int64_t)most);
    return true;
}

static bool inspect_tokens(const char *path, Facts *facts, Message *problem)
{
    enum { CHUNK = 1 << 20 };
    TokenFile *file = token_file_open(path, problem);
    if (!file) return false;
    facts_integer(facts, "tokens", "tokens          %lld", (int64_t)file->count);
    facts_integer(facts, "token_bits", ", stored as uint%lld\n", 8 * file->token_bytes);
    facts_integer(facts, "vocabulary", "vocabulary      %lld\n", file->vocab_size);
    inspect_say_tokenizer(&file->tokenizer, facts);
    int32_t *tokens = checked_calloc(CHUNK, sizeof *tokens);
    size_t *counts = checked_calloc((size_t)file->vocab_size, sizeof *counts);
    bool good = say_documents(file, facts, problem) && say_contents(file, tokens, CHUNK, counts, facts, problem) &&
                token_file_examine(file, problem);
    free(counts);
    free(tokens);
    token_file_close(file);
    return good;
}

/* ---- metrics ---- */

static void say_column(void *context, const char *group, const char *column, const double *values, size_t count)
{
    Facts *facts = context;
    char name[160];
    snprintf(name, sizeof name, "/%s/%s", group, column);
    facts_open(facts, NULL);
    facts_text(facts, "name", "%-40s", name);
    facts_integer(facts, "rows", " %10lld ", (int64_t)count);
    facts_open_list(facts, "last");
    for (size_t i = count > 3 ? count - 3 : 0; i < count; i++) facts_real(facts, NULL, " %14.8g", values[i]);
    facts_close(facts);
    facts_say(facts, "\n");
    facts_close(facts);
}

static bool inspect_metrics(const char *path, Facts *facts, Message *problem)
{
    facts_say(facts, "%-40s %10s  %14s\n", "column", "rows", "last values");
    facts_open_list(facts, "columns");
    bool good = metrics_visit(path, say_column, facts, problem);
    facts_close(facts);
    return good;
}

/* ---- any file ---- */

/* A folder or a table as text has something beside or in it that can be inspected. */
static bool check_is_file(const char *path, Message *problem)
{
    char newest[CHECKPOINT_PATH_SIZE], folder[DISK_PATH_SIZE];
    int64_t step;
    struct stat status;
    bool is_folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    const char *end = strrchr(path, '.');
    if (is_folder && checkpoint_find_newest(path, INT64_MAX, newest, &step))
        return fail(problem, "'%s' is the folder of a run. Name a file in it, such as '%s'", path, newest);
    if (is_folder)
        return fail(problem, "'%s' is a folder. Name a checkpoint, a token file or a metrics file in it", path);
    if (!end || strcmp(end, ".csv") || access(path, R_OK)) return true;
    disk_folder_of(path, folder);
    return fail(problem, "'%s' is a table as text: look at it with any program. Of a run, '%s/metrics.h5' has the same",
                path, folder);
}

static bool inspect_file(const char *path, const InspectOptions *options, Facts *facts, Message *problem)
{
    char format[64];
    int64_t version;
    if (!check_is_file(path, problem) || !file_format_read(path, format, &version, problem)) return false;
    facts_text(facts, "file", "file            %s\n", path);
    facts_text(facts, "format", "format          %s", format);
    facts_integer(facts, "format_version", ", version %lld\n", version);
    if (strcmp(format, FORMAT_CHECKPOINT) == 0) return inspect_checkpoint(path, options, facts, problem);
    if (strcmp(format, FORMAT_TOKENS) == 0) return inspect_tokens(path, facts, problem);
    if (strcmp(format, FORMAT_METRICS) == 0) return inspect_metrics(path, facts, problem);
    if (strcmp(format, FORMAT_LOSSES) == 0) {
        facts_say(facts, "losses per token of an evaluation: dataset /per_token_loss (sequences, T). Try: h5ls %s\n",
                  path);
        return true;
    }
    if (strcmp(format, FORMAT_STATE) == 0) {
        facts_say(facts, "recurrent state of a text, for generate --load_state: groups layers.N. Try: h5ls -r %s\n",
                  path);
        return true;
    }
    return fail(problem, "'%s' says it has the format '%.63s', which is unknown here. Try: h5ls -r %s", path, format,
                path);
}

/* One file, or two checkpoints. */
static bool inspect(const char *const paths[2], const InspectOptions *options, Message *problem)
{
    Facts *facts = facts_create(options->json);
    bool good = paths[1] ? check_is_file(paths[0], problem) && check_is_file(paths[1], problem) &&
                               inspect_difference(paths[0], paths[1], facts, problem)
                         : inspect_file(paths[0], options, facts, problem);
    if (good) facts_finish(facts);
    facts_destroy(facts);
    return good;
}

int inspect_main(int argc, char **argv)
{
    InspectOptions options;
    OptionTable table = {rows, (int)(sizeof rows / sizeof *rows), &options};
    Message problem;
    const char *paths[2] = {NULL, NULL};
    option_set_defaults(&table);
    bool good = option_read_arguments(&table, 1, argc, argv, paths, 2, &problem);
    if (good && !paths[0]) good = fail(&problem, "which file? Usage: polysketch inspect FILE; --help explains");
    if (good && paths[1] && options.stats)
        good = fail(&problem, "--stats is for one checkpoint, not for the difference of two. Leave it out");
    require_all(good, &problem);
    good = world().rank > 0 || inspect(paths, &options, &problem); /* the others only wait */
    require_all(good, &problem);
    return EXIT_SUCCESS;
}
