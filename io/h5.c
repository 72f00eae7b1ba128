#include "io/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file_format.h"
#include "src/base/memory.h"

/* ---- errors ---- */

void h5_start(void) { H5Eset_auto2(H5E_DEFAULT, NULL, NULL); }

static herr_t keep_innermost(unsigned depth, const H5E_error2_t *error, void *words)
{
    (void)depth;
    snprintf(words, 256, "%s", error->desc ? error->desc : "");
    return 0;
}

hid_t h5_checked(int64_t result, const char *file, int line, const char *call)
{
    if (result >= 0) return result;
    char words[256] = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, words);
    die_at(file, line, "%s failed: %s. Is the disk full, or the file damaged?", call, words);
}

/* ---- files ---- */

/* Why the system does not let us open `path`, in words with a remedy. */
static bool fail_of_system(const char *path, Message *problem)
{
    switch (errno) {
    case ENOENT:
        return fail(problem,
                    "cannot open '%s': no such file. Check the name, or make the file with polysketch prepare or train",
                    path);
    case EACCES: return fail(problem, "cannot open '%s': no permission. Try: chmod u+r %s", path, path);
    default: return fail(problem, "cannot open '%s': %s", path, strerror(errno));
    }
}

/* Some file systems have no locks (NFS without its lock service, Lustre mounted without flock, FUSE). */
typedef enum LockState { LOCK_FREE, LOCK_IN_USE, LOCK_NOT_THERE } LockState;

static LockState try_lock(int descriptor)
{
    if (flock(descriptor, LOCK_SH | LOCK_NB) == 0) return LOCK_FREE;
    return errno == EWOULDBLOCK ? LOCK_IN_USE : LOCK_NOT_THERE;
}

void h5_without_lock(hid_t access)
{
#if H5_VERSION_GE(1, 10, 7)
    CHECK_H5(H5Pset_file_locking(access, false, true));
#else
    (void)access;
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
#endif
}

/* What is seen of a file before HDF5 opens it, whose own errors do not tell these cases apart. */
typedef struct Look {
    int64_t bytes; /* -1: unknown */
    LockState lock;
} Look;

static bool look_first(const char *path, Look *look, Message *problem)
{
    struct stat status;
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0) return fail_of_system(path, problem);
    bool known = fstat(descriptor, &status) == 0;
    *look = (Look){known ? (int64_t)status.st_size : -1, try_lock(descriptor)};
    close(descriptor);
    if (known && S_ISDIR(status.st_mode)) return fail(problem, "'%s' is a folder. Name a file in it", path);
    if (look->lock == LOCK_IN_USE)
        return fail(problem, "'%s' is in use by another program. Wait for it, or end it", path);
    return true;
}

bool h5_may_open(const char *path, Message *problem)
{
    Look look = {.bytes = -1};
    return look_first(path, &look, problem);
}

bool h5_open_readonly(const char *path, hid_t *file, Message *problem)
{
    h5_start();
    Look look = {.bytes = -1};
    if (!look_first(path, &look, problem)) return false;
    if (look.bytes == 0)
        return fail(problem, "'%s' is empty: its writer was stopped. Remove it and make it again", path);
    if (H5Fis_hdf5(path) <= 0)
        return fail(problem,
                    "'%s' is not an HDF5 file. Make a token file of a text with: polysketch prepare --input=%s", path,
                    path);
    hid_t access = CHECK_H5(H5Pcreate(H5P_FILE_ACCESS));
    if (look.lock == LOCK_NOT_THERE) h5_without_lock(access);
    *file = H5Fopen(path, H5F_ACC_RDONLY, access);
    CHECK_H5(H5Pclose(access));
    if (*file >= 0) return true;
    return fail(problem, "'%s' is truncated or damaged: HDF5 cannot open it. Copy it again, or make it again", path);
}

int64_t h5_bytes_on_disk(hid_t file)
{
    struct stat status;
    void *descriptor;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor) < 0 || fstat(*(int *)descriptor, &status)) return -1;
    return (int64_t)status.st_size;
}

/* Readable by HDF5 1.8 and later; the newer forms are smaller, and keep the order of links. */
hid_t h5_access_properties(void)
{
    hid_t properties = CHECK_H5(H5Pcreate(H5P_FILE_ACCESS));
    CHECK_H5(H5Pset_libver_bounds(properties, H5F_LIBVER_V18, H5F_LIBVER_V110));
    return properties;
}

