/* Reading checkpoints (io/checkpoint.h) with the POSIX driver: on the calling rank alone, but for what is loaded into a store,
   which process 0 of it reads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "io/checkpoint_parts.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "io/name_list.h"
#include "io/piece_store.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/memory.h"

bool checkpoint_open(const char *path, hid_t *file, Message *problem)
{
    if (!h5_open_readonly(path, file, problem)) return false;
    if (h5_check_format(*file, path, FORMAT_CHECKPOINT, "Name a file <folder>/checkpoints/step-....h5", problem))
        return true;
    CHECK_H5(H5Fclose(*file));
    *file = -1;
    return false;
}

bool checkpoint_open_group(hid_t file, const char *path, const char *name, hid_t *group, Message *problem)
{
    if (h5_has(file, name) && (*group = H5Gopen2(file, name, H5P_DEFAULT)) >= 0) return true;
    return fail(problem, "the checkpoint '%s' has no group /%s. Choose another checkpoint", path, name);
}

/* ---- configuration ---- */

static bool read_option(hid_t group, const OptionTable *options, const OptionRow *row, Message *problem)
{
    char name[128], text[OPTION_TEXT_SIZE];
    int64_t whole;
    double value;
    option_name(row, name);
    bool found = false;
    if (row->type == OPTION_INTEGER && (found = h5_read_integer(group, name, &whole)))
        snprintf(text, sizeof text, "%lld", (long long)whole);
    if (row->type == OPTION_BOOL && (found = h5_read_integer(group, name, &whole)))
        strcpy(text, whole ? "true" : "false");
    if (row->type == OPTION_REAL && (found = h5_read_real(group, name, &value)))
        snprintf(text, sizeof text, isnan(value) ? "auto" : "%.17g", value);
    if (!found) found = h5_read_text(group, name, text, sizeof text); /* a choice, a text, or a number written as one */
    if (!found && H5Aexists(group, name) != 0)
        return fail(problem, "its option %s cannot be read; the file is damaged. Use another checkpoint", name);
    return !found || option_set(options, 1, name, text, problem);
}

bool checkpoint_read_options(const char *path, const OptionTable *options, Message *problem)
{
    hid_t file, group = -1;
    Message detail;
    if (!checkpoint_open(path, &file, problem)) return false;
    bool good = checkpoint_open_group(file, path, "config", &group, problem);
    if (good) {
        for (int i = 0; i < options->count && good; i++) good = read_option(group, options, &options->rows[i], &detail);
        if (!good) fail(problem, "the checkpoint '%s': %.600s", path, detail.text);
        CHECK_H5(H5Gclose(group));
    }
    CHECK_H5(H5Fclose(file));
    return good;
}

typedef struct Unknown {
    const OptionTable *options;
    NameList names;
} Unknown;

static herr_t note_unknown(hid_t group, const char *name, const H5A_info_t *info, void *context)
{
    (void)group, (void)info;
    Unknown *unknown = context;
    char known[128];
    for (int i = 0; i < unknown->options->count; i++) {
        option_name(&unknown->options->rows[i], known);
        if (strcmp(known, name) == 0) return 0;
    }
    name_list_add(&unknown->names, name);
    return 0;
}

bool checkpoint_has_unknown_options(const char *path, const OptionTable *options, Message *names)
{
    hid_t file, group = -1;
    Message unused;
    Unknown unknown = {.options = options};
    if (!checkpoint_open(path, &file, &unused)) return false;
    if (checkpoint_open_group(file, path, "config", &group, &unused)) {
        H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, note_unknown, &unknown);
        CHECK_H5(H5Gclose(group));
    }
    CHECK_H5(H5Fclose(file));
    return unknown.names.count > 0 &&
           !fail(names,
                 "'%.300s' has options that this program does not know, so that they mean nothing: %s (%zu in all). "
                 "Another version made it",
                 path, unknown.names.text, unknown.names.count);
}

/* ---- tensors ---- */

bool checkpoint_open_tensor(hid_t group, const char *name, const char *path, hid_t *dataset, TensorShape *shape,
                            Message *problem)
{
    hsize_t extents[H5_DIMENSIONS];
    if (!h5_open_array(group, name, path, dataset, &shape->dimensions, extents, problem)) return false;
    for (int i = 0; i < shape->dimensions; i++) shape->extents[i] = extents[i];
    return true;
}

static bool check_shape(const Param *param, const char *path, const TensorShape *shape, Message *problem)
{
    if (tensor_shape_equal(shape, &param->shape)) return true;
    char found[TENSOR_SHAPE_TEXT], needed[TENSOR_SHAPE_TEXT];
    tensor_shape_format(shape, found);
    tensor_shape_format(&param->shape, needed);
    return fail(problem,
                "the checkpoint '%s': %s has shape %s, but this model needs %s. Use the model options it was made with",
                path, param->name, found, needed);
}

