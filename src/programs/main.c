/* polysketch: one program, a table of subcommands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/log.h"
#include "src/base/version.h"
#include "src/programs/programs.h"
#include "src/train/stop.h"

typedef struct Subcommand {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} Subcommand;

static const Subcommand subcommands[] = {
    {"prepare", "turn text into token files for training and validation", prepare_main},
    {"train", "train a model, or continue the run of a folder", train_main},
    {"eval", "loss, perplexity and bits per byte of a checkpoint on a token file", eval_main},
    {"generate", "write text with a checkpoint, token by token", generate_main},
    {"score", "log likelihood of continuations, and accuracy of multiple choice", score_main},
    {"inspect", "say what is in a checkpoint, a token file or a metrics file", inspect_main},
    {"plan", "memory, operations and messages of a job before it is submitted", plan_main},
    {"bench", "time attention and whole training steps", bench_main},
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

static void print_usage(void)
{
    printf("polysketch %s: trains PolySketchFormer language models on clusters of CPUs\n\n"
           "Usage: polysketch SUBCOMMAND ...\n"
           "       mpirun -n RANKS polysketch train FILE.ini --section.key=value ...\n\n",
           source_version());
    for (int i = 0; i < SUBCOMMANDS; i++) printf("  %-10s %s\n", subcommands[i].name, subcommands[i].summary);
    printf("\npolysketch SUBCOMMAND --help (or -h) lists the options of a subcommand.\n");
}

static const Subcommand *find_subcommand(const char *name)
{
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (strcmp(name, subcommands[i].name) == 0) return &subcommands[i];
    return NULL;
}

static bool asks_for_help(const char *word)
{
    return !strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help");
}

static int run_for_help(const Subcommand *subcommand)
{
    char help[] = "--help", *alone[] = {help, NULL};
    return subcommand->run(1, alone);
}

/* Wherever it is asked for it is given, and nothing else is looked at: `train x.ini -h`, `bench step --help`. */
static int run_subcommand(const Subcommand *subcommand, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (argv[i][0] == '-' && asks_for_help(argv[i])) return run_for_help(subcommand);
    return subcommand->run(argc, argv);
}

static int show_help(const char *about)
{
    const Subcommand *subcommand = find_subcommand(about);
    if (subcommand) return run_for_help(subcommand);
    if (world().rank == 0) print_usage();
    return EXIT_SUCCESS;
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    const Subcommand *subcommand = find_subcommand(name);
    if (subcommand) return run_subcommand(subcommand, argc - 2, argv + 2);
    if (asks_for_help(name)) return show_help(argc > 2 ? argv[2] : "");
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        if (world().rank == 0) printf("polysketch %s\n", source_version());
        return EXIT_SUCCESS;
    }
    Message problem;
    fail(&problem, "unknown subcommand '%s'. polysketch --help lists them", name);
    require_all(false, &problem);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "train") == 0) stop_catch_signals(); /* the start of MPI takes its time */
    world_start(&argc, &argv);
    world_set_threads();
    log_set_speaker(world().rank == 0);
    int code = run(argc, argv);
    if (fflush(stdout) || ferror(stdout)) {
        error_say("standard output cannot be written: is the disk full?");
        code = EXIT_FAILURE;
    }
    world_stop();
    return code;
}
