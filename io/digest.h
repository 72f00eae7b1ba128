/* A digest beside the data: the attribute `xxh3` of a dataset is XXH3 (64 bits) of its elements in order, as the file
   stores them, little-endian. HDF5 protects its own structures by checksums, but not what datasets hold. */
#ifndef POLYSKETCH_IO_DIGEST_H
#define POLYSKETCH_IO_DIGEST_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

void digest_write(hid_t dataset, uint64_t digest);

/* True also when the dataset has no digest, as files of others. */
bool digest_agrees(hid_t dataset, uint64_t digest);

/* Is there one? */
bool digest_exists(hid_t dataset);

#endif