bool checkpoint_read_tensor(hid_t group, const Param *param, const char *path, real *values, Message *problem)
{
    hid_t dataset, type = sizeof(real) == sizeof(float) ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
    TensorShape shape = {0};
    if (!checkpoint_open_tensor(group, param->name, path, &dataset, &shape, problem)) return false;
    bool good = check_shape(param, path, &shape, problem);
    if (good && (!h5_is_of(dataset, H5T_FLOAT) || H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0))
        good = fail(problem, "the checkpoint '%s': %s cannot be read; the file is damaged. Use an earlier checkpoint",
                    path, param->name);
    for (size_t i = 0; i < param->count && good; i++)
        if (!isfinite(values[i]))
            good = fail(problem,
                        "the checkpoint '%s': element %zu of %s is not finite: training had diverged. Use an earlier "
                        "checkpoint and a smaller train.learning_rate",
                        path, i, param->name);
    if (good && !h5_digest_agrees(dataset, digest_reals(values, param->count)))
        good = h5_fail_digest(path, param->name, problem);
    CHECK_H5(H5Dclose(dataset));
    return good;
}

/* A model that leaves tensors out is not the one that was trained. All of the table are in the file, which is known, so that
   there are more only if their numbers differ. `state`: of the optimizer, or "" */
static bool check_all_used(hid_t group, const char *path, const char *state, const ParamTable *table, Message *problem)
{
    H5Members members;
    NameList unused = {0};
    char full[H5_NAME_SIZE + 40];
    size_t expected = 0, prefix = strlen(state);
    for (int i = 0; i < table->count; i++) expected += strncmp(table->params[i].name, state, prefix) == 0;
    if (!checkpoint_tensor_names(group, path, &members, problem)) return false;
    for (size_t i = 0; i < members.count && members.count != expected; i++) {
        snprintf(full, sizeof full, "%s%s", state, members.names[i]);
        if (!param_table_find(table, full)) name_list_add(&unused, full);
    }
    h5_members_free(&members);
    return unused.count == 0 ||
           fail(problem,
                "the checkpoint '%s' has tensors that this model does not use: %s (%zu in all). Use the "
                "model options it was made with, or another checkpoint",
                path, unused.text, unused.count);
}

/* A file on its way into a store. */
typedef struct Reading {
    const char *path;
    ParamStore *store;
    bool reads; /* this is process 0 of the store; the fields below are its own */
    hid_t file, group;
    real *room; /* for the largest tensor */
} Reading;

/* All processes of the store go on, or none does. */
static bool agree(const Reading *reading, bool good, Message *problem)
{
    return reading->store->ranks == 1 ? good : world_agree(good, problem);
}

/* Tensors of the open group, one at a time: process 0 reads and judges it, then all take what they keep. */
static bool read_tensors(const Reading *reading, bool states, Message *problem)
{
    ParamStore *store = reading->store;
    const ParamTable *table = states ? store->states : store->params;
    for (int i = 0; i < table->count; i++) {
        bool good = !reading->reads ||
                    checkpoint_read_tensor(reading->group, &table->params[i], reading->path, reading->room, problem);
        if (!agree(reading, good, problem)) return false;
        if (states)
            store->place_state(store, i, reading->room);
        else
            store->place(store, i, reading->room);
    }
    return true;
}

static void close_group(const Reading *reading)
{
    if (reading->group >= 0) CHECK_H5(H5Gclose(reading->group));
}

static bool read_parameters(Reading *reading, Message *problem)
{
    bool opened =
        !reading->reads || checkpoint_open_group(reading->file, reading->path, "parameters", &reading->group, problem);
    bool good = agree(reading, opened, problem) && read_tensors(reading, false, problem);
    good = good &&
           agree(reading,
                 !reading->reads || check_all_used(reading->group, reading->path, "", reading->store->params, problem),
                 problem);
    close_group(reading);
    return good;
}

static bool check_states_used(hid_t optimizer, const char *path, const ParamTable *states, Message *problem)
{
    H5Members members;
    char state[H5_NAME_SIZE + 8];
    bool good = h5_members(optimizer, &members) ||
                fail(problem, "the checkpoint '%s': its optimizer states are damaged. Use an earlier checkpoint", path);
    for (size_t i = 0; i < members.count && good; i++) {
        hid_t group = -1;
        snprintf(state, sizeof state, "%s/", members.names[i]);
        good = checkpoint_open_group(optimizer, path, members.names[i], &group, problem) &&
               check_all_used(group, path, state, states, problem);
        if (group >= 0) CHECK_H5(H5Gclose(group));
    }
    h5_members_free(&members);
    return good;
}

