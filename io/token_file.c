#include "io/token_file.h"

#include <stdlib.h>
#include <string.h>

#include "io/documents.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "io/piece_store.h"
#include "src/base/digest.h"
#include "src/base/log.h"
#include "src/base/memory.h"

/* ---- opening ---- */

static const char remedy[] =
    "Make a token file with: polysketch prepare (docs/format.md says how to make one yourself)";

/* One element of /pieces in memory: bytes of its own, as HDF5 hands them out. */
typedef struct PieceReader {
    hid_t type;   /* in memory */
    bool counted; /* elements are hvl_t; otherwise zero-terminated strings */
    size_t fixed; /* bytes of an element that is a string of fixed length; 0: a pointer to a string */
    size_t element_bytes;
} PieceReader;

/* Which of the three usual ways of storing strings of bytes is this? False when none. */
static bool choose_reader(hid_t file_type, PieceReader *reader)
{
    *reader = (PieceReader){.type = -1};
    H5T_class_t kind = H5Tget_class(file_type);
    if (kind == H5T_VLEN) {
        hid_t base = H5Tget_super(file_type);
        bool bytes = base >= 0 && H5Tget_class(base) == H5T_INTEGER && H5Tget_size(base) == 1;
        if (base >= 0) H5Tclose(base);
        if (bytes) reader->type = CHECK_H5(H5Tvlen_create(H5T_NATIVE_UINT8));
        reader->counted = true;
        reader->element_bytes = sizeof(hvl_t);
        return bytes;
    }
    if (kind != H5T_STRING) return false;
    reader->type = CHECK_H5(H5Tcopy(file_type));
    bool variable = CHECK_H5(H5Tis_variable_str(file_type)) > 0;
    reader->fixed = variable ? 0 : H5Tget_size(file_type);
    reader->element_bytes = variable ? sizeof(char *) : reader->fixed;
    return true;
}

static const void *element(const PieceReader *reader, const char *elements, int64_t i, size_t *length)
{
    const char *place = elements + (size_t)i * reader->element_bytes;
    if (reader->counted) {
        const hvl_t *piece = (const hvl_t *)(const void *)place;
        *length = piece->len;
        return piece->p;
    }
    const char *string = reader->fixed ? place : *(char *const *)(const void *)place;
    *length = reader->fixed ? strnlen(string, reader->fixed) : string ? strlen(string) : 0;
    return string;
}

static void gather_pieces(Tokenizer *tokenizer, const PieceReader *reader, const char *elements)
{
    size_t total = 0, length;
    for (int64_t i = 0; i < tokenizer->vocab_size; i++) {
        element(reader, elements, i, &length);
        total += length;
    }
    tokenizer->bytes = checked_calloc(total, sizeof *tokenizer->bytes);
    tokenizer->ends = checked_calloc((size_t)tokenizer->vocab_size, sizeof *tokenizer->ends);
    size_t end = 0;
    for (int64_t i = 0; i < tokenizer->vocab_size; i++) {
        const void *piece = element(reader, elements, i, &length);
        if (length) memcpy(tokenizer->bytes + end, piece, length);
        end += length;
        tokenizer->ends[i] = end;
    }
}

static bool check_piece_count(const TokenFile *file, int64_t entries, Message *problem)
{
    return entries == file->vocab_size ||
           fail(problem, "'%s': /pieces has %lld entries, but vocab_size is %lld. Give one piece per token", file->path,
                (long long)entries, (long long)file->vocab_size);
}

