#include "io/piece_store.h"

#include <string.h>

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

int piece_store_rows(const Tokenizer *tokenizer, PieceRow rows[MOST_PIECE_ROWS])
{
    hsize_t count = (hsize_t)tokenizer->vocab_size;
    if (!tokenizer_has_pieces(tokenizer)) return 0;
    hsize_t bytes = count > 0 ? tokenizer->ends[count - 1] : 0;
    rows[0] = (PieceRow){"bytes", H5T_STD_U8LE, bytes, tokenizer->bytes};
    rows[1] = (PieceRow){"ends", H5T_STD_U64LE, count, tokenizer->ends};
    rows[2] = (PieceRow){"file", H5T_STD_U8LE, tokenizer->file.count, tokenizer->file.bytes};
    return tokenizer->file.kind ? 3 : 2;
}

void piece_store_write_form(hid_t group, const Tokenizer *tokenizer)
{
    if (tokenizer->file.kind) h5_write_text(group, "file_name", tokenizer->file.kind->file_name);
}

bool piece_store_write(hid_t group, const Tokenizer *tokenizer)
{
    PieceRow rows[MOST_PIECE_ROWS];
    int count = piece_store_rows(tokenizer, rows);
    bool good = true;
    for (int i = 0; i < count && good; i++)
        good = write_row(group, rows[i].name, rows[i].type, rows[i].count, rows[i].values);
    piece_store_write_form(group, tokenizer);
    return good;
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
           fail(problem, "'%s': the dataset %s of the tokenizer is damaged. Copy the file again, or use another", path,
                name);
}

static bool read_file(hid_t group, const char *path, TokenizerFile *file, Message *problem)
{
    char name[64];
    hsize_t count;
    if (!h5_has(group, "file")) return true;
    if (!h5_read_text(group, "file_name", name, sizeof name)) strcpy(name, "?");
    const CutterKind *kind = cutter_kind_named(name);
    if (!kind)
        return fail(problem, "'%s' keeps a tokenizer of the form '%s', which is not known here. Use a later version",
                    path, name);
    if (!read_row(group, "file", path, H5T_STD_U8LE, (void **)&file->bytes, &count, problem)) return false;
    file->kind = kind;
    file->count = count;
    return true;
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
    return read_file(group, path, &tokenizer->file, problem);
}
