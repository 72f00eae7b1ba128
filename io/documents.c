#include "io/documents.h"

#include <stdlib.h>
#include <string.h>

#include "io/h5.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"

static const char remedy[] = "Make the file again, or set train.document_mask = false";

static bool read_starts(TokenFile *file, Documents *documents, Message *problem)
{
    documents->count = file->document_count;
    documents->starts = checked_calloc(documents->count, sizeof *documents->starts);
    return token_file_documents(file, 0, documents->count, documents->starts, problem);
}

/* ---- tokens that end documents ---- */

static void add_start(Documents *documents, size_t *capacity, int64_t start)
{
    documents->starts = checked_grow(documents->starts, documents->count, capacity, sizeof *documents->starts);
    documents->starts[documents->count++] = start;
}

/* The token that ends a document belongs to it. */
static bool find_ends(TokenFile *file, int64_t end, Documents *documents, Message *problem)
{
    const size_t chunk = 1 << 20;
    size_t capacity = 0;
    int32_t *tokens = checked_calloc(chunk, sizeof *tokens);
    bool good = true;
    if (file->count > 0) add_start(documents, &capacity, 0);
    for (size_t first = 0; good && first < file->count; first += chunk) {
        size_t count = file->count - first < chunk ? file->count - first : chunk;
        good = token_file_read(file, first, count, tokens, problem);
        for (size_t i = 0; good && i < count; i++)
            if (tokens[i] == end && first + i + 1 < file->count)
                add_start(documents, &capacity, (int64_t)(first + i + 1));
    }
    free(tokens);
    return good;
}

/* ---- for all ranks ---- */

static bool find_documents(TokenFile *file, Documents *documents, Message *problem)
{
    int64_t end;
    if (file->document_count > 0) return read_starts(file, documents, problem);
    if (!h5_read_integer(file->file, "end_of_document", &end))
        return fail(problem,
                    "'%s' does not say where documents begin: it has neither /documents nor an attribute "
                    "end_of_document. Make it again with polysketch prepare, or set train.document_mask = false",
                    file->path);
    if (end < 0 || end >= file->vocab_size)
        return fail(problem, "'%s': end_of_document = %lld is no token: vocab_size is %lld. %s", file->path,
                    (long long)end, (long long)file->vocab_size, remedy);
    log_line("'%s' has no /documents: all of its tokens are looked at for %lld, which ends documents, at every start",
             file->path, (long long)end);
    return find_ends(file, end, documents, problem);
}

bool documents_read(TokenFile *file, Message *problem)
{
    Documents *documents = checked_calloc(1, sizeof *documents);
    bool found = world().rank > 0 || find_documents(file, documents, problem);
    if (!world_agree(found, problem)) {
        documents_destroy(documents);
        return false;
    }
    world_broadcast(&documents->count, sizeof documents->count);
    if (world().rank > 0) documents->starts = checked_calloc(documents->count, sizeof *documents->starts);
    world_broadcast(documents->starts, documents->count * sizeof *documents->starts);
    documents_destroy(file->documents);
    file->documents = documents;
    return true;
}

void documents_destroy(Documents *documents)
{
    if (!documents) return;
    free(documents->starts);
    free(documents);
}

/* The last document that begins at `place` or before. */
static size_t document_at(const Documents *documents, int64_t place)
{
    size_t low = 0, high = documents->count; /* starts[low] <= place < starts[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (documents->starts[middle] <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void documents_of_range(const Documents *documents, uint64_t sequence_start, TokenRange range, int32_t *starts)
{
    int64_t before = (int64_t)sequence_start, place = before + (int64_t)range.first;
    size_t document = document_at(documents, place);
    for (size_t i = 0; i < range.count; i++, place++) {
        while (document + 1 < documents->count && documents->starts[document + 1] <= place) document++;
        int64_t start = documents->starts[document];
        starts[i] = start > before ? (int32_t)(start - before) : 0;
    }
}