/* /pieces as others write them: a dataset of strings or variable-length bytes. */
static bool read_piece_dataset(TokenFile *file, Message *problem)
{
    hid_t dataset;
    hsize_t entries;
    if (!h5_open_dataset(file->file, "pieces", file->path, 1, &dataset, &entries, problem)) return false;
    hid_t type = CHECK_H5(H5Dget_type(dataset)), space = CHECK_H5(H5Dget_space(dataset));
    PieceReader reader;
    bool good = choose_reader(type, &reader);
    if (!good)
        fail(problem, "'%s': /pieces holds neither strings nor bytes of variable length. %s", file->path, remedy);
    else
        good = check_piece_count(file, (int64_t)entries, problem);
    if (good) {
        char *elements = checked_calloc((size_t)entries, reader.element_bytes);
        good = H5Dread(dataset, reader.type, H5S_ALL, H5S_ALL, H5P_DEFAULT, elements) >= 0 ||
               fail(problem, "'%s': /pieces cannot be read; the file is damaged. Copy it again, or make it again",
                    file->path);
        if (good) gather_pieces(&file->tokenizer, &reader, elements);
        if (!reader.fixed) H5Dvlen_reclaim(reader.type, space, H5P_DEFAULT, elements); /* also of a half-read one */
        free(elements);
    }
    if (reader.type >= 0) CHECK_H5(H5Tclose(reader.type));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Tclose(type));
    CHECK_H5(H5Dclose(dataset));
    return good;
}

/* The same as plain numbers, which this program writes beside them: HDF5 does not read variable-length elements of a damaged
   file safely. */
static bool read_piece_group(TokenFile *file, Message *problem)
{
    hid_t group = H5Gopen2(file->file, "tokenizer", H5P_DEFAULT);
    if (group < 0)
        return fail(problem, "'%s': /tokenizer cannot be opened; the file is damaged. %s", file->path, remedy);
    bool good = piece_store_read(group, file->path, &file->tokenizer, problem) &&
                check_piece_count(file, file->tokenizer.vocab_size, problem);
    H5Gclose(group);
    return good;
}

static bool read_tokenizer(TokenFile *file, Message *problem)
{
    Tokenizer *tokenizer = &file->tokenizer;
    if (H5Aexists(file->file, "tokenizer") == 0)
        strcpy(tokenizer->name, "unknown");
    else if (!h5_read_text(file->file, "tokenizer", tokenizer->name, sizeof tokenizer->name))
        return fail(problem, "'%s': the attribute tokenizer is no text of at most %zu bytes. Give it a short name",
                    file->path, sizeof tokenizer->name - 1);
    if (h5_has(file->file, "tokenizer")) return read_piece_group(file, problem);
    bool listed = h5_has(file->file, "pieces");
    if (!listed && strcmp(tokenizer->name, "bytes") == 0 && file->vocab_size <= 256)
        *tokenizer = tokenizer_bytes(); /* text of fewer bytes than 256 uses the first of them */
    tokenizer->vocab_size = file->vocab_size;
    return !listed || read_piece_dataset(file, problem);
}

/* Large chunks are kept whole up to this, one at a time; what that costs, and how fast larger ones are read, is said. */
enum { CACHE_BYTES = 32 << 20, LARGEST_CACHE = 256 << 20 };

/* The chunks that the pieces of a step lie in are read again and again; HDF5's own cache of 1 MiB holds one at most. */
static hid_t cache_properties(size_t chunk_bytes)
{
    const size_t slots = 1009,
                 bytes = chunk_bytes <= CACHE_BYTES || chunk_bytes > LARGEST_CACHE ? CACHE_BYTES : chunk_bytes;
    hid_t properties = CHECK_H5(H5Pcreate(H5P_DATASET_ACCESS));
    CHECK_H5(H5Pset_chunk_cache(properties, slots, bytes, 1.0));
    return properties;
}

/* Each piece of a chunk that the cache does not hold costs the unpacking of all of it. */
static void warn_of_chunks(const TokenFile *file, size_t chunk_bytes)
{
    char size[32];
    bool kept = chunk_bytes <= LARGEST_CACHE, only_one = chunk_bytes >= file->count * (size_t)file->token_bytes;
    if (chunk_bytes <= CACHE_BYTES) return;
    log_line("%s'%s' is packed in chunks of %s%s%s. Better is what this makes: h5repack -l tokens:CHUNK=%d %s NEW.h5",
             kept && only_one ? "" : "warning: ", file->path, log_bytes((double)chunk_bytes, size),
             kept && only_one ? "" : ", each unpacked for every sequence from it, which is slow",
             kept ? "; each rank keeps one in memory, beside what the memory report and plan count" : "", 1 << 20,
             file->path);
}

