#include "src/programs/kept_tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "src/base/memory.h"

enum { BUFFER = 1 << 16 };

static int open_nameless(const char *folder, Message *problem)
{
    char wanted[DISK_PATH_SIZE], path[DISK_PATH_SIZE];
    snprintf(wanted, sizeof wanted, "%.900s/ids", folder);
    disk_temporary_of(wanted, path);
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0)
        fail(problem, "cannot make a file in '%s': %s. Choose another folder with --output", folder, strerror(errno));
    else
        unlink(path);
    return descriptor;
}

bool kept_tokens_begin(KeptTokens *kept, Corpus *corpus, const char *name, const char *folder, Message *problem)
{
    int descriptor = open_nameless(folder, problem);
    if (descriptor < 0) return false;
    *kept = (KeptTokens){.corpus = corpus, .folder = folder};
    kept->source =
        corpus_add_source(corpus, (Source){.path = strdup(name), .descriptor = descriptor, .form = {.bytes = 4}});
    kept->gathered = checked_calloc(BUFFER, 1);
    return true;
}

static bool write_gathered(KeptTokens *kept, Message *problem)
{
    const Source *source = &kept->corpus->sources[kept->source];
    uint64_t place = (uint64_t)kept->count * sizeof(int32_t) - kept->gathered_bytes;
    bool good = disk_write_at(source->descriptor, kept->gathered, kept->gathered_bytes, place);
    kept->gathered_bytes = 0;
    return good ||
           fail(problem,
                "cannot keep the token numbers in '%s', 4 bytes each: %s. Free some space or choose another disk",
                kept->folder, strerror(errno));
}

bool kept_tokens_add(KeptTokens *kept, const int32_t *tokens, size_t count, Message *problem)
{
    for (size_t i = 0; i < count; i++) {
        for (int byte = 0; byte < 4; byte++)
            kept->gathered[kept->gathered_bytes++] = (uint8_t)((uint32_t)tokens[i] >> 8 * byte);
        kept->count++;
        if (kept->gathered_bytes == BUFFER && !write_gathered(kept, problem)) return false;
    }
    return true;
}

void kept_tokens_end_document(KeptTokens *kept, int64_t last)
{
    corpus_add_document(kept->corpus, kept->source, kept->document, kept->count - kept->document, last);
    kept->document = kept->count;
}

bool kept_tokens_finish(KeptTokens *kept, Message *problem)
{
    bool good = write_gathered(kept, problem);
    free(kept->gathered);
    kept->gathered = NULL;
    return good;
}
