#include "src/library/decoder_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"

/* ---- which model ---- */

static uint64_t digest_of_option(const OptionRow *row, const void *values)
{
    char name[128], text[OPTION_TEXT_SIZE], line[OPTION_TEXT_SIZE + 160];
    option_name(row, name);
    option_format(row, values, text);
    int length = snprintf(line, sizeof line, "%s = %s", name, text);
    return digest_bytes(line, (size_t)length);
}

void model_digest(const Config *config, ParamStore *params, char text[DIGEST_TEXT_SIZE])
{
    Config copy = *config;
    OptionTable options = config_options(&copy);
    size_t tensors = (size_t)params->params->count, count = 0;
    uint64_t *digests = checked_calloc(tensors + (size_t)options.count, sizeof *digests);
    for (; count < tensors; count++) digests[count] = params->digest(params, (int)count);
    for (int i = 0; i < options.count; i++)
        if (options.rows[i].model_defining) digests[count++] = digest_of_option(&options.rows[i], &copy);
    digest_format(digest_bytes(digests, count * sizeof *digests), text);
    free(digests);
}

/* ---- the parts of a state as arrays ---- */

/* Of all layers, and the logits in front. */
typedef struct StateArrays {
    StateArray *arrays;
    StatePart *parts; /* (count) where each belongs; of the logits there is none */
    size_t count;
} StateArrays;

static size_t count_of(const StatePart *part) { return part->heads * part->rows * part->width; }

static void add_part(StateArrays *all, size_t layer, const StatePart *part)
{
    StateArray *array = &all->arrays[all->count];
    all->parts[all->count++] = *part;
    snprintf(array->group, sizeof array->group, "layers.%zu", layer);
    array->name = part->name;
    array->shape = (TensorShape){3, {part->heads, part->rows, part->width}};
    array->values = checked_calloc(count_of(part), sizeof *array->values);
}

/* Room for the arrays of a decoder at its position. */
static StateArrays arrays_of(const Model *model, const Decoder *decoder, size_t sequence, real *logits)
{
    size_t most = 1 + model->layer_count * ATTENTION_STATE_PARTS;
    StateArrays all = {checked_calloc(most, sizeof *all.arrays), checked_calloc(most, sizeof *all.parts), 1};
    all.arrays[0] = (StateArray){"", "logits", {1, {model->vocab_size}}, logits};
    for (size_t layer = 0; layer < model->layer_count; layer++) {
        StatePart parts[ATTENTION_STATE_PARTS];
        int count = decoder_state_parts(decoder, sequence, layer, parts);
        for (int i = 0; i < count; i++) add_part(&all, layer, &parts[i]);
    }
    return all;
}

static void free_arrays(StateArrays *all)
{
    for (size_t i = 1; i < all->count; i++) free(all->arrays[i].values);
    free(all->arrays);
    free(all->parts);
}

typedef enum CopyDirection { FROM_DECODER, TO_DECODER } CopyDirection;

static void copy_arrays(const StateArrays *all, CopyDirection direction)
{
    for (size_t i = 1; i < all->count; i++) {
        const StatePart *part = &all->parts[i];
        size_t dense = part->rows * part->width;
        for (size_t j = 0; j < part->heads; j++) {
            real *array = all->arrays[i].values + j * dense, *state = part->at + j * part->stride;
            memcpy(direction == TO_DECODER ? state : array, direction == TO_DECODER ? array : state,
                   dense * sizeof(real));
        }
    }
}

/* ---- files ---- */

bool decoder_state_save(const char *path, const char *digest, const Model *model, const Decoder *decoder,
                        size_t sequence, const real *logits, Message *problem)
{
    StateInfo info = {0};
    if (!decoder) return state_file_write(path, &info, NULL, 0, problem);
    info.position = (int64_t)decoder_position(decoder, sequence);
    snprintf(info.model, sizeof info.model, "%s", digest);
    StateArrays all = arrays_of(model, decoder, sequence, (real *)logits); /* only read */
    copy_arrays(&all, FROM_DECODER);
    bool good = state_file_write(path, &info, all.arrays, all.count, problem);
    free_arrays(&all);
    return good;
}

bool decoder_state_position(const char *path, const char *digest, size_t *position, Message *problem)
{
    StateInfo info;
    if (!state_file_read_info(path, &info, problem)) return false;
    *position = (size_t)info.position;
    return strcmp(info.model, digest) == 0 ||
           fail(problem,
                "'%s' is the state of another model: its digest is %s, that of this checkpoint %s. Use the checkpoint "
                "that the state was made with, or make it again",
                path, info.model, digest);
}

bool decoder_state_load(const char *path, const Model *model, Decoder *decoder, size_t sequence, real *logits,
                        Message *problem)
{
    StateInfo info;
    if (!state_file_read_info(path, &info, problem)) return false;
    decoder_seek(decoder, sequence, (size_t)info.position);
    StateArrays all = arrays_of(model, decoder, sequence, logits);
    bool good = state_file_read(path, all.arrays, all.count, problem);
    if (good) copy_arrays(&all, TO_DECODER);
    free_arrays(&all);
    return good;
}
