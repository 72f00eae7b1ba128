#include "src/library/loaded_model.h"

#include "io/checkpoint.h"
#include "mpi/param_store_replicated.h"
#include "mpi/world.h"

static void make_model(LoadedModel *loaded)
{
    ModelSpec spec = config_model_spec(&loaded->config);
    loaded->model = model_create(&spec);
}

/* Its tokens are the model's, some of which may have no piece. */
static bool read_tokenizer(LoadedModel *loaded, const char *path, Message *problem)
{
    if (!checkpoint_read_tokenizer(path, &loaded->tokenizer, problem)) return false;
    size_t pieces = (size_t)loaded->tokenizer.vocab_size, known = loaded->model->vocab_size;
    return pieces <= known ||
           fail(problem, "'%s' has %zu pieces, but its model a vocabulary of %zu. Use another checkpoint", path, pieces,
                known);
}

LoadedModel loaded_model_read(const char *path)
{
    Message problem, unknown;
    LoadedModel loaded = {.step = 0};
    OptionTable options = config_defaults(&loaded.config);
    bool given = path[0] != 0;
    if (!given) fail(&problem, "--checkpoint=FILE is missing: a file of a run folder's checkpoints/");
    require_all(given, &problem);
    require_all(checkpoint_load_options(path, &options, sizeof loaded.config, &problem), &problem);
    if (world().rank == 0 && checkpoint_has_unknown_options(path, &options, &unknown))
        error_say("warning: %s", unknown.text); /* standard output may be for text alone */
    require_all(config_finish(&loaded.config, 0, &problem), &problem);
    make_model(&loaded);
    loaded.params = param_store_replicated(&loaded.model->table, NULL, STORE_VALUES, SUMS_LAST);
    Checkpoint into = {.store = loaded.params};
    require_all(checkpoint_load(path, &into, false, &problem), &problem);
    loaded.step = into.progress.step;
    require_all(read_tokenizer(&loaded, path, &problem), &problem);
    return loaded;
}

bool loaded_model_open(LoadedModel *loaded, const char *path, Message *problem)
{
    *loaded = (LoadedModel){.step = 0};
    OptionTable options = config_defaults(&loaded->config);
    if (!checkpoint_read_options(path, &options, problem) || !config_finish(&loaded->config, 0, problem)) return false;
    make_model(loaded);
    loaded->params = param_store_create(&loaded->model->table, NULL, STORE_VALUES);
    Checkpoint into = {.store = loaded->params};
    bool good = checkpoint_load(path, &into, false, problem) && read_tokenizer(loaded, path, problem);
    loaded->step = into.progress.step;
    if (!good) loaded_model_destroy(loaded);
    return good;
}

void loaded_model_destroy(LoadedModel *loaded)
{
    param_store_destroy(loaded->params);
    model_destroy(loaded->model);
    tokenizer_destroy(&loaded->tokenizer);
}
