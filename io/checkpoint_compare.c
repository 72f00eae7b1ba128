/* Two checkpoints side by side (io/checkpoint.h), on the calling rank alone. */
#include <stdlib.h>

#include "io/checkpoint.h"
#include "io/checkpoint_parts.h"

/* A file whose tensors are read. */
typedef struct Side {
    const char *path;
    hid_t file, group;
    H5Members names;
} Side;

/* Also after a failure side_close() is called. */
static bool side_open(Side *side, const char *path, Message *problem)
{
    hid_t file;
    *side = (Side){.path = path, .file = -1, .group = -1};
    if (!checkpoint_open(path, &file, problem)) return false;
    side->file = file;
    return checkpoint_open_group(side->file, path, "parameters", &side->group, problem) &&
           checkpoint_tensor_names(side->group, path, &side->names, problem);
}

static void side_close(Side *side)
{
    h5_members_free(&side->names);
    if (side->group >= 0) CHECK_H5(H5Gclose(side->group));
    if (side->file >= 0) CHECK_H5(H5Fclose(side->file));
}

static bool side_load(const Side *side, const char *name, CheckpointTensor *tensor, Message *problem)
{
    return checkpoint_load_tensor(side->file, side->group, side->path, name, tensor, problem);
}

/* A tensor of the first file, and that of the second where it has one. */
static bool visit_pair(const Side *first, const Side *second, const char *name, CheckpointPairVisitor visit,
                       void *context, Message *problem)
{
    CheckpointTensor a, b;
    if (!side_load(first, name, &a, problem)) return false;
    bool both = h5_has(second->group, name), good = !both || side_load(second, name, &b, problem);
    if (good) visit(context, &a, both ? &b : NULL);
    if (good && both) free((void *)b.values);
    free((void *)a.values);
    return good;
}

static bool visit_second(const Side *second, const char *name, CheckpointPairVisitor visit, void *context,
                         Message *problem)
{
    CheckpointTensor b;
    if (!side_load(second, name, &b, problem)) return false;
    visit(context, NULL, &b);
    free((void *)b.values);
    return true;
}

bool checkpoint_visit_both(const char *path, const char *other, CheckpointPairVisitor visit, void *context,
                           Message *problem)
{
    Side first, second = {.file = -1, .group = -1}; /* not opened where the first cannot be */
    bool good = side_open(&first, path, problem) && side_open(&second, other, problem);
    for (size_t i = 0; good && i < first.names.count; i++)
        good = visit_pair(&first, &second, first.names.names[i], visit, context, problem);
    for (size_t i = 0; good && i < second.names.count; i++)
        if (!h5_has(first.group, second.names.names[i]))
            good = visit_second(&second, second.names.names[i], visit, context, problem);
    side_close(&first);
    side_close(&second);
    return good;
}