/* Of a file (its root group) or of a group: members keep the order in which they were made. No time stamps, so that the
   same contents are the same bytes. */
static hid_t creation_properties(hid_t kind)
{
    hid_t properties = CHECK_H5(H5Pcreate(kind));
    CHECK_H5(H5Pset_link_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED));
    CHECK_H5(H5Pset_attr_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED));
    CHECK_H5(H5Pset_obj_track_times(properties, false));
    return properties;
}

hid_t h5_create_with(const char *path, hid_t access)
{
    h5_start();
    hid_t creation = creation_properties(H5P_FILE_CREATE);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    CHECK_H5(H5Pclose(creation));
    return file;
}

bool h5_create(const char *path, hid_t *file, Message *problem)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0)
        return fail(problem, "cannot create '%s': %s. Choose a folder you can write to", path, strerror(errno));
    close(descriptor);
    hid_t access = h5_access_properties();
    h5_without_lock(access);
    *file = h5_create_with(path, access);
    CHECK_H5(H5Pclose(access));
    if (*file >= 0) return true;
    unlink(path);
    return fail(problem, "cannot create '%s': HDF5 cannot write there. Choose another folder", path);
}

/* ---- groups and datasets ---- */

hid_t h5_create_group(hid_t parent, const char *name)
{
    hid_t properties = creation_properties(H5P_GROUP_CREATE);
    hid_t group = CHECK_H5(H5Gcreate2(parent, name, H5P_DEFAULT, properties, H5P_DEFAULT));
    CHECK_H5(H5Pclose(properties));
    return group;
}

