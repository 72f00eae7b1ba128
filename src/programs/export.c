/* polysketch export: a checkpoint as a folder that Hugging Face's transformers reads, with the model in PyTorch
   (docs/weights.md). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "io/model_json.h"
#include "io/safetensors.h"
#include "io/tokenizer_json.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/version.h"
#include "src/library/loaded_model.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"
#include "src/programs/python_files.h"

typedef struct ExportOptions {
    char checkpoint[OPTION_TEXT_SIZE], to[OPTION_TEXT_SIZE];
    bool overwrite;
} ExportOptions;

#define AT(field) offsetof(ExportOptions, field)

static const OptionRow rows[] = {
    {"", "checkpoint", OPTION_TEXT, AT(checkpoint), "", 1, 0, "", false, "the model"},
    {"", "to", OPTION_TEXT, AT(to), "", 1, 0, "", false, "folder for its files"},
    {"", "overwrite", OPTION_BOOL, AT(overwrite), "false", 0, 0, "", false,
     "replace the files of an earlier export there, and remove those of another tokenizer"},
};

const CommandHelp export_help = {
    .usage = "polysketch export --checkpoint=FILE --to=FOLDER [options]",
    .text = "Writes the weights of a checkpoint as model.safetensors, beside them config.json, the model as a file of "
            "PyTorch, "
            "and the tokenizer where its pieces are known, as tokenizer.json or tokenizer.model where it came as that: "
            "a folder for the from_pretrained() of Hugging Face's "
            "transformers. "
            "States of the optimizer stay behind. polysketch import goes the other way.",
    .example = "polysketch export --checkpoint=results/a/checkpoints/step-00001000.h5 --to=a\n"
               "python3 -c 'from transformers import AutoModelForCausalLM\n"
               "print(AutoModelForCausalLM.from_pretrained(\"./a\", trust_remote_code=True))'",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

/* ---- the files ---- */

/* What is exported. */
typedef struct Exported {
    const LoadedModel *model;
    OptionTable options;
    int64_t end_of_document; /* the token; -1: none is known */
} Exported;

static void print_weights(FILE *stream, const char *name, const Exported *exported)
{
    char step[32], version[160];
    (void)name;
    snprintf(step, sizeof step, "%lld", (long long)exported->model->step);
    snprintf(version, sizeof version, "%.150s", source_version());
    const SafeMetadata metadata[] = {{"format", "pt"}, {"polysketch_step", step}, {"polysketch_version", version}};
    safetensors_write(stream, exported->model->params, metadata, sizeof metadata / sizeof *metadata);
}

static void print_config(FILE *stream, const char *name, const Exported *exported)
{
    (void)name;
    model_json_print(stream, &exported->options, exported->end_of_document);
}

static void print_generation(FILE *stream, const char *name, const Exported *exported)
{
    (void)name;
    const Tokenizer *tokenizer = &exported->model->tokenizer;
    int64_t vocab_size = (int64_t)exported->model->model->vocab_size;
    int64_t drawable = tokenizer_has_pieces(tokenizer) ? tokenizer->vocab_size : vocab_size;
    generation_json_print(stream, exported->end_of_document, drawable, vocab_size);
}

static void print_python(FILE *stream, const char *name, const Exported *exported)
{
    (void)exported;
    python_file_print(stream, name);
}

static void print_pieces(FILE *stream, const char *name, const Exported *exported)
{
    (void)name;
    pieces_json_print(stream, &exported->model->tokenizer, exported->end_of_document);
}

static void print_tokenizer_config(FILE *stream, const char *name, const Exported *exported)
{
    (void)name;
    tokenizer_config_print(stream, &exported->model->tokenizer, exported->end_of_document);
}

static void print_tokenizer_file(FILE *stream, const char *name, const Exported *exported)
{
    (void)name;
    const TokenizerFile *file = &exported->model->tokenizer.file;
    fwrite(file->bytes, 1, file->count, stream);
}

/* `tokenizer`: the file is there when that is the model's; NULL: always, any: when its pieces are known, table: when that is all,
   or the name of its own file. */
static const char any[] = "any", table_of_pieces[] = "table", of_json[] = "tokenizer.json",
                  of_model[] = "tokenizer.model";
static const struct {
    const char *name, *tokenizer;
    void (*print)(FILE *stream, const char *name, const Exported *exported);
} files[] = {
    {"model.safetensors", NULL, print_weights},
    {"config.json", NULL, print_config},
    {"generation_config.json", NULL, print_generation},
    {"configuration_polysketch.py", NULL, print_python},
    {"modeling_polysketch.py", NULL, print_python},
    {"pieces.json", table_of_pieces, print_pieces},
    {"tokenizer.json", of_json, print_tokenizer_file},
    {"tokenizer.model", of_model, print_tokenizer_file},
    {"tokenizer_config.json", any, print_tokenizer_config},
    {"tokenization_polysketch.py", table_of_pieces, print_python},
    {"tokenization_polysketch_sentencepiece.py", of_model, print_python},
};
enum { FILES = sizeof files / sizeof *files };

