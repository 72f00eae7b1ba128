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
#include "src/base/memory.h"

enum { CHUNK_BYTES = 1 << 20 };

/* Ids gather until they fill a chunk, so that each chunk is compressed once. */
struct TokenWriter {
    char *path, *temporary;
    int64_t vocab_size;
    hid_t file, tokens; /* -1 when closed */
    hsize_t written;
    size_t chunk;       /* ids of a chunk */
    uint32_t *gathered; /* (chunk) */
    size_t gathered_count;
    XXH3_state_t *digest; /* of the ids as they are stored */
};

/* HDF5 cannot let go of a file that it failed to write, and crashes when it is shut down; so this ends the job. */
static _Noreturn void die_of_disk(const TokenWriter *writer)
{
    const char *cause = errno ? strerror(errno) : "the disk may be full";
    unlink(writer->temporary);
    die_at(__FILE__, __LINE__, "cannot write '%s': %s. Free some space or choose another disk", writer->path, cause);
}

static int bytes_of_token(int64_t vocab_size) { return vocab_size <= 256 ? 1 : vocab_size <= 65536 ? 2 : 4; }

static hid_t type_of_token(const TokenWriter *writer)
{
    int bytes = bytes_of_token(writer->vocab_size);
    return bytes == 1 ? H5T_STD_U8LE : bytes == 2 ? H5T_STD_U16LE : H5T_STD_U32LE;
}

/* The ids are numbers of as many bytes as the vocabulary needs, compressed chunk by chunk. */
static void create_tokens(TokenWriter *writer)
{
    hid_t type = type_of_token(writer);
    writer->chunk = CHUNK_BYTES / H5Tget_size(type);
    hid_t properties = CHECK_H5(H5Pcreate(H5P_DATASET_CREATE));
    CHECK_H5(H5Pset_chunk(properties, 1, &(hsize_t){writer->chunk}));
    CHECK_H5(H5Pset_shuffle(properties));
    CHECK_H5(H5Pset_deflate(properties, 1));
    hid_t space = CHECK_H5(H5Screate_simple(1, &(hsize_t){0}, &(hsize_t){H5S_UNLIMITED}));
    writer->tokens = CHECK_H5(H5Dcreate2(writer->file, "tokens", type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    CHECK_H5(H5Sclose(space));
    CHECK_H5(H5Pclose(properties));
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
    char temporary[DISK_PATH_SIZE];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    hid_t file;
    if (length >= (int)sizeof temporary) {
        fail(problem, "the name of the file '%.80s...' is too long", path);
        return NULL;
    }
    uint64_t room = expected * (uint64_t)bytes_of_token(tokenizer->vocab_size) + descriptions;
    if (!disk_has_room(path, room, problem) || !h5_create(temporary, &file, problem)) return NULL;
    TokenWriter *writer = checked_calloc(1, sizeof *writer);
    *writer = (TokenWriter){strdup(path),      strdup(temporary), tokenizer->vocab_size, file, -1, 0, 0, NULL, 0,
                            XXH3_createState()};
    CHECK(writer->digest && XXH3_64bits_reset(writer->digest) == XXH_OK, "cannot allocate the state of a digest");
    h5_write_text(file, "format", FORMAT_TOKENS);
    h5_write_integer(file, "format_version", FORMAT_VERSION);
    h5_write_text(file, "tokenizer", tokenizer->name);
    h5_write_integer(file, "vocab_size", tokenizer->vocab_size);
    create_tokens(writer);
    writer->gathered = checked_calloc(writer->chunk, sizeof *writer->gathered);
    if (tokenizer_has_pieces(tokenizer)) write_pieces(writer, tokenizer);
    return writer;
}

static void write_gathered(TokenWriter *writer)
{
    hsize_t count = writer->gathered_count, first = writer->written, total = first + count;
    if (count == 0) return;
    errno = 0;
    if (H5Dset_extent(writer->tokens, &total) < 0) die_of_disk(writer);
    hid_t space = CHECK_H5(H5Dget_space(writer->tokens)), memory = CHECK_H5(H5Screate_simple(1, &count, NULL));
    CHECK_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &count, NULL));
    hid_t type = type_of_token(writer); /* turned into it here, in place, because the digest is of what is stored */
    CHECK_H5(H5Tconvert(H5T_NATIVE_UINT32, type, count, writer->gathered, NULL, H5P_DEFAULT));
    XXH3_64bits_update(writer->digest, writer->gathered, count * H5Tget_size(type));
    if (H5Dwrite(writer->tokens, type, memory, space, H5P_DEFAULT, writer->gathered) < 0) die_of_disk(writer);
    CHECK_H5(H5Sclose(memory));
    CHECK_H5(H5Sclose(space));
    writer->written = total;
    writer->gathered_count = 0;
}

bool token_file_append(TokenWriter *writer, const int32_t *ids, size_t count, Message *problem)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= writer->vocab_size)
            return fail(problem, "token %llu is %d, but the vocabulary has %lld. Check the table of pieces",
                        (unsigned long long)(writer->written + writer->gathered_count), (int)ids[i],
                        (long long)writer->vocab_size);
        writer->gathered[writer->gathered_count++] = (uint32_t)ids[i];
        if (writer->gathered_count == writer->chunk) write_gathered(writer);
    }
    return true;
}

static void close_file(TokenWriter *writer)
{
    if (writer->file < 0) return;
    errno = 0;
    if (H5Dclose(writer->tokens) < 0 || H5Fclose(writer->file) < 0) die_of_disk(writer);
    writer->tokens = writer->file = -1;
}

static bool bring_to_disk(TokenWriter *writer, Message *problem)
{
    write_gathered(writer);
    h5_write_digest(writer->tokens, XXH3_64bits_digest(writer->digest));
    close_file(writer);
    return disk_sync(writer->temporary, problem);
}

bool token_file_finish(TokenWriter *const *writers, int count, Message *problem)
{
    bool good = true;
    for (int i = 0; i < count && good; i++) good = bring_to_disk(writers[i], problem);
    for (int i = 0; i < count && good; i++) good = disk_rename(writers[i]->temporary, writers[i]->path, problem);
    for (int i = 0; i < count; i++)
        token_file_abandon(writers[i]); /* after the renaming there is nothing left to remove */
    return good;
}

void token_file_abandon(TokenWriter *writer)
{
    if (!writer) return;
    close_file(writer);
    unlink(writer->temporary);
    free(writer->path);
    free(writer->temporary);
    free(writer->gathered);
    XXH3_freeState(writer->digest);
    free(writer);
}
