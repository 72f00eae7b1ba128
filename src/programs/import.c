/* polysketch import: a folder of weights, as polysketch export writes it, becomes a checkpoint (docs/weights.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/disk.h"
#include "io/model_json.h"
#include "io/safetensors.h"
#include "io/tokenizer_json.h"
#include "mpi/param_store_replicated.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/programs/configuration.h"
#include "src/programs/programs.h"

typedef struct ImportOptions {
    char from[OPTION_TEXT_SIZE], to[OPTION_TEXT_SIZE];
    bool overwrite;
} ImportOptions;

#define AT(field) offsetof(ImportOptions, field)

static const OptionRow rows[] = {
    {"", "from", OPTION_TEXT, AT(from), "", 1, 0, "", false,
     "folder with model.safetensors, config.json and, where there is a tokenizer, tokenizer.json, tokenizer.model or "
     "pieces.json"},
    {"", "to", OPTION_TEXT, AT(to), "", 1, 0, "", false, "checkpoint to write, FILE.h5"},
    {"", "overwrite", OPTION_BOOL, AT(overwrite), "false", 0, 0, "", false, "replace the file where it is there"},
};

const CommandHelp import_help = {
    .usage = "polysketch import --from=FOLDER --to=FILE.h5 [options]",
    .text = "Makes a checkpoint of a folder that polysketch export wrote, or that was saved from one with "
            "save_pretrained() of "
            "Hugging Face's transformers. eval, generate and inspect read it, a new run begins with it "
            "(--train.init_from). It "
            "has no states of an optimizer, and the defaults in the options that are not the model's.",
    .example = "polysketch import --from=a --to=a.h5\n"
               "polysketch train configs/default.ini --train.init_from=a.h5 --output.folder=results/b",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

/* A file of the folder. */
static void path_in(const char *folder, const char *name, char path[DISK_PATH_SIZE])
{
    snprintf(path, DISK_PATH_SIZE, "%.800s/%s", folder, name);
}

static bool check_options(const ImportOptions *options, Message *problem)
{
    if (!options->from[0]) return fail(problem, "--from=FOLDER is missing. polysketch import --help explains");
    if (!options->to[0]) return fail(problem, "--to=FILE.h5 is missing. polysketch import --help explains");
    if (!options->overwrite && access(options->to, F_OK) == 0)
        return fail(problem, "'%s' is there already. Choose another name, or give --overwrite to replace it",
                    options->to);
    return true;
}

/* ---- reading, on rank 0 ---- */

static bool read_config(const ImportOptions *options, Config *config, Message *problem)
{
    char path[DISK_PATH_SIZE];
    NameList absent = {0};
    OptionTable table = config_options(config);
    path_in(options->from, "config.json", path);
    if (!model_json_read(path, &table, &absent, problem)) return false;
    if (absent.count > 0)
        log_line("note: '%s' does not say %s (%zu in all): they have their defaults", path, absent.text, absent.count);
    return true;
}

/* Other forms in which transformers saves weights, and what makes it save them in this one. */
static const struct {
    const char *name, *remedy;
} other_weights[] = {
    {"model.safetensors.index.json", "they are in several files. Save them in one, with max_shard_size=\"1000GB\""},
    {"pytorch_model.bin", "they are in a file of PyTorch's own. Save them with safe_serialization=True"},
};

static bool check_weights_are_there(const char *folder, const char *path, Message *problem)
{
    char other[DISK_PATH_SIZE];
    for (size_t i = 0; i < sizeof other_weights / sizeof *other_weights && access(path, F_OK); i++) {
        path_in(folder, other_weights[i].name, other);
        if (access(other, F_OK) == 0)
            return fail(problem, "the folder '%s' has weights, but %s", folder, other_weights[i].remedy);
    }
    return true;
}

static bool read_weights(const ImportOptions *options, ParamStore *store, Progress *progress, Message *problem)
{
    char path[DISK_PATH_SIZE];
    Message cause;
    path_in(options->from, "model.safetensors", path);
    if (!check_weights_are_there(options->from, path, problem)) return false;
    SafeTensors *file = safetensors_open(path, problem);
    if (!file) return false;
    const char *step = safetensors_metadata(file, "polysketch_step");
    if (step) progress->step = strtoll(step, NULL, 10);
    if (progress->step < 0) progress->step = 0;
    bool good = safetensors_load(file, store, &cause);
    safetensors_close(file);
    return good || fail(problem, "'%.400s': %.600s", path, cause.text);
}

