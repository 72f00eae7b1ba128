/* Helpers over HDF5: the only place that deals with property lists and the many forms of an attribute.
   For the other files of io/ only; nothing outside sees hdf5.h. */
#ifndef POLYSKETCH_IO_H5_H
#define POLYSKETCH_IO_H5_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"

/* The value of an HDF5 call; ends the job when it is negative. For calls that fail only when the disk or the library
   does; what a user or a damaged file can cause is asked before. */
#define CHECK_H5(call) h5_checked((int64_t)(call), __FILE__, __LINE__, #call)
hid_t h5_checked(int64_t result, const char *file, int line, const char *call);

/* Keeps HDF5 from printing its own stack of errors; in the calling thread, where HDF5 is built for several. The functions that
   open or create a file, and token_file_read(), do it themselves. */
void h5_start(void);

/* Opens with the POSIX driver, locked against writers where the file system has locks. False with a message that tells a
   missing file from one that is empty, not HDF5, without permission, in use, or truncated. */
bool h5_open_readonly(const char *path, hid_t *file, Message *problem);

/* Bytes of an open file as the system knows it now; -1: unknown. */
int64_t h5_bytes_on_disk(hid_t file);

/* Is the file there, permitted and not in use? It may be damaged all the same. */
bool h5_may_open(const char *path, Message *problem);

/* A new file under a name that no other program has, so without a lock; it replaces an old one. */
bool h5_create(const char *path, hid_t *file, Message *problem);

/* For files with a layout of their own (io/h5_layout.c): how ours are accessed, which the caller closes with H5Pclose,
   and a new file of that sort; negative when it cannot be made. */
hid_t h5_access_properties(void);
void h5_without_lock(hid_t access); /* where there are no locks HDF5 would call a file damaged that it opens with one */
hid_t h5_create_with(const char *path, hid_t access);

/* The attribute of a dataset that holds the digest of its values, in the bytes of the file's type; see src/base/digest.h. */
#define H5_DIGEST "xxh3"

void h5_write_digest(hid_t dataset, uint64_t digest);

/* True also when the dataset has none, as files of others and older ones. */
bool h5_digest_agrees(hid_t dataset, uint64_t digest);

/* Compares the datasets of `file`, in all groups, with their digests: those with number `part`, `part + parts`, ... in
   the order of the file. Datasets without one pass, unless `all_have`. False with a message that names the first that
   differs. */
bool h5_check_digests(hid_t file, const char *path, int part, int parts, bool all_have, Message *problem);
bool h5_fail_digest(const char *path, const char *name, Message *problem); /* the message of one that differs */

/* A group whose members are listed in the order of their creation. */
hid_t h5_create_group(hid_t parent, const char *name);

/* Is there a group or dataset of this name? One that a soft or external link leads to does not count. */
bool h5_has(hid_t parent, const char *name);

/* The names of what is in a group or file, in the order of creation where it was kept, else by name. False when the
   list is damaged or a name is too long. Free with h5_members_free(), whatever the outcome. */
enum { H5_NAME_SIZE = 256 };
typedef struct H5Members {
    char (*names)[H5_NAME_SIZE];
    size_t count, capacity;
} H5Members;
bool h5_members(hid_t group, H5Members *members);
void h5_members_free(H5Members *members);

/* A new attribute: a 64-bit integer, a double, or a string of fixed length, ended by a zero (UTF-8). */
void h5_write_integer(hid_t object, const char *name, int64_t value);
void h5_write_real(hid_t object, const char *name, double value);
void h5_write_text(hid_t object, const char *name, const char *text);

/* Reads an attribute of one element: any integer, truth value or float as a number; strings of fixed or variable
   length as text. False when there is none of that name, it is of the other sort, or the text needs more than `size`
   bytes. */
bool h5_read_integer(hid_t object, const char *name, int64_t *value);
bool h5_read_real(hid_t object, const char *name, double *value);
bool h5_read_text(hid_t object, const char *name, char *text, size_t size);

/* Checks the attributes `format` and `format_version` of a file; `remedy` is a sentence for the message. */
bool h5_check_format(hid_t file, const char *path, const char *format, const char *remedy, Message *problem);

enum { H5_DIMENSIONS = 3 };

/* Opens a dataset of 1 to H5_DIMENSIONS `dimensions`, and tells them and its `shape` (H5_DIMENSIONS). False with a message
   that names `path`, also when its data are in another file, or are more than this one can hold. */
bool h5_open_array(hid_t parent, const char *name, const char *path, hid_t *dataset, int *dimensions, hsize_t *shape,
                   Message *problem);
/* Of so many dimensions only; `shape` (dimensions). */
bool h5_open_dataset(hid_t parent, const char *name, const char *path, int dimensions, hid_t *dataset, hsize_t *shape,
                     Message *problem);

/* Has it 1 to H5_DIMENSIONS dimensions, and its data in this file, which can hold as many? */
bool h5_holds_its_data(hid_t dataset);

/* Are its elements of this class? What HDF5 would convert, such as integers to floats, does not count. */
bool h5_is_of(hid_t dataset, H5T_class_t kind);

/* Can its values be read here? False with a message when they are in other files, or packed by a filter that this library
   does not have. The functions that open a dataset ask it. */
bool h5_check_storage(hid_t dataset, const char *name, const char *path, Message *problem);

/* Bytes of an unpacked chunk, all of which must be unpacked to read one value; 0 when it is not packed in chunks. */
size_t h5_packed_chunk_bytes(hid_t dataset);

/* "uint16", "float32", ... of its elements, for people. */
enum { H5_TYPE_NAME_SIZE = 24 };
void h5_type_name(hid_t dataset, char name[H5_TYPE_NAME_SIZE]);

/* A new dataset in one piece, to be filled whole (nothing is written in advance). */
hid_t h5_create_dataset(hid_t parent, const char *name, hid_t type, int dimensions, const hsize_t *shape);

#endif
