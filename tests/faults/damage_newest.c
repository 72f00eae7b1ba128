/* Damages the newest checkpoint of a run folder, range after range of its bytes, and lets the run choose what to
   continue from.

   damage_newest RUN_FOLDER CASES

   The folder has two checkpoints or more. Case by case the newest gets a flipped bit, is cut, or has a range zeroed. It
   must be set aside and the one before it chosen, or else be read as if nothing had happened (the damage hit bytes that
   hold nothing). Afterwards the folder is as it was. Exit code 0 when no damage was accepted. The same arguments do the
   same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/log.h"
#include "src/base/memory.h"
#include "src/base/rng.h"
#include "src/library/loaded_model.h"
#include "src/train/optimizer.h"
#include "src/train/resume.h"

typedef enum Damage { FLIP, CUT, ZERO, DAMAGES } Damage;

typedef struct Newest {
    Config config;
    char path[CHECKPOINT_PATH_SIZE], aside[CHECKPOINT_PATH_SIZE + 16];
    int64_t step, older;
    uint8_t *bytes;
    size_t count;
    uint64_t contents; /* digest of all that is read from it */
} Newest;

static void write_bytes(const char *path, const uint8_t *bytes, size_t count)
{
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(bytes, 1, count, file) == count && fclose(file) == 0, "cannot write '%s'", path);
}

static void read_bytes(Newest *newest)
{
    FILE *file = fopen(newest->path, "r");
    CHECK(file && fseek(file, 0, SEEK_END) == 0, "cannot read '%s'", newest->path);
    newest->count = (size_t)ftell(file);
    newest->bytes = checked_calloc(newest->count, 1);
    rewind(file);
    CHECK(fread(newest->bytes, 1, newest->count, file) == newest->count, "cannot read '%s'", newest->path);
    fclose(file);
}

/* Of all values and states. */
static uint64_t digest_of_store(ParamStore *store)
{
    int params = store->params->count, states = store->states->count;
    uint64_t *digests = checked_calloc((size_t)(params + states), sizeof *digests);
    for (int i = 0; i < params; i++)
        digests[i] = digest_reals(store->kept_values(store, i), store->params->params[i].count);
    for (int i = 0; i < states; i++)
        digests[params + i] = digest_reals(store->kept_state(store, i), store->states->params[i].count);
    uint64_t digest = digest_bytes(digests, (size_t)(params + states) * sizeof *digests);
    free(digests);
    return digest;
}

/* Of every number that a run takes from the file. */
static uint64_t contents_of(const char *path)
{
    LoadedModel loaded = loaded_model_read(path);
    const ParamTable *table = &loaded.model->table;
    Optimizer *optimizer = optimizer_plan(&loaded.config.train.optimizer, table);
    Checkpoint into = {.store = param_store_create(table, &optimizer->states, STORE_VALUES)};
    Message problem;
    CHECK(checkpoint_load(path, &into, true, &problem), "%s", problem.text);
    uint64_t parts[] = {digest_of_store(into.store), config_hash(&loaded.config),
                        digest_bytes(&into.progress, sizeof into.progress)};
    param_store_destroy(into.store);
    optimizer_destroy(optimizer);
    loaded_model_destroy(&loaded);
    return digest_bytes(parts, sizeof parts);
}

static Newest open_folder(const char *folder)
{
    Newest newest;
    Message problem;
    OptionTable table = config_options(&newest.config);
    char older[CHECKPOINT_PATH_SIZE];
    option_set_defaults(&table);
    CHECK(checkpoint_find_newest(folder, INT64_MAX, newest.path, &newest.step) &&
              checkpoint_find_newest(folder, newest.step - 1, older, &newest.older),
          "'%s' has not two checkpoints", folder);
    CHECK(checkpoint_read_options(newest.path, &table, &problem), "%s", problem.text);
    snprintf(newest.config.output.folder, sizeof newest.config.output.folder, "%s", folder);
    snprintf(newest.aside, sizeof newest.aside, "%s.damaged", newest.path);
    read_bytes(&newest);
    newest.contents = contents_of(newest.path);
    return newest;
}

/* Writes the file with its range `range` of `ranges` damaged. */
static void damage(const Newest *newest, Damage how, size_t range, size_t ranges)
{
    size_t first = newest->count * range / ranges, end = newest->count * (range + 1) / ranges, used = 0;
    if (how == CUT) {
        write_bytes(newest->path, newest->bytes, first);
        return;
    }
    uint8_t *bytes = checked_calloc(newest->count, 1);
    memcpy(bytes, newest->bytes, newest->count);
    double where = rng_uniform(rng_stream(1, "damage", range), 0),
           which = rng_uniform(rng_stream(1, "damage", range), 1);
    if (how == FLIP) bytes[first + (size_t)(where * (double)(end - first))] ^= (uint8_t)(1 << (int)(8 * which));
    for (size_t i = first; i < end && how == ZERO; i++) used += bytes[i] != 0;
    if (how == ZERO) memset(bytes + first, used ? 0 : 0xff, end - first); /* zeros are zeroed by ones */
    write_bytes(newest->path, bytes, newest->count);
    free(bytes);
}

typedef struct Counts {
    int noticed, harmless, accepted;
} Counts;

static void try_damage(Newest *newest, Damage how, size_t range, size_t ranges, Counts *counts)
{
    static Resume resume;
    damage(newest, how, range, ranges);
    resume_choose(&newest->config, &(ResumeChoice){.from = -1}, &resume);
    bool aside = access(newest->aside, F_OK) == 0;
    if (aside && resume.step == newest->older)
        counts->noticed++;
    else if (!aside && contents_of(newest->path) == newest->contents)
        counts->harmless++;
    else
        counts->accepted++, printf("accepted wrongly: damage %d of range %zu of %zu\n", how, range, ranges);
    unlink(newest->aside);
}

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    CHECK(argc == 3, "usage: damage_newest RUN_FOLDER CASES");
    log_set_speaker(false);
    Newest newest = open_folder(argv[1]);
    size_t cases = strtoul(argv[2], NULL, 10), ranges = (cases + DAMAGES - 1) / DAMAGES;
    Counts counts = {0};
    for (size_t i = 0; i < cases; i++) try_damage(&newest, i % DAMAGES, i / DAMAGES, ranges, &counts);
    write_bytes(newest.path, newest.bytes, newest.count);
    printf("%d of %zu noticed, and the one before used; %d in bytes that hold nothing, read as before; %d accepted\n",
           counts.noticed, cases, counts.harmless, counts.accepted);
    free(newest.bytes);
    world_stop();
    return counts.accepted ? EXIT_FAILURE : EXIT_SUCCESS;
}