static bool is_wanted(int file, const Tokenizer *tokenizer)
{
    const char *wanted = files[file].tokenizer, *is = table_of_pieces;
    if (!wanted) return true;
    if (tokenizer->file.kind) is = tokenizer->file.kind->file_name;
    return tokenizer_has_pieces(tokenizer) && (wanted == any || strcmp(wanted, is) == 0);
}

/* Where they go: names, and those that they have until all are written. */
typedef struct Places {
    char paths[FILES][DISK_PATH_SIZE], temporaries[FILES][DISK_PATH_SIZE];
    bool written[FILES], left[FILES]; /* `left`: of another tokenizer, they go */
} Places;

static bool write_one(Places *places, int file, const Exported *exported, Message *problem)
{
    const char *path = places->paths[file];
    FILE *stream = fopen(places->temporaries[file], "wb");
    if (!stream)
        return fail(problem, "cannot write '%.900s': %s. Choose another folder with --to", path, strerror(errno));
    places->written[file] = true;
    files[file].print(stream, files[file].name, exported);
    return disk_close(stream, path, problem);
}

static void note_left(Places *places)
{
    for (int i = 0; i < FILES; i++) places->left[i] = !places->written[i] && access(places->paths[i], F_OK) == 0;
}

/* All of them appear, and those of an earlier export that this one has not go, or everything stays as it was. */
static bool write_files(Places *places, const Exported *exported, Message *problem)
{
    const char *temporaries[FILES], *paths[FILES];
    bool good = true;
    for (int i = 0; i < FILES && good; i++)
        if (is_wanted(i, &exported->model->tokenizer)) good = write_one(places, i, exported, problem);
    for (int i = 0; i < FILES; i++) {
        paths[i] = places->paths[i];
        temporaries[i] = places->written[i] ? places->temporaries[i] : NULL;
    }
    note_left(places);
    good = good && disk_rename_all(temporaries, paths, FILES, problem);
    for (int i = 0; i < FILES && good; i++)
        if (places->left[i]) log_line("note: '%s' did not belong to this model and is removed", paths[i]);
    for (int i = 0; i < FILES && !good; i++)
        if (temporaries[i]) unlink(temporaries[i]); /* one that has its name is not there any more */
    return good;
}

/* ---- all together ---- */

static void name_places(Places *places, const char *folder)
{
    for (int i = 0; i < FILES; i++) {
        snprintf(places->paths[i], DISK_PATH_SIZE, "%.800s/%s", folder, files[i].name);
        disk_temporary_of(places->paths[i], places->temporaries[i]);
    }
}

static bool check_options(const ExportOptions *options, const Places *places, Message *problem)
{
    if (!options->to[0]) return fail(problem, "--to=FOLDER is missing. polysketch export --help explains");
    for (int i = 0; i < FILES && !options->overwrite; i++)
        if (access(places->paths[i], F_OK) == 0)
            return fail(problem, "'%.800s' is there already. Choose another folder, or give --overwrite to replace it",
                        places->paths[i]);
    return true;
}

static bool export_model(const ExportOptions *options, Places *places, const Exported *exported, Message *problem)
{
    char nearest[DISK_PATH_SIZE];
    disk_nearest(options->to, nearest);
    bool good = disk_make_folder(options->to, problem) &&
                disk_has_room(places->paths[0], safetensors_bytes(exported->model->params->params), problem) &&
                write_files(places, exported, problem);
    if (!good) disk_remove_folders(options->to, nearest);
    return good;
}

static void say_result(const ExportOptions *options, const Exported *exported)
{
    char bytes[32];
    char described[TOKENIZER_TEXT_SIZE];
    const Tokenizer *tokenizer = &exported->model->tokenizer;
    log_line("%s: %d tensors of step %lld, %s", options->to, exported->model->params->params->count,
             (long long)exported->model->step,
             log_bytes((double)safetensors_bytes(exported->model->params->params), bytes));
    if (tokenizer_has_pieces(tokenizer))
        log_line("tokenizer %s of %lld pieces%s", tokenizer_describe(tokenizer, described),
                 (long long)tokenizer->vocab_size,
                 exported->end_of_document < 0 ? "; no token is known to end a document" : "");
    else
        log_line("no tokenizer: the checkpoint has no table of pieces, so the model takes token numbers");
}

int export_main(int argc, char **argv)
{
    static Places places;
    ExportOptions options;
    OptionTable table = {rows, sizeof rows / sizeof *rows, &options};
    Message problem;
    int found;
    arguments_read(&table, argc, argv);
    name_places(&places, options.to);
    require_all(world().rank > 0 || check_options(&options, &places, &problem), &problem);
    LoadedModel loaded = loaded_model_read(options.checkpoint);
    Exported exported = {&loaded, config_options(&loaded.config), tokenizer_find_end(&loaded.tokenizer, &found)};
    bool good = world().rank > 0 || export_model(&options, &places, &exported, &problem); /* the others only wait */
    require_all(good, &problem);
    say_result(&options, &exported);
    loaded_model_destroy(&loaded);
    return EXIT_SUCCESS;
}