/* The first of these that is there. */
static const char *const tokenizer_files[] = {"tokenizer.json", "tokenizer.model", "pieces.json"};

static bool another_follows(const char *folder, size_t taken)
{
    char path[DISK_PATH_SIZE];
    for (size_t i = taken + 1; i < sizeof tokenizer_files / sizeof *tokenizer_files; i++) {
        path_in(folder, tokenizer_files[i], path);
        if (access(path, F_OK) == 0) return true;
    }
    return false;
}

static bool read_tokenizer(const ImportOptions *options, const Config *config, Tokenizer *tokenizer, Message *problem)
{
    char path[DISK_PATH_SIZE];
    Message remark = {""};
    size_t i = 0, count = sizeof tokenizer_files / sizeof *tokenizer_files;
    *tokenizer = (Tokenizer){.name = "unknown"};
    for (; i < count; i++) {
        path_in(options->from, tokenizer_files[i], path);
        if (access(path, F_OK) == 0) break;
    }
    if (i == count) return true;
    bool table = i == count - 1;
    Message cause;
    if (!(table ? pieces_json_read(path, tokenizer, &cause) : tokenizer_read(path, tokenizer, &remark, &cause)))
        return fail(problem, "%.800s%s", cause.text,
                    another_follows(options->from, i) ? ". Or remove it: the folder has another tokenizer" : "");
    if (remark.text[0]) log_line("note: '%.400s': %.500s", path, remark.text);
    return tokenizer->vocab_size <= config->model.vocab_size ||
           fail(problem,
                "'%.600s' has %lld pieces, but config.json a vocabulary of %lld. Use files that belong together", path,
                (long long)tokenizer->vocab_size, (long long)config->model.vocab_size);
}

/* ---- all together, on all ranks ---- */

/* Leaves no folder behind that it made in vain. */
static bool write_checkpoint(const Checkpoint *checkpoint, const char *path, Message *problem)
{
    char folder[DISK_PATH_SIZE], nearest[DISK_PATH_SIZE];
    disk_folder_of(path, folder);
    disk_nearest(folder, nearest);
    bool good = checkpoint_write(checkpoint, path, problem);
    if (!good && world().rank == 0) disk_remove_folders(folder, nearest);
    return good;
}

/* Everything that rank 0 reads comes before anything is written. */
static void import_model(const ImportOptions *options, Config *config)
{
    Message problem;
    Tokenizer tokenizer = {.name = "unknown"};
    Progress progress = {0};
    bool reads = world().rank == 0;
    ModelSpec spec = config_model_spec(config);
    Model *model = model_create(&spec);
    ParamStore *store = param_store_replicated(&model->table, NULL, STORE_VALUES, SUMS_LAST);
    bool read = !reads || (read_weights(options, store, &progress, &problem) &&
                           read_tokenizer(options, config, &tokenizer, &problem));
    require_all(read, &problem);
    param_store_place_all(store);
    world_broadcast(&progress, sizeof progress);
    Checkpoint checkpoint = {
        .options = config_options(config), .store = store, .progress = progress, .tokenizer = &tokenizer};
    require_all(write_checkpoint(&checkpoint, options->to, &problem), &problem);
    log_line("%s: %d tensors, step %lld, %s", options->to, model->table.count, (long long)progress.step,
             tokenizer_has_pieces(&tokenizer) ? tokenizer.name : "no pieces of a tokenizer");
    param_store_destroy(store);
    model_destroy(model);
    tokenizer_destroy(&tokenizer);
}

int import_main(int argc, char **argv)
{
    ImportOptions options;
    OptionTable table = {rows, sizeof rows / sizeof *rows, &options};
    Message problem, cause;
    Config config;
    bool reads = world().rank == 0;
    arguments_read(&table, argc, argv);
    config_defaults(&config);
    require_all(!reads || (check_options(&options, &problem) && read_config(&options, &config, &problem)), &problem);
    world_broadcast(&config, sizeof config);
    bool finished = config_finish(&config, 0, &cause);
    if (!finished) fail(&problem, "the model of '%.300s/config.json': %.600s", options.from, cause.text);
    require_all(finished, &problem);
    import_model(&options, &config);
    return EXIT_SUCCESS;
}
