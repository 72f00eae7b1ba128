/* What a program says of its commands: help that is wrapped and loses no word, manual pages in which roff takes nothing of the
   text for its own, and the words of the completion. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/command.h"
#include "tests/harness/check.h"
#include "tests/harness/suite.h"

typedef struct Values {
    int64_t size;
    bool loud;
    int colour;
} Values;

static const OptionRow own_rows[] = {
    {"", "size", OPTION_INTEGER, offsetof(Values, size), "3", 1, 9, "", false, "how 'large' it is; \\n counts, ~ too"},
    {"", "loud", OPTION_BOOL, offsetof(Values, loud), "false", 0, 0, "", false, ".not a request"},
};
static const OptionRow configuration_rows[] = {
    {"paint", "colour", OPTION_CHOICE, offsetof(Values, colour), "red", 0, 0, "red|dark-blue", false, "of all"},
    {"paint", "name", OPTION_TEXT, 0, "", 0, 0, "", false, "a file"},
};

static int run_nothing(int argc, char **argv)
{
    (void)argv;
    return argc;
}

#define LONG_WORDS "one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
static const CommandHelp mix_help = {
    .usage = "paint mix FILE\npaint mix - [options]",
    .text = LONG_WORDS LONG_WORDS "end.\n'Second' paragraph.",
    .example = "paint mix --size=4",
    .operands = "wet|dry",
    .rows = own_rows,
    .row_count = 2,
    .configuration = CONFIGURATION_LISTED,
};
static const CommandHelp look_help = {.usage = "paint look", .text = "Looks.", .example = "paint look"};
static const Command commands[] = {
    {"mix", "mixes", run_nothing, &mix_help},
    {"look", "looks", run_nothing, &look_help},
};

static OptionTable configuration(void) { return (OptionTable){configuration_rows, 2, NULL}; }

static const Program program = {
    .name = "paint",
    .summary = "paints",
    .usage = "paint COMMAND",
    .text = "Text.",
    .exit_codes = "0: done.",
    .commands = commands,
    .command_count = 2,
    .configuration = configuration,
};

/* What is printed, which the caller frees. `command` NULL: the program. */
static char *printed(void (*print)(const Program *, const Command *, FILE *), const Command *command)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    print(&program, command, file);
    fclose(file);
    return text;
}

static void print_help(const Program *whole, const Command *command, FILE *file)
{
    if (command)
        command_print_help(whole, command, file);
    else
        program_print_help(whole, file);
}

static void print_completion(const Program *whole, const Command *command, FILE *file)
{
    (void)command;
    program_print_completion(whole, file);
}

static void expect(const char *text, const char *words)
{
    check_true(strstr(text, words) != NULL, "'%s' stands in: %s", words, text);
}

static void test_find(void)
{
    check_true(command_find(&program, "look") == &commands[1], "look is found");
    check_true(!command_find(&program, "loo"), "loo is not found");
}

static void test_help(void)
{
    char *help = printed(print_help, &commands[0]), *all = printed(print_help, NULL);
    expect(help, "Usage: paint mix FILE\n       paint mix - [options]\n\none two three");
    expect(help, "\n'Second' paragraph.\n\n");
    expect(help, "  --paint.colour                     of all (red|dark-blue; default red)\n");
    expect(help, "print this\n\n  --paint.colour");
    expect(help, "Example:\n  paint mix --size=4\n");
    expect(all, "\n  mix        mixes\n  look       looks\n");
    size_t longest = 0, words = 0;
    for (const char *place = help, *line; next_line(&place, &line, &(int){0});)
        if (strcspn(line, "\n") > longest) longest = strcspn(line, "\n");
    for (const char *place = help; (place = strstr(place, "thirteen")); place++) words++;
    check_true(longest <= 110 && words == 2, "lines of %zu columns, %zu of 2 words", longest, words);
    free(help);
    free(all);
}

/* A line that begins with a dot or an apostrophe is a request; a backslash begins an escape. */
static void check_roff(const char *page)
{
    static const char *const requests[] = {".TH ", ".SH ", ".SS ", ".TP", ".BI ",
                                           ".BR ", ".PP",  ".nf",  ".fi", ".\\\" "};
    static const char escapes[] = "e-&("; /* and the comment of the first line */
    const char *place = strchr(page, '\n'), *line;
    int length;
    for (place++; next_line(&place, &line, &length);) {
        bool request = false;
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
            request = request || strncmp(line, requests[i], strlen(requests[i])) == 0;
        check_true(request || (line[0] != '.' && line[0] != '\''), "no request of ours: %.*s", length, line);
        for (const char *c = line; c < line + length; c++) {
            if (*c == '\\') check_true(strchr(escapes, *++c) != NULL, "no escape of ours: %.*s", length, line);
        }
    }
}

static void test_manual(void)
{
    char *page = printed(command_print_manual, &commands[0]), *all = printed(command_print_manual, NULL);
    check_roff(page);
    check_roff(all);
    expect(page, ".TH \"PAINT-MIX\" 1 ");
    expect(page, ".SH NAME\npaint\\-mix \\- mixes\n");
    expect(page, ".BI \\-\\-size= N\nhow \\(aqlarge\\(aq it is; \\en counts, \\(ti too (default 3)\n");
    expect(page, ".BI \\-\\-loud\n\\&.not a request (default false)\n");
    expect(page, ".SS [paint]\n.TP\n.BI \\-\\-paint.colour= WORD\nof all (red|dark\\-blue; default red)\n");
    expect(page, "end.\n.PP\n\\(aqSecond\\(aq paragraph.\n");
    expect(all, ".BR paint\\-look (1)\nlooks\n");
    free(page);
    free(all);
}

static void test_completion(void)
{
    char *script = printed(print_completion, NULL);
    expect(script, "local commands='mix look'\n");
    expect(script, "local configuration=' --paint.colour= --paint.name='\n");
    expect(
        script,
        "        mix)\n            options=\"--help --size= --loud $configuration\"\n            operands='wet dry'\n");
    expect(script, "        look)\n            options=\"--help\"\n            ;;\n");
    expect(script, "        mix:--size) return ;;\n        mix:--loud) words='true false' ;;\n");
    expect(script, "        *:--paint.colour) words='red dark-blue' ;;\n");
    check_true(!strstr(script, "*:--paint.name)"), "a text has no words: %s", script);
    free(script);
}

static const TestCase tests[] = {
    {"commands are found by their names", test_find},
    {"help", test_help},
    {"manual pages", test_manual},
    {"completion", test_completion},
};
static const Suite suites[] = {SUITE("commands", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_command", suites, 1);
    world_stop();
    return code;
}
