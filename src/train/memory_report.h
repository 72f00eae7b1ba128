/* How much memory a rank of a job needs, by kind; the same figures before a run and in `polysketch plan`. */
#ifndef POLYSKETCH_TRAIN_MEMORY_REPORT_H
#define POLYSKETCH_TRAIN_MEMORY_REPORT_H

#include "src/base/facts.h"
#include "src/core/param_store.h"
#include "src/model/pass.h"
#include "src/train/config.h"

enum { MEMORY_ROWS = 16 };

/* Bytes per rank: of what the ranks of a node have together, its part, on the node with the fewest, where parts are largest. */
typedef struct MemoryReport {
    struct {
        char name[32]; /* "parameters", "optimizer: momentum", ... */
        double bytes;
    } rows[MEMORY_ROWS];
    int count;
    double total;
    double node_shared_bytes; /* that the ranks of a node have together (parallel.node_shared); 0: nothing */
    double node_shared_part;  /* of them in `total` */
    int node_ranks;           /* how many they are, on the largest node */
} MemoryReport;

/* Ranks, and how they keep parameters. */
typedef struct MemoryCase {
    int ranks;
    int least, most; /* on the smallest node, and on the largest */
    ShardStage stage;
    bool node_shared;
} MemoryCase;

/* That of a run that is under way here. Collective. */
MemoryCase memory_case_here(const Config *config);

/* Of a training run, for the rank with the most tokens and the largest shares. Of the configuration the optimizer, the grid and
   the samples count. */
MemoryReport memory_report(const Config *config, const Model *model, const PassSpec *pass, const MemoryCase *here);

/* As the system counts a process: with all that it shares. Of nodes that are not equal, of the smallest. */
double memory_report_resident(const MemoryReport *report);

/* Bytes of a process whose report has this total, with what it has beside: libraries, messages of MPI, the part of a token file
   that is being read. Measured peaks were 2 to 9 % above the report where it says gigabytes, and 50 to 60 MB where it says next
   to nothing. */
double memory_of_process(double reported);

/* A line per kind, and one for what a node shares; in JSON an object "memory_per_rank" of bytes, and "node_shared" with "bytes"
   and "ranks". */
void memory_report_say(const MemoryReport *report, Facts *facts);

#endif