static bool open_states(Reading *reading, Message *problem)
{
    if (!h5_has(reading->file, "optimizer"))
        return fail(problem,
                    "the checkpoint '%s' has no optimizer state, so training cannot continue from it. Use another "
                    "checkpoint",
                    reading->path);
    return checkpoint_open_group(reading->file, reading->path, "optimizer", &reading->group, problem);
}

/* STATE/TENSOR is a path below /optimizer. */
static bool read_states(Reading *reading, Message *problem)
{
    reading->group = -1;
    bool good = agree(reading, !reading->reads || open_states(reading, problem), problem) &&
                read_tensors(reading, true, problem);
    good = good &&
           agree(reading,
                 !reading->reads || check_states_used(reading->group, reading->path, reading->store->states, problem),
                 problem);
    close_group(reading);
    return good;
}

static bool read_progress(hid_t file, const char *path, Progress *progress, Message *problem)
{
    *progress = (Progress){.sequences_seen = -1}; /* older files do not say */
    if (!h5_read_integer(file, "step", &progress->step) ||
        !h5_read_integer(file, "tokens_seen", &progress->tokens_seen) || progress->step < 0 ||
        progress->tokens_seen < 0)
        return fail(problem, "the checkpoint '%s' has no attributes step and tokens_seen. Choose another checkpoint",
                    path);
    h5_read_integer(file, "sequences_seen", &progress->sequences_seen);
    h5_read_integer(file, "skipped_steps", &progress->skipped_steps);
    progress->optimizer_steps = progress->step - progress->skipped_steps; /* of older files */
    h5_read_integer(file, "optimizer_steps", &progress->optimizer_steps);
    h5_read_real(file, "average_gradient_norm", &progress->average_gradient_norm);
    return true;
}

static size_t largest_tensor(const ParamStore *store)
{
    size_t values = param_table_largest(store->params), states = store->states ? param_table_largest(store->states) : 0;
    return values > states ? values : states;
}

bool checkpoint_load(const char *path, Checkpoint *into, bool with_states, Message *problem)
{
    ParamStore *store = into->store;
    Reading reading = {.path = path, .store = store, .reads = store->rank == 0, .file = -1, .group = -1};
    bool opened = !reading.reads || (checkpoint_open(path, &reading.file, problem) &&
                                     read_progress(reading.file, path, &into->progress, problem));
    if (reading.reads) reading.room = checked_calloc(largest_tensor(store), sizeof(real));
    bool good = agree(&reading, opened, problem) && read_parameters(&reading, problem);
    good = good && (!with_states || !store->states || read_states(&reading, problem));
    if (reading.file >= 0) CHECK_H5(H5Fclose(reading.file));
    free(reading.room);
    if (good && store->ranks > 1) world_broadcast(&into->progress, sizeof into->progress);
    return good;
}

bool checkpoint_read_data(const char *path, CheckpointData *data, Message *problem)
{
    hid_t file, group = -1;
    *data = (CheckpointData){.tokens = -1};
    if (!checkpoint_open(path, &file, problem)) return false;
    if (h5_has(file, "data") && checkpoint_open_group(file, path, "data", &group, problem)) {
        h5_read_integer(group, "train_tokens", &data->tokens);
        h5_read_text(group, "train_digest", data->digest, sizeof data->digest);
        CHECK_H5(H5Gclose(group));
    }
    CHECK_H5(H5Fclose(file));
    return true;
}

/* ---- tokenizer ---- */

bool checkpoint_read_tokenizer(const char *path, Tokenizer *tokenizer, Message *problem)
{
    hid_t file, group = -1;
    if (!checkpoint_open(path, &file, problem)) return false;
    *tokenizer = (Tokenizer){.name = "unknown"};
    bool good = true;
    if (h5_has(file, "tokenizer")) {
        good = checkpoint_open_group(file, path, "tokenizer", &group, problem);
        if (good) {
            good = h5_read_text(group, "name", tokenizer->name, sizeof tokenizer->name) ||
                   fail(problem, "'%s': the tokenizer has no name. Use another checkpoint", path);
            good = good && (!h5_has(group, "ends") || piece_store_read(group, path, tokenizer, problem));
            CHECK_H5(H5Gclose(group));
        }
    }
    CHECK_H5(H5Fclose(file));
    if (!good) tokenizer_destroy(tokenizer);
    return good;
}

/* ---- for inspection ---- */

