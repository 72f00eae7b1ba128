/* Configuration text and command lines of any bytes. The first byte chooses: the rest is an INI file, or arguments that
   newlines separate. Whatever is accepted must print as an INI file that reads back as the same values. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/train/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_arguments(const OptionTable *table, char *text)
{
    enum { MOST_ARGUMENTS = 64, MOST_POSITIONAL = 3 };
    char *arguments[MOST_ARGUMENTS];
    const char *positional[MOST_POSITIONAL];
    int count = 0;
    Message problem;
    for (char *word; count < MOST_ARGUMENTS && (word = strsep(&text, "\n"));) arguments[count++] = word;
    return option_read_arguments(table, 1, count, arguments, positional, MOST_POSITIONAL, &problem);
}

static void check_reads_back(const OptionTable *table)
{
    Config again;
    OptionTable other = config_options(&again);
    option_set_defaults(&other);
    char *text = NULL;
    size_t length;
    Message problem;
    FILE *file = open_memstream(&text, &length);
    option_print_ini(table, NULL, file);
    fclose(file);
    CHECK(option_read_ini(&other, text, "printed", &problem), "what was printed is refused: %s", problem.text);
    for (int i = 0; i < table->count; i++)
        CHECK(option_equal(&table->rows[i], table->values, &again), "%s.%s reads back differently in:\n%s",
              table->rows[i].section, table->rows[i].key, text);
    free(text);
}

/* The rules that join options must stand any accepted values. */
static void check_rules(Config *config)
{
    Message problem;
    config_finish(config, 4, &problem);
    OptionTable table = config_options(config);
    check_reads_back(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    Config config;
    OptionTable table = config_options(&config);
    option_set_defaults(&table);
    char *text = checked_calloc(size, 1); /* without the first byte, with a final zero */
    memcpy(text, data + 1, size - 1);
    Message problem;
    bool accepted = data[0] % 2 ? read_arguments(&table, text) : option_read_ini(&table, text, "fuzz.ini", &problem);
    if (accepted) {
        check_reads_back(&table);
        check_rules(&config);
    }
    free(text);
    return 0;
}
