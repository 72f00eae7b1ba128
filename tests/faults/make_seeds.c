/* Writes a small file of each of our formats: make_seeds FOLDER makes FOLDER/checkpoint.h5 and FOLDER/tokens.h5. */
#include <stdio.h>

#include "mpi/world.h"
#include "tests/faults/seed_files.h"

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    CHECK(argc == 2, "usage: make_seeds FOLDER");
    for (int i = 0; i < seed_kind_count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s.h5", argv[1], seed_kinds[i].name);
        seed_kinds[i].write(path);
    }
    world_stop();
    return 0;
}
