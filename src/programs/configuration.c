#include "src/programs/configuration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/disk.h"
#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/memory.h"

enum { MAX_CONFIG_BYTES = 1 << 20 };

/* As rank 0 sees it, which reads. */
static bool is_folder(const char *path)
{
    struct stat status;
    bool folder = world().rank == 0 && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    world_broadcast(&folder, sizeof folder);
    return folder;
}

/* The file as text, which the caller frees; NULL with a message. */
static char *read_text(const char *path, Message *problem)
{
    Message cause;
    size_t length;
    char *text = disk_read_all(path, MAX_CONFIG_BYTES, &length, &cause);
    if (!text) fail(problem, "cannot read the configuration '%s': %.200s. Examples are in configs/", path, cause.text);
    if (!text || strlen(text) == length) return text;
    fail(problem, "'%s' is not a configuration in INI form. Examples are in configs/", path);
    free(text);
    return NULL;
}

/* Rank 0 reads, all ranks parse. */
static void read_file(Config *config, const char *path)
{
    Message problem;
    char *text = world().rank == 0 ? read_text(path, &problem) : NULL;
    require_all(world().rank != 0 || text, &problem);
    size_t length = text ? strlen(text) + 1 : 0;
    world_broadcast(&length, sizeof length);
    if (!text) text = checked_calloc(length, 1);
    world_broadcast(text, length);
    OptionTable table = config_options(config);
    bool ok = option_read_ini(&table, text, path, &problem);
    free(text);
    require_all(ok, &problem);
}

/* A run folder, which may have been moved since its configuration was written. */
static void read_folder(Config *config, const char *folder)
{
    OptionTable table = config_options(config);
    char path[OPTION_TEXT_SIZE + 16];
    Message problem;
    require_all(option_set(&table, 1, "output.folder", folder, &problem), &problem); /* before: it may be too long */
    snprintf(path, sizeof path, "%s/config.ini", folder);
    read_file(config, path);
    require_all(option_set(&table, 1, "output.folder", folder, &problem), &problem);
}

/* With --json standard output is for the document alone, from the first warning on. */
static void clear_standard_output(const OptionTable *own)
{
    const OptionRow *row = option_find(own, "json");
    if (row && *(const bool *)((const char *)own->values + row->offset)) log_use_standard_error();
}

void configuration_read(const OptionTable *own, Config *config, int argc, char **argv)
{
    OptionTable tables[2] = {*own, config_defaults(config)};
    const char *positional = NULL;
    Message problem;
    option_set_defaults(own);
    /* The file comes before the options, but only reading them tells where it is: they are read twice. */
    require_all(option_read_arguments(tables, 2, argc, argv, &positional, 1, &problem), &problem);
    clear_standard_output(own);
    option_say_repeated(tables, 2, argc, argv);
    if (!positional) return;
    option_set_defaults(&tables[1]);
    if (is_folder(positional))
        read_folder(config, positional);
    else
        read_file(config, positional);
    require_all(option_read_arguments(tables, 2, argc, argv, &positional, 1, &problem), &problem);
}

char *read_on_all_ranks(const char *path, const char *what, size_t *length)
{
    Message cause, problem;
    bool first = world().rank == 0;
    char *text = first ? disk_read_all(path, SIZE_MAX, length, &cause) : NULL;
    if (first && !text) fail(&problem, "cannot read %s from '%s': %.200s. Check the name", what, path, cause.text);
    require_all(!first || text, &problem);
    world_broadcast(length, sizeof *length);
    if (!text) text = checked_calloc(*length + 1, 1);
    world_broadcast(text, *length);
    return text;
}

void arguments_read(const OptionTable *own, int argc, char **argv)
{
    Message problem;
    option_set_defaults(own);
    require_all(option_read_arguments(own, 1, argc, argv, NULL, 0, &problem), &problem);
    clear_standard_output(own);
    option_say_repeated(own, 1, argc, argv);
}
