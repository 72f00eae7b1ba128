/* An HDF5 file laid out in memory: groups, attributes, and datasets that have their place but no values yet.

   HDF5 decides where everything stands; the values themselves are then written by whoever has them, with plain writes
   at the places that HDF5 named (io/shared_file.h). So the library never touches a disk while a file is made, and what
   a full or failing disk does is an ordinary error of write(), on the rank that met it. By one process, not collective. */
#ifndef POLYSKETCH_IO_H5_LAYOUT_H
#define POLYSKETCH_IO_H5_LAYOUT_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"

typedef struct H5Layout H5Layout;

/* `bytes` is about the size of the whole file, `written` what the caller itself writes into datasets. NULL with a
   message when files may not grow so long (ulimit -f) or memory has no room, which HDF5 would find out at a bad moment. */
H5Layout *h5_layout_create(uint64_t bytes, uint64_t written, Message *problem);

/* The file, to which groups and attributes can be added; open until h5_layout_close(). */
hid_t h5_layout_file(H5Layout *layout);

/* A dataset in one piece; `digest` becomes its attribute xxh3, NULL: none. Returns its number: 0, 1, ... */
int h5_layout_dataset(H5Layout *layout, hid_t parent, const char *name, hid_t type, int dimensions,
                      const hsize_t *shape, const uint64_t *digest);

/* No more can be added. Afterwards the sizes and places below are valid. */
void h5_layout_close(H5Layout *layout);

uint64_t h5_layout_bytes(const H5Layout *layout); /* of the whole file */
int h5_layout_datasets(const H5Layout *layout);
uint64_t h5_layout_offset(const H5Layout *layout, int dataset); /* of its first value in the file */

/* Writes all but the values of the datasets to `descriptor`. False with errno set. */
bool h5_layout_write(const H5Layout *layout, int descriptor);

void h5_layout_destroy(H5Layout *layout); /* NULL is allowed */

#endif
