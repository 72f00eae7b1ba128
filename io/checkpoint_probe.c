/* Whether checkpoints can be written, found out before there is one to lose (io/checkpoint.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/disk.h"
#include "io/h5.h"
#include "io/shared_file.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/memory.h"

enum { NUMBERS, ROOM }; /* the datasets, in their order */

/* What a rank writes. */
static uint64_t number_of(int rank) { return UINT64_C(0x9E3779B97F4A7C15) * ((uint64_t)rank + 1); }

/* A number of each rank, with their digest, and beside it the room of a checkpoint, which gets no values. */
static H5Layout *lay_out(uint64_t bytes, Message *problem)
{
    hsize_t ranks = (hsize_t)world().size, room = bytes;
    uint64_t *numbers = checked_calloc(ranks, sizeof *numbers);
    for (int i = 0; i < world().size; i++) numbers[i] = number_of(i);
    uint64_t digest = digest_bytes(numbers, ranks * sizeof *numbers);
    free(numbers);
    H5Layout *layout = h5_layout_create(bytes, 0, problem);
    if (!layout) return NULL;
    h5_layout_dataset(layout, h5_layout_file(layout), "numbers", H5T_STD_U64LE, 1, &ranks, &digest);
    h5_layout_dataset(layout, h5_layout_file(layout), "room", H5T_STD_U8LE, 1, &room, NULL);
    h5_layout_close(layout);
    return layout;
}

/* Every rank reads the numbers of all. */
static bool verify(const char *path, Message *problem)
{
    hid_t file;
    bool good = h5_open_readonly(path, &file, problem);
    if (good) {
        good = h5_check_digests(file, path, 0, 1, false, problem);
        CHECK_H5(H5Fclose(file));
    }
    return world_agree(good, problem);
}

static bool write_and_read(const char *path, const H5Layout *layout, Message *problem)
{
    SharedFile *file = shared_file_create(path, layout, problem);
    if (!file) return false;
    uint64_t number = number_of(world().rank);
    shared_file_write(file, NUMBERS, (uint64_t)world().rank * sizeof number, &number, sizeof number);
    bool good = shared_file_sync(file, problem) && verify(shared_file_temporary(file), problem) &&
                shared_file_name(file, problem);
    shared_file_destroy(file);
    return good;
}

static bool remove_probe(const char *path, Message *problem)
{
    bool good = world().rank > 0 || unlink(path) == 0 ||
                fail(problem, "cannot remove '%s': %s. Choose another output.folder", path, strerror(errno));
    return world_agree(good, problem);
}

bool checkpoint_probe(const Checkpoint *checkpoint, const char *folder, Message *problem)
{
    char path[CHECKPOINT_PATH_SIZE];
    Message cause;
    bool first = world().rank == 0;
    uint64_t bytes = checkpoint_bytes(checkpoint);
    snprintf(path, sizeof path, "%s/checkpoints/step-probe.h5.tmp", folder);
    bool room = world_agree(!first || disk_has_room(path, bytes, &cause), &cause);
    H5Layout *layout = room && first ? lay_out(bytes, &cause) : NULL;
    bool good = room && world_agree(!first || layout, &cause) && write_and_read(path, layout, &cause) &&
                remove_probe(path, &cause);
    h5_layout_destroy(layout);
    return good || fail(problem, "no checkpoint could be written: %.900s", cause.text);
}
