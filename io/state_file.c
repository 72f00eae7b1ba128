#include "io/state_file.h"

#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "io/shared_file.h"
#include "mpi/world.h"
#include "src/base/memory.h"

static const char remedy[] = "Name a file that generate --save_state has written";

/* ---- writing ---- */

static uint64_t bytes_of(const StateArray *array) { return tensor_shape_count(&array->shape) * sizeof(float); }

static uint64_t total_bytes(const StateArray *arrays, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += bytes_of(&arrays[i]);
    return sum;
}

/* The values as the file has them, which the caller frees. */
static float *as_floats(const StateArray *array)
{
    size_t count = tensor_shape_count(&array->shape);
    float *values = checked_calloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (float)array->values[i];
    return values;
}

static void lay_out_array(H5Layout *layout, hid_t parent, const StateArray *array)
{
    hsize_t shape[TENSOR_DIMENSIONS];
    uint64_t digest = digest_reals(array->values, tensor_shape_count(&array->shape));
    for (int i = 0; i < array->shape.dimensions; i++) shape[i] = array->shape.extents[i];
    h5_layout_dataset(layout, parent, array->name, H5T_IEEE_F32LE, array->shape.dimensions, shape, &digest);
}

static H5Layout *lay_out(const StateInfo *info, const StateArray *arrays, size_t count, Message *problem)
{
    H5Layout *layout = h5_layout_create(total_bytes(arrays, count), 0, problem);
    if (!layout) return NULL;
    hid_t file = h5_layout_file(layout);
    h5_write_text(file, "format", FORMAT_STATE);
    h5_write_integer(file, "format_version", FORMAT_VERSION);
    h5_write_integer(file, "position", info->position);
    h5_write_text(file, "model", info->model);
    for (size_t i = 0; i < count;) {
        const char *group = arrays[i].group;
        hid_t parent = *group ? h5_create_group(file, group) : file;
        for (; i < count && strcmp(arrays[i].group, group) == 0; i++) lay_out_array(layout, parent, &arrays[i]);
        if (*group) CHECK_H5(H5Gclose(parent));
    }
    h5_layout_close(layout);
    return layout;
}

bool state_file_write(const char *path, const StateInfo *info, const StateArray *arrays, size_t count, Message *problem)
{
    bool first = world().rank == 0;
    bool possible = !first || (file_format_may_replace(path, FORMAT_STATE, problem) &&
                               disk_has_room(path, total_bytes(arrays, count), problem));
    if (!world_agree(possible, problem)) return false;
    H5Layout *layout = first ? lay_out(info, arrays, count, problem) : NULL;
    bool laid_out = world_agree(!first || layout, problem);
    SharedFile *file = laid_out ? shared_file_create(path, layout, problem) : NULL;
    h5_layout_destroy(layout);
    if (!file) return false;
    for (size_t i = 0; first && i < count; i++) {
        float *values = as_floats(&arrays[i]);
        shared_file_write(file, (int)i, 0, values, bytes_of(&arrays[i]));
        free(values);
    }
    bool good = shared_file_sync(file, problem) && shared_file_name(file, problem);
    shared_file_destroy(file);
    return good;
}

/* ---- reading ---- */

static bool open_state(const char *path, hid_t *file, Message *problem)
{
    if (!h5_open_readonly(path, file, problem)) return false;
    if (h5_check_format(*file, path, FORMAT_STATE, remedy, problem)) return true;
    CHECK_H5(H5Fclose(*file));
    return false;
}

bool state_file_read_info(const char *path, StateInfo *info, Message *problem)
{
    hid_t file;
    if (!open_state(path, &file, problem)) return false;
    bool good = h5_read_integer(file, "position", &info->position) && info->position > 0 &&
                h5_read_text(file, "model", info->model, sizeof info->model);
    CHECK_H5(H5Fclose(file));
    return good || fail(problem, "'%s' does not say its position and its model: it is damaged. %s", path, remedy);
}

static bool has_shape(const StateArray *array, int dimensions, const hsize_t *shape)
{
    bool same = dimensions == array->shape.dimensions;
    for (int i = 0; same && i < dimensions; i++) same = shape[i] == array->shape.extents[i];
    return same;
}

static bool read_array(hid_t parent, const char *path, const StateArray *array, Message *problem)
{
    hid_t dataset;
    int dimensions;
    hsize_t shape[H5_DIMENSIONS];
    char name[64], wanted[TENSOR_SHAPE_TEXT];
    snprintf(name, sizeof name, "%s/%s", array->group, array->name);
    if (!h5_open_array(parent, array->name, path, &dataset, &dimensions, shape, problem)) return false;
    bool good = has_shape(array, dimensions, shape) && h5_is_of(dataset, H5T_FLOAT);
    if (!good) {
        tensor_shape_format(&array->shape, wanted);
        fail(problem, "'%s': %s is not of shape %s, which this model needs. %s of the same model", path, name, wanted,
             remedy);
    } else {
        hid_t type = sizeof(real) == sizeof(float) ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
        good = H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, array->values) >= 0 &&
               h5_digest_agrees(dataset, digest_reals(array->values, tensor_shape_count(&array->shape)));
        if (!good) h5_fail_digest(path, name, problem);
    }
    CHECK_H5(H5Dclose(dataset));
    return good;
}

bool state_file_read(const char *path, const StateArray *arrays, size_t count, Message *problem)
{
    hid_t file;
    bool good = open_state(path, &file, problem);
    if (!good) return false;
    for (size_t i = 0; good && i < count;) {
        const char *group = arrays[i].group;
        hid_t parent = file;
        good = !*group || (h5_has(file, group) && (parent = H5Gopen2(file, group, H5P_DEFAULT)) >= 0) ||
               fail(problem, "'%s' has no group %s, which this model needs. %s of the same model", path, group, remedy);
        for (; good && i < count && strcmp(arrays[i].group, group) == 0; i++)
            good = read_array(parent, path, &arrays[i], problem);
        if (parent >= 0 && parent != file) CHECK_H5(H5Gclose(parent));
    }
    CHECK_H5(H5Fclose(file));
    return good;
}
