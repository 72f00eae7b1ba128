/* Is a checkpoint whole (io/checkpoint.h)? On the calling rank alone. */
#include "io/checkpoint.h"
#include "io/checkpoint_parts.h"
#include "io/file_format.h"

/* step < 0: whatever it is. */
static bool check_step(hid_t file, const char *path, int64_t step, Message *problem)
{
    int64_t found;
    if (!h5_read_integer(file, "step", &found))
        return fail(problem, "the checkpoint '%s' has no attribute step. Choose another checkpoint", path);
    return step < 0 || step == found ||
           fail(problem, "the checkpoint '%s' says it is of step %lld: it was renamed or is damaged", path,
                (long long)found);
}

static bool check_contents(hid_t file, const char *path, int64_t step, Message *problem)
{
    hid_t group = -1;
    if (!h5_check_format(file, path, FORMAT_CHECKPOINT, "Choose another checkpoint", problem) ||
        !check_step(file, path, step, problem) || !checkpoint_open_group(file, path, "parameters", &group, problem))
        return false;
    CHECK_H5(H5Gclose(group));
    return h5_check_digests(file, path, 0, 1, false, problem);
}

static herr_t read_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    (void)info, (void)context;
    char text[OPTION_TEXT_SIZE];
    double value;
    return h5_read_text(object, name, text, sizeof text) || h5_read_real(object, name, &value) ? 0 : -1;
}

/* What is not in datasets: HDF5 compares its own checksums when it reads that. Whether an option's value is one that
   this program knows is another question. */
static bool check_attributes(hid_t file, const char *path, Message *problem)
{
    hid_t group = -1;
    if (!checkpoint_open_group(file, path, "config", &group, problem)) return false;
    bool read = H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, read_attribute, NULL) >= 0;
    CHECK_H5(H5Gclose(group));
    return read || fail(problem, "the checkpoint '%s': its options cannot be read; the file is damaged", path);
}

static bool check_readers(const char *path, Message *problem)
{
    CheckpointInfo info;
    CheckpointData data;
    Tokenizer tokenizer;
    if (!checkpoint_read_info(path, &info, problem) || !checkpoint_read_data(path, &data, problem) ||
        !checkpoint_read_tokenizer(path, &tokenizer, problem))
        return false;
    tokenizer_destroy(&tokenizer);
    return true;
}

CheckpointHealth checkpoint_examine(const char *path, int64_t step, Message *problem)
{
    hid_t file;
    if (!h5_may_open(path, problem)) return CHECKPOINT_CLOSED;
    if (!h5_open_readonly(path, &file, problem)) return CHECKPOINT_DAMAGED;
    int64_t version = 0;
    bool newer = h5_read_integer(file, "format_version", &version) && version > FORMAT_VERSION;
    bool good = check_contents(file, path, step, problem) && check_attributes(file, path, problem);
    CHECK_H5(H5Fclose(file));
    good = good && check_readers(path, problem);
    return good ? CHECKPOINT_WHOLE : newer ? CHECKPOINT_CLOSED : CHECKPOINT_DAMAGED;
}