static bool open_tokens(TokenFile *file, Message *problem)
{
    hid_t dataset;
    hsize_t count;
    char type_name[H5_TYPE_NAME_SIZE];
    if (!h5_open_dataset(file->file, "tokens", file->path, 1, &dataset, &count, problem)) return false;
    bool integer = h5_is_of(dataset, H5T_INTEGER);
    hid_t type = CHECK_H5(H5Dget_type(dataset));
    size_t chunk_bytes = h5_packed_chunk_bytes(dataset);
    h5_type_name(dataset, type_name);
    file->token_bytes = (int)H5Tget_size(type);
    CHECK_H5(H5Tclose(type));
    CHECK_H5(H5Dclose(dataset));
    if (!integer || (file->token_bytes != 1 && file->token_bytes != 2 && file->token_bytes != 4))
        return fail(
            problem,
            "'%s': /tokens has type %s, not uint8, uint16 or uint32. Save f['tokens'][...] with numpy.save() and "
            "convert that: polysketch prepare --tokens=FILE.npy --vocab_size=N",
            file->path, type_name);
    file->count = count;
    hid_t cache = cache_properties(chunk_bytes);
    file->tokens = H5Dopen2(file->file, "tokens", cache);
    CHECK_H5(H5Pclose(cache));
    if (file->tokens < 0)
        return fail(problem, "'%s': /tokens cannot be opened; the file is damaged. %s", file->path, remedy);
    warn_of_chunks(file, chunk_bytes);
    return true;
}

/* Starts of documents are not in every file. */
static bool open_documents(TokenFile *file, Message *problem)
{
    hid_t dataset;
    hsize_t count;
    if (!h5_has(file->file, "documents")) return true;
    if (!h5_open_dataset(file->file, "documents", file->path, 1, &dataset, &count, problem)) return false;
    file->starts = dataset;
    file->document_count = count;
    hid_t type = CHECK_H5(H5Dget_type(dataset));
    bool right = H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == sizeof(uint64_t);
    CHECK_H5(H5Tclose(type));
    if (!right) return fail(problem, "'%s': /documents is not of type uint64. %s", file->path, remedy);
    return (1 <= count && count <= file->count) || fail(problem, "'%s': /documents has %zu starts for %zu tokens. %s",
                                                        file->path, file->document_count, file->count, remedy);
}

static bool read_contents(TokenFile *file, Message *problem)
{
    if (!h5_check_format(file->file, file->path, FORMAT_TOKENS, remedy, problem)) return false;
    if (!h5_read_integer(file->file, "vocab_size", &file->vocab_size))
        return fail(problem, "'%s' has no attribute vocab_size that is a number. %s", file->path, remedy);
    if (file->vocab_size < 1 || file->vocab_size > 1 << 24)
        return fail(problem, "'%s': vocab_size = %lld is not in 1 .. 2^24. %s", file->path, (long long)file->vocab_size,
                    remedy);
    return open_tokens(file, problem) && open_documents(file, problem) && read_tokenizer(file, problem);
}

TokenFile *token_file_open(const char *path, Message *problem)
{
    hid_t handle;
    if (!h5_open_readonly(path, &handle, problem)) return NULL;
    TokenFile *file = checked_calloc(1, sizeof *file);
    file->path = strdup(path);
    file->file = handle;
    file->file_bytes = h5_bytes_on_disk(handle);
    file->tokens = file->starts = -1;
    if (read_contents(file, problem)) return file;
    token_file_close(file);
    return NULL;
}

void token_file_close(TokenFile *file)
{
    if (!file) return;
    if (file->tokens >= 0) CHECK_H5(H5Dclose(file->tokens));
    if (file->starts >= 0) CHECK_H5(H5Dclose(file->starts));
    CHECK_H5(H5Fclose(file->file));
    tokenizer_destroy(&file->tokenizer);
    documents_destroy(file->documents);
    free(file->path);
    free(file);
}

/* ---- reading ---- */

static bool read_elements(hid_t dataset, hid_t type, size_t first, size_t count, void *elements)
{
    h5_start(); /* this thread may be one that only reads */
    hid_t space = H5Dget_space(dataset), memory = CHECK_H5(H5Screate_simple(1, &(hsize_t){count}, NULL));
    bool good = H5Sselect_hyperslab(space, H5S_SELECT_SET, &(hsize_t){first}, NULL, &(hsize_t){count}, NULL) >= 0 &&
                H5Dread(dataset, type, memory, space, H5P_DEFAULT, elements) >= 0;
    CHECK_H5(H5Sclose(memory));
    if (space >= 0) H5Sclose(space);
    return good;
}

