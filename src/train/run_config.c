#define _GNU_SOURCE
#include "src/train/run_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk.h"
#include "src/base/digest.h"
#include "src/base/log.h"

static const char first_line[] = "; Written by polysketch train, anew at every start unless it was edited; xxh3 of the "
                                 "lines below: ";

/* May what is called `path` be replaced? Its first line, with the digest of all others, says so; or `reason` why not. */
static bool is_own(const char *path, Message *reason)
{
    char digest[DIGEST_TEXT_SIZE];
    size_t length, head = strlen(first_line);
    Message cause;
    if (access(path, F_OK) != 0 && errno == ENOENT) return true;
    char *text = disk_read_all(path, SIZE_MAX, &length, &cause);
    if (!text) return fail(reason, "cannot be read (%.200s)", cause.text);
    char *rest = strlen(text) == length && strncmp(text, first_line, head) == 0 ? strchr(text, '\n') : NULL;
    if (rest) digest_format(digest_bytes(rest + 1, strlen(rest + 1)), digest);
    bool own = rest && rest == text + head + strlen(digest) && strncmp(text + head, digest, strlen(digest)) == 0;
    free(text);
    return own || fail(reason, "was written or edited by hand");
}

static void print_config(FILE *file, const Config *asked, const Config *config)
{
    char *text = NULL, digest[DIGEST_TEXT_SIZE];
    size_t length = 0;
    OptionTable table = config_options((Config *)asked);
    FILE *lines = open_memstream(&text, &length);
    CHECK(lines, "cannot allocate the lines of config.ini");
    option_print_ini(&table, config, lines);
    fclose(lines);
    digest_format(digest_bytes(text, length), digest);
    fprintf(file, "%s%s\n%s", first_line, digest, text);
    free(text);
}

bool run_config_write(const Config *asked, const Config *config, Message *problem)
{
    const char *folder = config->output.folder;
    char path[DISK_PATH_SIZE], used[DISK_PATH_SIZE];
    snprintf(path, sizeof path, "%s/config.ini", folder);
    snprintf(used, sizeof used, "%s/config.used.ini", folder);
    Message reason;
    bool own = is_own(path, &reason);
    if (!own) log_line("'%s' %s and stays as it is; what is used now is in config.used.ini", path, reason.text);
    const char *written = own ? path : used;
    FILE *file = disk_create(written, problem);
    if (!file) return false;
    print_config(file, asked, config);
    return disk_replace(file, written, problem);
}
