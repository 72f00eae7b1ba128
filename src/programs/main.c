/* polysketch: one program, a table of subcommands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/log.h"
#include "src/programs/programs.h"
#include "src/tensor/blas.h"
#include "src/train/config.h"
#include "src/train/stop.h"

static const Command subcommands[] = {
    {"prepare", "turn text into token files for training and validation", prepare_main, &prepare_help},
    {"train", "train a model, or continue the run of a folder", train_main, &train_help},
    {"eval", "loss, perplexity and bits per byte of a checkpoint on a token file", eval_main, &eval_help},
    {"generate", "write text with a checkpoint, token by token", generate_main, &generate_help},
    {"score", "log likelihood of continuations, and accuracy of multiple choice", score_main, &score_help},
    {"inspect", "say what is in a checkpoint, a token file or a metrics file", inspect_main, &inspect_help},
    {"export", "weights as safetensors, with the model in PyTorch", export_main, &export_help},
    {"import", "a checkpoint of such weights", import_main, &import_help},
    {"plan", "memory, operations and messages of a job before it is submitted", plan_main, &plan_help},
    {"bench", "time attention and whole training steps", bench_main, &bench_help},
};

static OptionTable configuration(void) { return config_options(NULL); }

static const Program program = {
    .name = "polysketch",
    .summary = "trains PolySketchFormer language models on clusters of CPUs",
    .usage = "polysketch SUBCOMMAND ...\n"
             "mpirun -n RANKS polysketch train FILE.ini --section.key=value ...\n"
             "polysketch --version",
    .text = "polysketch SUBCOMMAND --help (or -h) lists the options of a subcommand.\n"
            "polysketch --man [SUBCOMMAND] prints a manual page, polysketch --completion the completion of bash; make "
            "install puts both in their places.",
    .exit_codes = "0: done.\n"
                  "1: an error, said in one line with its remedy.\n"
                  "85: train was asked to stop, and has saved: the same command goes on.\n"
                  "Others are those of the launcher or the system.",
    .commands = subcommands,
    .command_count = sizeof subcommands / sizeof *subcommands,
    .configuration = configuration,
};

static bool asks_for_help(const char *word)
{
    return !strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help");
}

/* NULL: of the program. */
static int show_help(const Command *command)
{
    if (world().rank == 0 && command)
        command_print_help(&program, command, stdout);
    else if (world().rank == 0)
        program_print_help(&program, stdout);
    return EXIT_SUCCESS;
}

/* Help is given wherever it is asked for, and nothing else is looked at: `train x.ini -h`, `bench step --help`. */
static int run_subcommand(const Command *command, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (argv[i][0] == '-' && asks_for_help(argv[i])) return show_help(command);
    return command->run(argc, argv);
}

static bool fail_unknown(const char *name, Message *problem)
{
    return fail(problem, "unknown subcommand '%s'. polysketch --help lists them", name);
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    const Command *command = command_find(&program, name);
    if (command) return run_subcommand(command, argc - 2, argv + 2);
    if (asks_for_help(name)) return show_help(command_find(&program, argc > 2 ? argv[2] : ""));
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        if (world().rank == 0) print_version();
        return EXIT_SUCCESS;
    }
    Message problem;
    require_all(fail_unknown(name, &problem), &problem);
    return EXIT_FAILURE;
}

/* What an installation and scripts ask for, where MPI may not start: on a login node, in the making of a package. False: it is
   something else. */
static bool answer_alone(int argc, char **argv, int *code)
{
    const char *question = argc > 1 ? argv[1] : "", *name = argc > 2 ? argv[2] : NULL;
    const Command *command = name ? command_find(&program, name) : NULL;
    Message problem;
    *code = EXIT_SUCCESS;
    if (!strcmp(question, "--completion")) {
        program_print_completion(&program, stdout);
    } else if (!strcmp(question, "--subcommands")) {
        for (int i = 0; i < program.command_count; i++) puts(subcommands[i].name);
    } else if (!strcmp(question, "--man") && name && !command) {
        fail_unknown(name, &problem);
        error_say("%s", problem.text);
        *code = EXIT_FAILURE;
    } else if (!strcmp(question, "--man")) {
        command_print_manual(&program, command, stdout);
    } else {
        return false;
    }
    return true;
}

/* The exit code, unless what was printed is lost. */
static int written(int code)
{
    if (!fflush(stdout) && !ferror(stdout)) return code;
    error_say("standard output cannot be written: is the disk full?");
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    int code;
    if (answer_alone(argc, argv, &code)) return written(code);
    if (argc > 1 && strcmp(argv[1], "train") == 0) stop_catch_signals(); /* the start of MPI takes its time */
    world_start(&argc, &argv);
    blas_set_threads(world_set_threads());
    log_set_speaker(world().rank == 0);
    code = written(run(argc, argv));
    world_stop();
    return code;
}
