/* How a dataset is stored (io/h5.h): filters, chunks and types, as far as they decide whether and how fast it can be read. */
#include <stdio.h>
#include <string.h>

#include "io/h5.h"

/* The first filter of the dataset that this library lacks; -1: none. Its name into `name`, "" when it has none. */
static int missing_filter(hid_t properties, char *name, size_t size)
{
    int count = H5Pget_nfilters(properties);
    for (int i = 0; i < count; i++) {
        unsigned flags = 0;
        size_t values = 0;
        name[0] = 0;
        H5Z_filter_t filter = H5Pget_filter2(properties, (unsigned)i, &flags, &values, NULL, size, name, NULL);
        if (filter >= 0 && H5Zfilter_avail(filter) <= 0) return filter;
    }
    return -1;
}

bool h5_check_storage(hid_t dataset, const char *name, const char *path, Message *problem)
{
    char filter_name[64] = "";
    hid_t properties = H5Dget_create_plist(dataset);
    int filter = properties >= 0 ? missing_filter(properties, filter_name, sizeof filter_name) : -1;
    bool elsewhere =
        properties >= 0 && (H5Pget_layout(properties) == H5D_VIRTUAL || H5Pget_external_count(properties) > 0);
    if (properties >= 0) H5Pclose(properties);
    if (elsewhere)
        return fail(problem,
                    "'%s': the file does not hold the data of %s, which are in other files. Copy the values into one "
                    "dataset, with h5py: f['%s'] = other['%s'][...]",
                    path, name, name, name);
    return filter < 0 ||
           fail(problem,
                "'%s': %s is packed with the filter %s (%d), which the HDF5 library here does not have. Pack it with "
                "gzip "
                "where it can be read, with h5py: f.create_dataset('%s', data=old['%s'][...], chunks=True, "
                "compression='gzip')",
                path, name, filter_name[0] ? filter_name : "without a name", filter, name, name);
}

size_t h5_packed_chunk_bytes(hid_t dataset)
{
    hsize_t chunk[H5_DIMENSIONS];
    hid_t properties = H5Dget_create_plist(dataset), type = H5Dget_type(dataset);
    bool packed = properties >= 0 && H5Pget_layout(properties) == H5D_CHUNKED && H5Pget_nfilters(properties) > 0;
    int dimensions = packed ? H5Pget_chunk(properties, H5_DIMENSIONS, chunk) : 0;
    size_t bytes = dimensions > 0 && dimensions <= H5_DIMENSIONS && type >= 0 ? H5Tget_size(type) : 0;
    for (int i = 0; i < dimensions && i < H5_DIMENSIONS; i++) bytes *= chunk[i];
    if (type >= 0) H5Tclose(type);
    if (properties >= 0) H5Pclose(properties);
    return bytes;
}

void h5_type_name(hid_t dataset, char name[H5_TYPE_NAME_SIZE])
{
    hid_t type = H5Dget_type(dataset);
    H5T_class_t kind = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    int bits = type >= 0 ? 8 * (int)H5Tget_size(type) : 0;
    if (kind == H5T_INTEGER)
        snprintf(name, H5_TYPE_NAME_SIZE, "%sint%d", H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits);
    else if (kind == H5T_FLOAT)
        snprintf(name, H5_TYPE_NAME_SIZE, "float%d", bits);
    else
        strcpy(name, kind == H5T_STRING ? "string" : kind == H5T_COMPOUND ? "compound" : "another kind");
    if (type >= 0) H5Tclose(type);
}