/* Only hard links: a file that is copied or damaged must not send its reader to others, perhaps to one that blocks. */
bool h5_has(hid_t parent, const char *name)
{
    H5L_info_t link;
    return H5Lget_info(parent, name, &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_HARD;
}

static herr_t add_member(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    H5Members *members = context;
    (void)group, (void)info;
    if (strlen(name) >= H5_NAME_SIZE) return -1;
    members->names = checked_grow(members->names, members->count, &members->capacity, sizeof *members->names);
    strcpy(members->names[members->count++], name);
    return 0;
}

/* In the order in which the library finds them, which is that of its index: other orders make it build a table, and it
   crashes when it has to give up doing that in a damaged file. */
bool h5_members(hid_t group, H5Members *members)
{
    *members = (H5Members){.names = NULL};
    hid_t opened = H5Gopen2(group, ".", H5P_DEFAULT), properties = opened >= 0 ? H5Gget_create_plist(opened) : -1;
    unsigned order = 0;
    bool good = properties >= 0 && H5Pget_link_creation_order(properties, &order) >= 0;
    H5_index_t index = order & H5P_CRT_ORDER_INDEXED ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME;
    good = good && H5Literate(opened, index, H5_ITER_NATIVE, NULL, add_member, members) >= 0;
    if (properties >= 0) H5Pclose(properties);
    if (opened >= 0) H5Gclose(opened);
    return good;
}

void h5_members_free(H5Members *members) { free(members->names); }

hid_t h5_create_dataset(hid_t parent, const char *name, hid_t type, int dimensions, const hsize_t *shape)
{
    hid_t properties = CHECK_H5(H5Pcreate(H5P_DATASET_CREATE));
    CHECK_H5(H5Pset_obj_track_times(properties, false));
    hid_t space = CHECK_H5(H5Screate_simple(dimensions, shape, NULL));
    hid_t dataset = CHECK_H5(H5Dcreate2(parent, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Pclose(properties));
    return dataset;
}

/* The number of elements of an extent, `most` + 1 when there are more than `most`. */
static uint64_t element_count(int dimensions, const hsize_t *extent, uint64_t most)
{
    uint64_t count = 1;
    for (int i = 0; i < dimensions; i++) {
        if (extent[i] > 0 && count > most / extent[i]) return most + 1;
        count *= extent[i];
    }
    return count;
}

/* Can the file hold so many elements? A damaged shape must not take all memory. Of the usual filters deflate is the
   best: it makes one byte of 1032. */
static bool plausible(hid_t dataset, hid_t properties, int dimensions, const hsize_t *shape)
{
    hsize_t file_bytes = 0, chunk[H5_DIMENSIONS] = {0};
    hid_t file = H5Iget_file_id(dataset), type = H5Dget_type(dataset);
    size_t element_bytes = type >= 0 ? H5Tget_size(type) : 0;
    bool known = file >= 0 && H5Fget_filesize(file, &file_bytes) >= 0 && element_bytes > 0;
    if (type >= 0) H5Tclose(type);
    if (file >= 0) H5Fclose(file);
    if (!known) return false;
    bool filtered = H5Pget_nfilters(properties) > 0;
    uint64_t most = (filtered ? 1032 : 1) * file_bytes / element_bytes;
    if (filtered && H5Pget_chunk(properties, dimensions, chunk) != dimensions) return false;
    return element_count(dimensions, shape, most) <= most && element_count(dimensions, chunk, most) <= most;
}

/* Whether the data can be as many as `shape` says. */
static bool holds_its_data(hid_t dataset, int dimensions, const hsize_t *shape)
{
    hid_t properties = H5Dget_create_plist(dataset);
    if (properties < 0) return false;
    bool good = plausible(dataset, properties, dimensions, shape);
    H5Pclose(properties);
    return good;
}

/* Whether it is an array that this program knows, of 1 to H5_DIMENSIONS `dimensions`, -1 when the file is damaged; only then
   `shape` (H5_DIMENSIONS) is told. */
static bool read_shape(hid_t dataset, int *dimensions, hsize_t *shape)
{
    hid_t space = H5Dget_space(dataset);
    *dimensions = H5Sget_simple_extent_ndims(space);
    bool known = 1 <= *dimensions && *dimensions <= H5_DIMENSIONS;
    if (known) H5Sget_simple_extent_dims(space, shape, NULL);
    if (space >= 0) H5Sclose(space);
    return known;
}

bool h5_holds_its_data(hid_t dataset)
{
    hsize_t shape[H5_DIMENSIONS];
    int dimensions;
    Message unused;
    return h5_check_storage(dataset, "", "", &unused) && read_shape(dataset, &dimensions, shape) &&
           holds_its_data(dataset, dimensions, shape);
}

bool h5_open_array(hid_t parent, const char *name, const char *path, hid_t *dataset, int *dimensions, hsize_t *shape,
                   Message *problem)
{
    *dataset = h5_has(parent, name) ? H5Dopen2(parent, name, H5P_DEFAULT) : -1;
    if (*dataset < 0) return fail(problem, "'%s' has no dataset %s. Try: h5ls -r %s", path, name, path);
    if (!h5_check_storage(*dataset, name, path, problem)) {
        H5Dclose(*dataset);
        return false;
    }
    bool known = read_shape(*dataset, dimensions, shape);
    if (known && holds_its_data(*dataset, *dimensions, shape)) return true;
    H5Dclose(*dataset);
    if (known)
        return fail(problem, "'%s': the file does not hold the data of %s. Copy it again, or make it again", path,
                    name);
    return fail(problem, "'%s': dataset %s has %d dimensions, none of ours has. Try: h5ls -r %s", path, name,
                *dimensions, path);
}

bool h5_open_dataset(hid_t parent, const char *name, const char *path, int dimensions, hid_t *dataset, hsize_t *shape,
                     Message *problem)
{
    int found = 0;
    hsize_t extents[H5_DIMENSIONS];
    if (!h5_open_array(parent, name, path, dataset, &found, extents, problem)) return false;
    if (found == dimensions) {
        memcpy(shape, extents, (size_t)dimensions * sizeof *shape);
        return true;
    }
    H5Dclose(*dataset);
    return fail(problem, "'%s': dataset %s has %d dimensions instead of %d. Try: h5ls -r %s", path, name, found,
                dimensions, path);
}

bool h5_is_of(hid_t dataset, H5T_class_t kind)
{
    hid_t type = H5Dget_type(dataset);
    bool good = type >= 0 && H5Tget_class(type) == kind;
    if (type >= 0) H5Tclose(type);
    return good;
}

/* ---- attributes ---- */

static void write_attribute(hid_t object, const char *name, hid_t file_type, hid_t memory_type, const void *value)
{
    hid_t space = CHECK_H5(H5Screate(H5S_SCALAR));
    hid_t attribute = CHECK_H5(H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT));
    CHECK_H5(H5Awrite(attribute, memory_type, value));
    CHECK_H5(H5Aclose(attribute));
    CHECK_H5(H5Sclose(space));
}

void h5_write_integer(hid_t object, const char *name, int64_t value)
{
    write_attribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void h5_write_real(hid_t object, const char *name, double value)
{
    write_attribute(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

void h5_write_text(hid_t object, const char *name, const char *text)
{
    hid_t type = CHECK_H5(H5Tcopy(H5T_C_S1));
    CHECK_H5(H5Tset_size(type, strlen(text) + 1));
    CHECK_H5(H5Tset_cset(type, H5T_CSET_UTF8));
    write_attribute(object, name, type, type, text);
    CHECK_H5(H5Tclose(type));
}

/* The attribute `name` when it has one element (or none at all, as h5py writes an empty string), or -1. */
static hid_t open_attribute(hid_t object, const char *name, hid_t *type, hssize_t *elements)
{
    hid_t attribute = H5Aexists(object, name) > 0 ? H5Aopen(object, name, H5P_DEFAULT) : -1;
    if (attribute < 0) return -1;
    hid_t space = H5Aget_space(attribute);
    *elements = H5Sget_simple_extent_npoints(space);
    if (space >= 0) H5Sclose(space);
    *type = H5Aget_type(attribute);
    if (*type >= 0 && (*elements == 0 || *elements == 1)) return attribute;
    if (*type >= 0) H5Tclose(*type);
    H5Aclose(attribute);
    return -1;
}

static void close_attribute(hid_t attribute, hid_t type)
{
    H5Tclose(type);
    H5Aclose(attribute);
}

static bool read_number(hid_t object, const char *name, hid_t memory_type, void *value)
{
    hssize_t elements;
    hid_t type, attribute = open_attribute(object, name, &type, &elements);
    if (attribute < 0) return false;
    H5T_class_t kind = H5Tget_class(type); /* h5py stores truth values as an enumeration */
    bool good = elements == 1 && (kind == H5T_INTEGER || kind == H5T_FLOAT || kind == H5T_ENUM) &&
                H5Aread(attribute, memory_type, value) >= 0;
    close_attribute(attribute, type);
    return good;
}

bool h5_read_integer(hid_t object, const char *name, int64_t *value)
{
    return read_number(object, name, H5T_NATIVE_INT64, value);
}

bool h5_read_real(hid_t object, const char *name, double *value)
{
    return read_number(object, name, H5T_NATIVE_DOUBLE, value);
}

static bool read_variable_text(hid_t attribute, hid_t type, char *text, size_t size)
{
    char *words = NULL;
    if (H5Aread(attribute, type, &words) < 0) return false;
    bool fits = !words || strlen(words) < size;
    if (fits) strcpy(text, words ? words : "");
    H5free_memory(words);
    return fits;
}

static bool read_fixed_text(hid_t attribute, hid_t type, char *text, size_t size)
{
    const size_t longest = 1 << 16; /* of attributes in the usual place; a damaged length must not take all memory */
    size_t length = H5Tget_size(type);
    if (length > longest) return false;
    char *words = checked_calloc(length + 1, 1); /* ended by zero whatever the padding */
    bool good = H5Aread(attribute, type, words) >= 0;
    if (H5Tget_strpad(type) == H5T_STR_SPACEPAD)
        while (length > 0 && words[length - 1] == ' ') words[--length] = 0;
    good = good && strlen(words) < size;
    if (good) strcpy(text, words);
    free(words);
    return good;
}

bool h5_read_text(hid_t object, const char *name, char *text, size_t size)
{
    hssize_t elements;
    hid_t type, attribute = open_attribute(object, name, &type, &elements);
    if (attribute < 0) return false;
    bool good = H5Tget_class(type) == H5T_STRING && size > 0;
    if (good && elements == 0)
        text[0] = 0;
    else if (good && H5Tis_variable_str(type) > 0)
        good = read_variable_text(attribute, type, text, size);
    else if (good)
        good = read_fixed_text(attribute, type, text, size);
    close_attribute(attribute, type);
    return good;
}

bool h5_check_format(hid_t file, const char *path, const char *format, const char *remedy, Message *problem)
{
    char found[64];
    int64_t version;
    if (!h5_read_text(file, "format", found, sizeof found))
        return fail(problem, "'%s' is no %s file: it has no attribute format. %s", path, format, remedy);
    if (strcmp(found, format))
        return fail(problem, "'%s' is a %s file, but a %s file is needed here. %s", path, found, format, remedy);
    if (!h5_read_integer(file, "format_version", &version) || version < 1)
        return fail(problem, "'%s' has no attribute format_version that is a number. Set it to %d", path,
                    FORMAT_VERSION);
    if (version > FORMAT_VERSION)
        return fail(problem,
                    "'%s' has format version %lld, this program knows versions up to %d. Use a newer polysketch", path,
                    (long long)version, FORMAT_VERSION);
    return true;
}