/* HDF5 reads zeros beyond the end of a file, which are tokens. */
static bool check_length(const TokenFile *file, Message *problem)
{
    int64_t bytes = h5_bytes_on_disk(file->file);
    return bytes < 0 || bytes >= file->file_bytes ||
           fail(problem,
                "'%s' was cut while it is read: it had %lld bytes and has %lld. Copy it again, or make it again",
                file->path, (long long)file->file_bytes, (long long)bytes);
}

/* Elements of one of its datasets, of the kind that `what` names: all that were asked for, or false with a message. */
static bool read_whole(const TokenFile *file, const char *what, hid_t dataset, hid_t type, size_t first, size_t count,
                       void *elements, Message *problem)
{
    bool good = read_elements(dataset, type, first, count, elements);
    if (!check_length(file, problem)) return false;
    return good ||
           fail(problem, "'%s': %s %zu to %zu cannot be read; the file is damaged. Copy it again, or make it again",
                file->path, what, first, first + count);
}

static bool read_starts(const TokenFile *file, size_t first, size_t count, int64_t *starts, Message *problem)
{
    return read_whole(file, "documents", file->starts, H5T_NATIVE_INT64, first, count, starts, problem);
}

bool token_file_read(TokenFile *file, size_t first, size_t count, int32_t *tokens, Message *problem)
{
    if (first > file->count || count > file->count - first)
        return fail(problem, "'%s' has %zu tokens, but tokens %zu to %zu are needed. Use a longer text", file->path,
                    file->count, first, first + count);
    if (count == 0) return true;
    if (!read_whole(file, "tokens", file->tokens, H5T_NATIVE_INT32, first, count, tokens, problem)) return false;
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= file->vocab_size)
            return fail(problem,
                        "'%s': token %zu is %d, but vocab_size is %lld. Set vocab_size to the size of the vocabulary "
                        "it was made with, or make it again",
                        file->path, first + i, (int)tokens[i], (long long)file->vocab_size);
    return true;
}

/* With the start before the first one, so that they can be compared. */
bool token_file_documents(TokenFile *file, size_t first, size_t count, int64_t *starts, Message *problem)
{
    if (first > file->document_count || count > file->document_count - first)
        return fail(problem, "'%s' has %zu documents, but documents %zu to %zu are needed", file->path,
                    file->document_count, first, first + count);
    if (count == 0) return true;
    int64_t before = -1;
    if (!read_starts(file, first, count, starts, problem)) return false;
    if (first > 0 && !read_starts(file, first - 1, 1, &before, problem)) return false;
    for (size_t i = 0; i < count; before = starts[i++]) {
        bool right = first + i == 0 ? starts[i] == 0 : starts[i] > before && starts[i] < (int64_t)file->count;
        if (!right)
            return fail(
                problem,
                "'%s': document %zu starts at token %lld, but starts rise from 0 and are below %zu, the number of "
                "tokens. Correct /documents, or delete it",
                file->path, first + i, (long long)starts[i], file->count);
    }
    return true;
}

bool token_file_digest(TokenFile *file, uint64_t *digest, Message *problem)
{
    enum { SAMPLES = 16, LENGTH = 4096 };
    int32_t *tokens = checked_calloc(LENGTH, sizeof *tokens);
    size_t length = file->count < LENGTH ? file->count : LENGTH, last = file->count - length;
    uint64_t chain[2] = {file->count, 0}; /* the digest so far, and that of a sample */
    bool good = true;
    for (size_t i = 0; i < SAMPLES && good; i++) {
        good = token_file_read(file, last * i / (SAMPLES - 1), length, tokens, problem);
        chain[1] = digest_bytes(tokens, length * sizeof *tokens);
        chain[0] = digest_bytes(chain, sizeof chain);
    }
    free(tokens);
    *digest = chain[0];
    return good;
}
