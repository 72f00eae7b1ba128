/* What the readers of checkpoints share. For io/checkpoint_*.c only. */
#ifndef POLYSKETCH_IO_CHECKPOINT_PARTS_H
#define POLYSKETCH_IO_CHECKPOINT_PARTS_H

#include <stdbool.h>

#include "io/checkpoint.h"
#include "io/h5.h"
#include "src/core/param_table.h"

/* The caller closes the file, the group, the dataset. False with a message that names `path`. */
bool checkpoint_open(const char *path, hid_t *file, Message *problem);
bool checkpoint_open_group(hid_t file, const char *path, const char *name, hid_t *group, Message *problem);
bool checkpoint_open_tensor(hid_t group, const char *name, const char *path, hid_t *dataset, TensorShape *shape,
                            Message *problem);

/* All values of a tensor: of its shape, finite, with the digest that was written. */
bool checkpoint_read_tensor(hid_t group, const Param *param, const char *path, real *values, Message *problem);

/* A tensor of /parameters, or of a state, as it is; the caller frees its values. `name` must live as long as it. */
bool checkpoint_load_tensor(hid_t file, hid_t group, const char *path, const char *name, CheckpointTensor *tensor,
                            Message *problem);

/* The names in a group of tensors; the caller frees them. */
bool checkpoint_tensor_names(hid_t group, const char *path, H5Members *names, Message *problem);

#endif
