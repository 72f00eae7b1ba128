/* The writing half of io/token_file.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "io/piece_store.h"
#include "io/token_file.h"
#include "io/token_verdict.h"
#include "src/base/memory.h"

enum { TOKEN_CHUNK_BYTES = 1 << 20, DOCUMENT_CHUNK_BYTES = 1 << 16 };

/* A dataset that grows. Values gather until they fill a chunk, so that each chunk is compressed once. */
typedef struct Column {
    hid_t dataset;           /* -1 when there is none */
    hid_t memory_type, type; /* as they gather, as they are stored */
    hsize_t written;
    size_t gathered_bytes; /* of a value of memory_type */
    size_t chunk;          /* values of a chunk */
    void *gathered;        /* (chunk) */
    size_t gathered_count;
    XXH3_state_t *digest; /* of the values as they are stored */
} Column;

struct TokenWriter {
    char *path, *temporary;
    int64_t vocab_size;
    hid_t file; /* -1 when closed */
    Column tokens, documents;
    bool document_begins; /* with the next token */
    TokenWriter *next;    /* of the unfinished ones */
};

/* All that is to be removed when the disk fails. */
static TokenWriter *unfinished;

/* HDF5 cannot let go of a file that it failed to write, and crashes when it is shut down; so this ends the job. */
static _Noreturn void die_of_disk(const TokenWriter *writer)
{
    const char *cause = errno ? strerror(errno) : "the disk may be full";
    for (const TokenWriter *one = unfinished; one; one = one->next) unlink(one->temporary);
    die_at(__FILE__, __LINE__, "cannot write '%s': %s. Free some space or choose another disk", writer->path, cause);
}

/* ---- columns ---- */

static Column create_column(hid_t file, const char *name, hid_t memory_type, hid_t type, size_t chunk_bytes)
{
    Column column = {.memory_type = memory_type, .type = type, .chunk = chunk_bytes / H5Tget_size(type)};
    hid_t properties = CHECK_H5(H5Pcreate(H5P_DATASET_CREATE));
    CHECK_H5(H5Pset_obj_track_times(properties, false)); /* the same tokens are the same bytes */
    CHECK_H5(H5Pset_chunk(properties, 1, &(hsize_t){column.chunk}));
    CHECK_H5(H5Pset_shuffle(properties));
    CHECK_H5(H5Pset_deflate(properties, 1));
    hid_t space = CHECK_H5(H5Screate_simple(1, &(hsize_t){0}, &(hsize_t){H5S_UNLIMITED}));
    column.dataset = CHECK_H5(H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Pclose(properties));
    column.gathered_bytes = H5Tget_size(memory_type);
    column.gathered = checked_calloc(column.chunk, column.gathered_bytes);
    column.digest = XXH3_createState();
    CHECK(column.digest && XXH3_64bits_reset(column.digest) == XXH_OK, "cannot allocate the state of a digest");
    return column;
}

static void write_gathered(TokenWriter *writer, Column *column)
{
    hsize_t count = column->gathered_count, first = column->written, total = first + count;
    if (count == 0) return;
    errno = 0;
    if (H5Dset_extent(column->dataset, &total) < 0) die_of_disk(writer);
    hid_t space = CHECK_H5(H5Dget_space(column->dataset)), memory = CHECK_H5(H5Screate_simple(1, &count, NULL));
    CHECK_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &count, NULL));
    /* turned into the type of the file here, in place, because the digest is of what is stored */
    CHECK_H5(H5Tconvert(column->memory_type, column->type, count, column->gathered, NULL, H5P_DEFAULT));
    XXH3_64bits_update(column->digest, column->gathered, count * H5Tget_size(column->type));
    if (H5Dwrite(column->dataset, column->type, memory, space, H5P_DEFAULT, column->gathered) < 0) die_of_disk(writer);
    CHECK_H5(H5Sclose(memory));
    CHECK_H5(H5Sclose(space));
    column->written = total;
    column->gathered_count = 0;
}

static void append_value(TokenWriter *writer, Column *column, const void *value)
{
    memcpy((char *)column->gathered + column->gathered_count++ * column->gathered_bytes, value, column->gathered_bytes);
    if (column->gathered_count == column->chunk) write_gathered(writer, column);
}

static void finish_column(TokenWriter *writer, Column *column)
{
    if (column->dataset < 0) return;
    write_gathered(writer, column);
    h5_write_digest(column->dataset, XXH3_64bits_digest(column->digest));
}

static void close_column(TokenWriter *writer, Column *column)
{
    if (column->dataset >= 0 && H5Dclose(column->dataset) < 0) die_of_disk(writer);
    column->dataset = -1;
}

static void free_column(Column *column)
{
    free(column->gathered);
    XXH3_freeState(column->digest);
}

/* ---- the file ---- */

static int bytes_of_token(int64_t vocab_size) { return vocab_size <= 256 ? 1 : vocab_size <= 65536 ? 2 : 4; }

/* Numbers of as many bytes as the vocabulary needs. */
static hid_t type_of_token(int64_t vocab_size)
{
    int bytes = bytes_of_token(vocab_size);
    return bytes == 1 ? H5T_STD_U8LE : bytes == 2 ? H5T_STD_U16LE : H5T_STD_U32LE;
}

