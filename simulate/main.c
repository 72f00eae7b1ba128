/* Steps of the program's own trainer on simulated ranks: one of messages alone, in which computing takes no time, and one with
   the measured times of a profile. Runs under smpirun (run.sh). Prints a line of CSV, whose columns are those of run.sh. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "mpi/topology.h"
#include "mpi/world.h"
#include "simulate/compute.h"
#include "simulate/messages.h"
#include "src/programs/configuration.h"
#include "src/train/step.h"

typedef struct SimulateOptions {
    char profile[OPTION_TEXT_SIZE];
    double faster, join_nanoseconds;
    int under_way;
} SimulateOptions;

#define AT(field) offsetof(SimulateOptions, field)

static const OptionRow rows[] = {
    {"", "profile", OPTION_TEXT, AT(profile), "", 1, 0, "", false, "of a step on one rank; without, nothing computes"},
    {"", "faster", OPTION_REAL, AT(faster), "1", 1e-3, 1e6, "", false, "assumed: ranks compute so many times faster"},
    {"", "join_nanoseconds", OPTION_REAL, AT(join_nanoseconds), "0", 0, 1e6, "", false,
     "to add a number that came in a message"},
    {"", "under_way", OPTION_CHOICE, AT(under_way), "halving", 0, 0, "halving|tree", false,
     "how sums of gradients under way travel"},
};

/* Of one step; over all ranks. */
typedef struct StepTimes {
    double step, passes;     /* of the slowest rank; passes: without waiting for gradients */
    double least_scan, scan; /* in the calls of sums over the sequence: of the rank with the least, and most */
    double least_gradients, gradients; /* in those of the gradients */
} StepTimes;

static void no_tokens(void *context, uint64_t in_batch, const TokenBatch *part)
{
    (void)context, (void)in_batch, (void)part;
}

/* As `polysketch bench step` makes it, but for the optimizer, which is time alone. */
static StepTimes simulate_step(TrainStep *step, const Topology *topology)
{
    world_barrier();
    double start = MPI_Wtime(), scan = topology_communication_seconds(topology), gradients = step->store->seconds;
    train_step_gradients(step, no_tokens, NULL, 1);
    double agreed[6] = {0}; /* as the trainer decides about a step */
    world_sum_doubles(agreed, 6);
    compute_spend_rest();
    double elapsed = MPI_Wtime() - start;
    scan = topology_communication_seconds(topology) - scan;
    gradients = step->store->seconds - gradients;
    double most[] = {elapsed, elapsed - gradients, -scan, scan, -gradients, gradients};
    world_max_doubles(most, 6);
    return (StepTimes){most[0], most[1], -most[2], most[3], -most[4], most[5]};
}

/* Every rank gets as many blocks as the profile has, however short they are: no message but a window's depends on their
   length. */
static bool finish_configuration(Config *config, const ComputeProfile *profile, Message *problem)
{
    int64_t blocks = profile->tokens > profile->block_length ? profile->tokens / profile->block_length : 1;
    config->model.context_length = blocks * config->block_length * world().size / config->parallel.data_ranks;
    config->train.batch_sequences = config->parallel.data_ranks;
    return config_finish(config, world().size, problem);
}

static bool vocabulary_fits(const ComputeProfile *profile, const Config *config, Message *problem)
{
    return profile->tokens == 0 || profile->vocab_size == config->model.vocab_size ||
           fail(problem,
                "the profile is of a vocabulary of %ld. Give --model.vocab_size=%ld, or make another with "
                "simulate/profile.sh",
                profile->vocab_size, profile->vocab_size);
}

static void print_times(const StepTimes *times, const char *end)
{
    printf("%.6g,%.6g,%.6g,%.6g,%.6g,%.6g%s", times->step, times->passes, times->least_scan, times->scan,
           times->least_gradients, times->gradients, end);
}

int main(int argc, char **argv)
{
    static Config config;
    SimulateOptions options;
    OptionTable own = {rows, sizeof rows / sizeof *rows, &options};
    Message problem;
    ComputeProfile profile = {0};
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* ranks share this process, and each touches little of its memory */
    world_start(&argc, &argv);
    configuration_read(&own, &config, argc - 1, argv + 1);
    bool measured = !options.profile[0] ||
                    compute_read_profile(options.profile, config.model.layers, options.faster, &profile, &problem);
    require_all(measured && vocabulary_fits(&profile, &config, &problem), &problem);
    require_all(finish_configuration(&config, &profile, &problem), &problem);
    compute_set_join_seconds(1e-9 * options.join_nanoseconds);
    messages_set_tree_under_way(options.under_way == 1);

    ModelSpec spec = config_model_spec(&config);
    Model *model = model_create(&spec);
    Topology topology = topology_create((int)config.parallel.data_ranks, (ScanKind)config.parallel.scan);
    TrainStep *step = train_step_create(&config, model, &topology);
    compute_count();
    StepTimes alone = simulate_step(step, &topology), whole = {0};
    compute_spend();
    if (options.profile[0]) whole = simulate_step(step, &topology);
    if (world().rank == 0) {
        printf("%.6g,", profile.seconds);
        print_times(&alone, ",");
        print_times(&whole, "\n");
    }
    train_step_destroy(step);
    topology_destroy(&topology);
    model_destroy(model);
    world_stop();
    return EXIT_SUCCESS;
}
