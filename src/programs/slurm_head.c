#include "src/programs/slurm_head.h"

#include <math.h>

#include "src/base/log.h"
#include "src/base/version.h"
#include "src/train/memory_report.h"

static const double MEBIBYTE = 1 << 20;

static double rank_bytes(const SlurmNeeds *needs) { return memory_of_process(needs->bytes_per_rank); }

static bool place_tasks(const SlurmNeeds *needs, SlurmHead *head, Message *problem)
{
    char rank[32], node[32];
    int64_t fit = needs->cores_per_node / needs->threads;
    if (fit == 0)
        return fail(problem, "%lld threads of a rank do not fit on the %lld cores of a node. Lower --threads",
                    (long long)needs->threads, (long long)needs->cores_per_node);
    if (needs->bytes_per_node > 0) {
        int64_t room = (int64_t)(needs->bytes_per_node / rank_bytes(needs));
        if (room == 0)
            return fail(problem,
                        "a rank needs %s, a node has %s. Use more ranks, or train.recompute = layer, "
                        "train.stretch_length or a smaller train.micro_batch_sequences",
                        log_bytes(rank_bytes(needs), rank), log_bytes(needs->bytes_per_node, node));
        if (room < fit) fit = room;
    }
    head->nodes = (needs->ranks + fit - 1) / fit;
    head->tasks_per_node = (needs->ranks + head->nodes - 1) / head->nodes;
    return true;
}

bool slurm_head_make(const SlurmNeeds *needs, SlurmHead *head, Message *problem)
{
    enum { START_SECONDS = 600 };
    if (!place_tasks(needs, head, problem)) return false;
    head->megabytes_per_node = (int64_t)ceil((double)head->tasks_per_node * rank_bytes(needs) / MEBIBYTE);
    double seconds = 1.2 * needs->seconds + START_SECONDS;
    bool several = seconds > needs->most_seconds;
    head->jobs = several ? (int64_t)ceil(1.2 * needs->seconds / fmax(needs->most_seconds - START_SECONDS, 60)) : 1;
    head->minutes = (int64_t)ceil((several ? needs->most_seconds : seconds) / 60);
    return true;
}

void slurm_head_print(const SlurmNeeds *needs, const SlurmHead *head, const char *basis)
{
    enum { DAY = 24 * 60 };
    char planned[32], asked[32], duration[32];
    log_line("#!/bin/bash");
    log_line("# polysketch %s plan --slurm: %lld ranks of %lld threads", source_version(), (long long)needs->ranks,
             (long long)needs->threads);
    log_line("# memory: %s planned for a rank, %s asked for", log_bytes(needs->bytes_per_rank, planned),
             log_bytes(rank_bytes(needs), asked));
    log_line("# time: about %s for all steps, %s", log_duration(needs->seconds, duration), basis);
    if (head->jobs > 1)
        log_line("# more than one job may take: about %lld, one after the other", (long long)head->jobs);
    log_line("#SBATCH --nodes=%lld", (long long)head->nodes);
    log_line("#SBATCH --ntasks=%lld", (long long)needs->ranks);
    log_line("#SBATCH --ntasks-per-node=%lld", (long long)head->tasks_per_node);
    log_line("#SBATCH --cpus-per-task=%lld", (long long)needs->threads);
    log_line("#SBATCH --mem=%lldM", (long long)head->megabytes_per_node);
    log_line("#SBATCH --time=%lld-%02lld:%02lld:00", (long long)(head->minutes / DAY),
             (long long)(head->minutes % DAY / 60), (long long)(head->minutes % 60));
}
