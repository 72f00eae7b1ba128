#define _GNU_SOURCE
#include "src/train/run_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk.h"
#include "src/base/digest.h"
#include "src/base/log.h"

static const char first_line[] = "; Written by polysketch train, anew at every start unless it was edited; xxh3 of the "
                                 "lines below: ";

/* May what is called `path` be replaced? Its first line, with the digest of all others, says so. */
static bool is_own(const char *path)
{
    char *text = NULL, digest[DIGEST_TEXT_SIZE];
    size_t room = 0, head = strlen(first_line);
    FILE *file = fopen(path, "r");
    if (!file) return errno == ENOENT;
    ssize_t length = getdelim(&text, &room, '\0', file);
    bool whole = length > 0 && fgetc(file) == EOF && strncmp(text, first_line, head) == 0;
    fclose(file);
    char *rest = whole ? strchr(text, '\n') : NULL;
    if (rest) digest_format(digest_bytes(rest + 1, strlen(rest + 1)), digest);
    bool own = rest && rest == text + head + strlen(digest) && strncmp(text + head, digest, strlen(digest)) == 0;
    free(text);
    return own;
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
    char path[DISK_PATH_SIZE], used[DISK_PATH_SIZE], temporary[DISK_PATH_SIZE];
    snprintf(path, sizeof path, "%s/config.ini", folder);
    snprintf(used, sizeof used, "%s/config.used.ini", folder);
    bool own = is_own(path);
    if (!own)
        log_line("'%s' was written or edited by hand and stays as it is; what is used now is in config.used.ini", path);
    const char *written = own ? path : used;
    disk_temporary_of(written, temporary);
    FILE *file = fopen(temporary, "w");
    if (!file)
        return fail(problem, "cannot write '%s': %s. Choose a writable output.folder", temporary, strerror(errno));
    print_config(file, asked, config);
    return disk_replace(file, temporary, written, problem);
}
