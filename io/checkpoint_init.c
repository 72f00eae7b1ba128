/* A model that begins with the tensors of another's checkpoint (io/checkpoint.h): those of the same name and shape. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "io/checkpoint_parts.h"
#include "mpi/world.h"
#include "src/base/memory.h"

/* Tensors that have another shape. */
typedef struct Misfits {
    size_t count, length;
    char text[640];
} Misfits;

static void add_misfit(Misfits *misfits, const Param *param, const TensorShape *found)
{
    enum { NAMED = 3 };
    char there[TENSOR_SHAPE_TEXT], here[TENSOR_SHAPE_TEXT];
    if (misfits->count++ >= NAMED) return;
    tensor_shape_format(found, there);
    tensor_shape_format(&param->shape, here);
    misfits->length +=
        (size_t)snprintf(misfits->text + misfits->length, sizeof misfits->text - misfits->length,
                         "%s%.100s %.36s there, %.36s here", misfits->length ? "; " : "", param->name, there, here);
}

static bool match_param(hid_t group, const char *path, const Param *param, TensorFate *fate, Misfits *misfits,
                        Message *problem)
{
    hid_t dataset;
    TensorShape shape = {0};
    *fate = TENSOR_NEW;
    if (!h5_has(group, param->name)) return true;
    *fate = TENSOR_TAKEN;
    if (!checkpoint_open_tensor(group, param->name, path, &dataset, &shape, problem)) return false;
    CHECK_H5(H5Dclose(dataset));
    if (!tensor_shape_equal(&shape, &param->shape)) add_misfit(misfits, param, &shape);
    return true;
}

static bool visit_left(hid_t group, const char *path, const ParamTable *params, TensorFateVisitor visit, void *context,
                       Message *problem)
{
    H5Members members;
    bool listed =
        h5_members(group, &members) ||
        fail(problem, "the checkpoint '%s': the list of its tensors is damaged. Use an earlier checkpoint", path);
    for (size_t i = 0; i < members.count && listed; i++)
        if (!param_table_find(params, members.names[i])) visit(context, TENSOR_LEFT, members.names[i]);
    h5_members_free(&members);
    return listed;
}

static bool match_group(hid_t group, const char *path, const ParamTable *params, TensorFateVisitor visit, void *context,
                        Message *problem)
{
    Misfits misfits = {0};
    TensorFate fate;
    size_t taken = 0;
    for (int i = 0; i < params->count; i++) {
        if (!match_param(group, path, &params->params[i], &fate, &misfits, problem)) return false;
        taken += fate == TENSOR_TAKEN;
        if (visit) visit(context, fate, params->params[i].name);
    }
    if (misfits.count > 0)
        return fail(problem,
                    "'%.200s': %zu tensors have another shape than in this model: %s%s. Use the sizes of that model",
                    path, misfits.count, misfits.text, misfits.count > 3 ? "; ..." : "");
    if (taken == 0) return fail(problem, "'%s' has no tensor that this model has. Choose another checkpoint", path);
    return !visit || visit_left(group, path, params, visit, context, problem);
}

bool checkpoint_match(const char *path, const ParamTable *params, TensorFateVisitor visit, void *context,
                      Message *problem)
{
    hid_t file, group = -1;
    if (!checkpoint_open(path, &file, problem)) return false;
    bool good = checkpoint_open_group(file, path, "parameters", &group, problem);
    good = good && match_group(group, path, params, visit, context, problem);
    if (group >= 0) CHECK_H5(H5Gclose(group));
    CHECK_H5(H5Fclose(file));
    return good;
}

/* On rank 0; the caller closes what is not negative. */
static bool open_matching(const char *path, const ParamTable *params, hid_t *file, hid_t *group, Message *problem)
{
    return checkpoint_match(path, params, NULL, NULL, problem) && checkpoint_open(path, file, problem) &&
           checkpoint_open_group(*file, path, "parameters", group, problem);
}

/* A tensor at a time: rank 0 reads it, if the file has it, and all take what they keep. */
static bool take_matching(hid_t group, const char *path, ParamStore *store, real *room, Message *problem)
{
    bool first = world().rank == 0;
    for (int i = 0; i < store->params->count; i++) {
        const Param *param = &store->params->params[i];
        bool taken = first && h5_has(group, param->name);
        world_broadcast(&taken, sizeof taken);
        if (!taken) continue;
        if (!world_agree(!first || checkpoint_read_tensor(group, param, path, room, problem), problem)) return false;
        store->place(store, i, room);
    }
    return true;
}

bool checkpoint_load_matching(const char *path, ParamStore *store, Message *problem)
{
    hid_t file = -1, group = -1;
    bool first = world().rank == 0;
    real *room = first ? checked_calloc(param_table_largest(store->params), sizeof *room) : NULL;
    bool good = world_agree(!first || open_matching(path, store->params, &file, &group, problem), problem) &&
                take_matching(group, path, store, room, problem);
    if (group >= 0) CHECK_H5(H5Gclose(group));
    if (file >= 0) CHECK_H5(H5Fclose(file));
    free(room);
    return good;
}
