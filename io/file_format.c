#include "io/file_format.h"

#include <stdio.h>

#include "io/h5.h"

bool file_format_read(const char *path, char format[64], int64_t *version, Message *problem)
{
    hid_t file;
    if (!h5_open_readonly(path, &file, problem)) return false;
    bool known = h5_read_text(file, "format", format, 64) && h5_read_integer(file, "format_version", version);
    CHECK_H5(H5Fclose(file));
    return known || fail(problem,
                         "'%s' is an HDF5 file, but not one of polysketch: it has no attributes format and "
                         "format_version. Try: h5ls -r %s",
                         path, path);
}

void file_format_library(char text[64])
{
    unsigned major, minor, release;
    CHECK_H5(H5get_libversion(&major, &minor, &release));
    snprintf(text, 64, "%u.%u.%u", major, minor, release);
}
