#include "io/piece_store.h"

#include "io/h5.h"
#include "src/base/digest.h"
#include "src/base/memory.h"

static bool write_row(hid_t group, const char *name, hid_t type, hsize_t count, const void *values)
{
    hid_t dataset = h5_create_dataset(group, name, type, 1, &count);
    bool good = H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    if (good) h5_write_digest(dataset, digest_bytes(values, count * H5Tget_size(type)));
    return H5Dclose(dataset) >= 0 && good;
}

bool piece_store_write(hid_t group, const Tokenizer *tokenizer)
{
    hsize_t count = (hsize_t)tokenizer->vocab_size;
    return write_row(group, "bytes", H5T_STD_U8LE, count ? tokenizer->ends[count - 1] : 0, tokenizer->bytes) &&
           write_row(group, "ends", H5T_STD_U64LE, count, tokenizer->ends);
}

/* A one-dimensional dataset whole, into new memory of the caller. */
static bool read_row(hid_t group, const char *name, const char *path, hid_t type, void **values, hsize_t *count,
                     Message *problem)
{
    hid_t dataset;
    if (!h5_open_dataset(group, name, path, 1, &dataset, count, problem)) return false;
    *values = checked_calloc(*count, H5Tget_size(type));
    bool good = h5_is_of(dataset, H5T_INTEGER) && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values) >= 0 &&
                h5_digest_agrees(dataset, digest_bytes(*values, *count * H5Tget_size(type)));
    H5Dclose(dataset);
    return good ||
           fail(problem, "'%s': the %s of the tokenizer's pieces are damaged. Copy the file again, or use another",
                path, name);
}

bool piece_store_read(hid_t group, const char *path, Tokenizer *tokenizer, Message *problem)
{
    hsize_t bytes = 0, ends = 0;
    if (!read_row(group, "bytes", path, H5T_STD_U8LE, (void **)&tokenizer->bytes, &bytes, problem) ||
        !read_row(group, "ends", path, H5T_STD_U64LE, (void **)&tokenizer->ends, &ends, problem))
        return false;
    tokenizer->vocab_size = (int64_t)ends;
    for (hsize_t i = 0; i < ends; i++) /* pieces must lie within the bytes */
        if (tokenizer->ends[i] > bytes || (i > 0 && tokenizer->ends[i] < tokenizer->ends[i - 1]))
            return fail(problem, "'%s': the pieces of the tokenizer are damaged at token %llu. Use another file", path,
                        (unsigned long long)i);
    return true;
}
