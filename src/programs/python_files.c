#include "src/programs/python_files.h"

#include <string.h>

#include "src/base/error.h"

/* The assembler takes the file in, named as from the root of the repository. The Makefile knows that this file depends on it. */
#define EMBED(name)                                                                                                    \
    __asm__(".pushsection .rodata\n"                                                                                   \
            "python_" #name "_start: .incbin \"huggingface/" #name ".py\"\n"                                           \
            "python_" #name "_end:\n"                                                                                  \
            ".popsection\n");                                                                                          \
    extern const char python_##name##_start[], python_##name##_end[]

EMBED(configuration_polysketch);
EMBED(modeling_polysketch);
EMBED(tokenization_polysketch);
EMBED(tokenization_polysketch_sentencepiece);

#define ROW(name)                                                                                                      \
    {                                                                                                                  \
#name ".py", python_##name##_start, python_##name##_end                                                        \
    }

static const struct {
    const char *name, *start, *end;
} files[] = {ROW(configuration_polysketch), ROW(modeling_polysketch), ROW(tokenization_polysketch),
             ROW(tokenization_polysketch_sentencepiece)};
enum { FILES = sizeof files / sizeof *files };

void python_file_print(FILE *stream, const char *name)
{
    int file = 0;
    while (file < FILES && strcmp(files[file].name, name) != 0) file++;
    CHECK(file < FILES, "internal error: there is no file '%s' in this program", name);
    fwrite(files[file].start, 1, (size_t)(files[file].end - files[file].start), stream);
}
