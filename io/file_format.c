#include "io/file_format.h"

#include <stdio.h>
#include <sys/stat.h>

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

bool file_format_may_replace(const char *path, const char *format, Message *problem)
{
    struct stat status;
    hid_t file;
    Message cause;
    if (stat(path, &status)) return true;
    if (!S_ISREG(status.st_mode)) return fail(problem, "'%s' is not a regular file. Choose another name", path);
    if (status.st_size == 0) return true;
    bool same = h5_open_readonly(path, &file, &cause);
    if (same) {
        same = h5_check_format(file, path, format, "Choose another name", &cause);
        CHECK_H5(H5Fclose(file));
    }
    return same || fail(problem, "'%s' is there and is not replaced by a %s file: %.700s", path, format, cause.text);
}