bool checkpoint_read_info(const char *path, CheckpointInfo *info, Message *problem)
{
    hid_t file;
    if (!checkpoint_open(path, &file, problem)) return false;
    *info = (CheckpointInfo){.step = -1, .tokens_seen = -1, .created = "unknown", .source_version = "unknown"};
    h5_read_integer(file, "format_version", &info->format_version);
    h5_read_integer(file, "step", &info->step);
    h5_read_integer(file, "tokens_seen", &info->tokens_seen);
    h5_read_text(file, "created", info->created, sizeof info->created);
    h5_read_text(file, "source_version", info->source_version, sizeof info->source_version);
    CHECK_H5(H5Fclose(file));
    return true;
}

/* Trained tensors have states, whatever the optimizer. */
static TensorUse use_of(hid_t file, const char *name)
{
    char path[256];
    hid_t group;
    H5Members states;
    if (!h5_has(file, "optimizer") || (group = H5Gopen2(file, "optimizer", H5P_DEFAULT)) < 0) return TENSOR_USE_UNKNOWN;
    TensorUse use = h5_members(group, &states) ? TENSOR_CONSTANT : TENSOR_USE_UNKNOWN;
    for (size_t i = 0; i < states.count; i++) {
        snprintf(path, sizeof path, "%s/%s", states.names[i], name);
        if (h5_has(group, path)) use = TENSOR_TRAINED;
    }
    h5_members_free(&states);
    CHECK_H5(H5Gclose(group));
    return use;
}

bool checkpoint_load_tensor(hid_t file, hid_t group, const char *path, const char *name, CheckpointTensor *tensor,
                            Message *problem)
{
    hid_t dataset;
    *tensor = (CheckpointTensor){.name = name};
    if (!checkpoint_open_tensor(group, name, path, &dataset, &tensor->shape, problem)) return false;
    float *values = checked_calloc(tensor_shape_count(&tensor->shape), sizeof *values);
    bool good =
        h5_is_of(dataset, H5T_FLOAT) && H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    CHECK_H5(H5Dclose(dataset));
    tensor->use = use_of(file, name);
    tensor->values = values;
    if (good) return true;
    free(values);
    return fail(problem, "the checkpoint '%s': %s cannot be read; the file is damaged. Use an earlier checkpoint", path,
                name);
}

bool checkpoint_tensor_names(hid_t group, const char *path, H5Members *names, Message *problem)
{
    return h5_members(group, names) ||
           fail(problem, "the checkpoint '%s': the list of its tensors is damaged. Use an earlier checkpoint", path);
}

static bool visit_tensor(hid_t file, hid_t group, const char *path, const char *name, CheckpointVisitor visit,
                         void *context, Message *problem)
{
    CheckpointTensor tensor;
    if (!checkpoint_load_tensor(file, group, path, name, &tensor, problem)) return false;
    visit(context, &tensor);
    free((void *)tensor.values);
    return true;
}

/* All tensors of a group of the file. */
static bool visit_group(hid_t file, const char *path, const char *name, CheckpointVisitor visit, void *context,
                        Message *problem)
{
    hid_t group = -1;
    H5Members members;
    if (!checkpoint_open_group(file, path, name, &group, problem)) return false;
    bool good = checkpoint_tensor_names(group, path, &members, problem);
    for (size_t i = 0; i < members.count && good; i++)
        good = visit_tensor(file, group, path, members.names[i], visit, context, problem);
    h5_members_free(&members);
    CHECK_H5(H5Gclose(group));
    return good;
}

bool checkpoint_visit(const char *path, CheckpointVisitor visit, void *context, Message *problem)
{
    hid_t file;
    if (!checkpoint_open(path, &file, problem)) return false;
    bool good = visit_group(file, path, "parameters", visit, context, problem);
    CHECK_H5(H5Fclose(file));
    return good;
}

bool checkpoint_visit_states(const char *path, CheckpointStateVisitor begin, CheckpointVisitor visit, void *context,
                             Message *problem)
{
    hid_t file, group = -1;
    H5Members states = {0};
    if (!checkpoint_open(path, &file, problem)) return false;
    bool good = !h5_has(file, "optimizer") || checkpoint_open_group(file, path, "optimizer", &group, problem);
    if (group >= 0) {
        good = h5_members(group, &states) ||
               fail(problem, "the checkpoint '%s': its optimizer states are damaged. Use an earlier checkpoint", path);
        for (size_t i = 0; i < states.count && good; i++) {
            char name[160];
            snprintf(name, sizeof name, "optimizer/%.120s", states.names[i]);
            begin(context, states.names[i]);
            good = visit_group(file, path, name, visit, context, problem);
        }
        h5_members_free(&states);
        CHECK_H5(H5Gclose(group));
    }
    CHECK_H5(H5Fclose(file));
    return good;
}