/* Twice: for other programs as one row of variable-length bytes, and for this one as plain numbers with digests. */
static void write_pieces(TokenWriter *writer, const Tokenizer *tokenizer)
{
    size_t count = (size_t)tokenizer->vocab_size;
    hvl_t *pieces = checked_calloc(count, sizeof *pieces);
    for (size_t i = 0; i < count; i++) pieces[i].p = (void *)tokenizer_piece(tokenizer, (int64_t)i, &pieces[i].len);
    hid_t type = CHECK_H5(H5Tvlen_create(H5T_NATIVE_UINT8));
    hid_t dataset = h5_create_dataset(writer->file, "pieces", type, 1, &(hsize_t){count});
    if (H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, pieces) < 0) die_of_disk(writer);
    CHECK_H5(H5Tclose(type));
    CHECK_H5(H5Dclose(dataset));
    free(pieces);
    hid_t group = h5_create_group(writer->file, "tokenizer");
    if (!piece_store_write(group, tokenizer)) die_of_disk(writer);
    CHECK_H5(H5Gclose(group));
}

TokenWriter *token_file_create(const char *path, const Tokenizer *tokenizer, size_t expected, Message *problem)
{
    const uint64_t descriptions = 1 << 16;
    const size_t longest = DISK_PATH_SIZE - 200; /* names that are made of it are longer */
    char temporary[DISK_PATH_SIZE];
    hid_t file;
    if (strlen(path) > longest) {
        fail(problem, "the name of the file '%.80s...' is too long", path);
        return NULL;
    }
    disk_temporary_of(path, temporary);
    uint64_t room = expected * (uint64_t)bytes_of_token(tokenizer->vocab_size) + descriptions;
    if (!disk_has_room(path, room, problem) || !h5_create(temporary, &file, problem)) return NULL;
    TokenWriter *writer = checked_calloc(1, sizeof *writer);
    *writer = (TokenWriter){.path = strdup(path), .temporary = strdup(temporary), .vocab_size = tokenizer->vocab_size};
    writer->file = file;
    writer->documents.dataset = -1;
    writer->next = unfinished;
    unfinished = writer;
    h5_write_text(file, "format", FORMAT_TOKENS);
    h5_write_integer(file, "format_version", FORMAT_VERSION);
    h5_write_text(file, "tokenizer", tokenizer->name);
    h5_write_integer(file, "vocab_size", tokenizer->vocab_size);
    writer->tokens =
        create_column(file, "tokens", H5T_NATIVE_UINT32, type_of_token(writer->vocab_size), TOKEN_CHUNK_BYTES);
    if (tokenizer_has_pieces(tokenizer)) write_pieces(writer, tokenizer);
    return writer;
}

static size_t token_count(const TokenWriter *writer)
{
    return (size_t)writer->tokens.written + writer->tokens.gathered_count;
}

void token_file_begin_document(TokenWriter *writer)
{
    if (writer->documents.dataset < 0)
        writer->documents =
            create_column(writer->file, "documents", H5T_NATIVE_UINT64, H5T_STD_U64LE, DOCUMENT_CHUNK_BYTES);
    writer->document_begins = true;
}

bool token_file_append(TokenWriter *writer, const int32_t *ids, size_t count, Message *problem)
{
    if (count > 0 && writer->document_begins) {
        append_value(writer, &writer->documents, &(uint64_t){token_count(writer)});
        writer->document_begins = false;
    }
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= writer->vocab_size)
            return fail(problem, "token %zu is %d, but the vocabulary has %lld. Check the table of pieces",
                        token_count(writer), (int)ids[i], (long long)writer->vocab_size);
        append_value(writer, &writer->tokens, &(uint32_t){(uint32_t)ids[i]});
    }
    return true;
}

static void close_file(TokenWriter *writer)
{
    if (writer->file < 0) return;
    errno = 0;
    close_column(writer, &writer->tokens);
    close_column(writer, &writer->documents);
    if (H5Fclose(writer->file) < 0) die_of_disk(writer);
    writer->file = -1;
}

static bool bring_to_disk(TokenWriter *writer, Message *problem)
{
    finish_column(writer, &writer->tokens);
    finish_column(writer, &writer->documents);
    close_file(writer);
    return disk_sync(writer->temporary, problem);
}

bool token_file_finish(TokenWriter *const *writers, int count, const char *obsolete, Message *problem)
{
    int names = count + (obsolete != NULL);
    const char **temporaries = checked_calloc((size_t)names, sizeof *temporaries),
               **paths = checked_calloc((size_t)names, sizeof *paths);
    bool good = true;
    if (obsolete) paths[count] = obsolete;
    for (int i = 0; i < count && good; i++) {
        temporaries[i] = writers[i]->temporary;
        paths[i] = writers[i]->path;
        good = bring_to_disk(writers[i], problem);
    }
    good = good && disk_rename_all(temporaries, paths, names, problem);
    for (int i = 0; i < names && good; i++) token_verdict_remove(paths[i]);
    for (int i = 0; i < count; i++)
        token_file_abandon(writers[i]); /* after the renaming there is nothing left to remove */
    free(temporaries);
    free(paths);
    return good;
}

void token_file_abandon(TokenWriter *writer)
{
    if (!writer) return;
    close_file(writer);
    unlink(writer->temporary);
    TokenWriter **link = &unfinished;
    while (*link != writer) link = &(*link)->next;
    *link = writer->next;
    free_column(&writer->tokens);
    free_column(&writer->documents);
    free(writer->path);
    free(writer->temporary);
    free(writer);
}
