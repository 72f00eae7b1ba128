/* How much memory a rank of a job needs, by kind; the same figures before a run and in `polysketch plan`. */
#ifndef POLYSKETCH_TRAIN_MEMORY_REPORT_H
#define POLYSKETCH_TRAIN_MEMORY_REPORT_H

#include "src/base/facts.h"
#include "src/model/pass.h"
#include "src/train/config.h"

enum { MEMORY_ROWS = 16 };

/* Bytes per rank. */
typedef struct MemoryReport {
    struct {
        char name[32]; /* "parameters", "optimizer: momentum", ... */
        double bytes;
    } rows[MEMORY_ROWS];
    int count;
    double total;
} MemoryReport;

/* Of a training run of `ranks` ranks, for the one with the most tokens and the largest shares of `stage`. Of the configuration
   the optimizer, the grid and the samples count. */
MemoryReport memory_report(const Config *config, const Model *model, const PassSpec *pass, int ranks, ShardStage stage);

/* Bytes of a process whose report has this total, with what it has beside: libraries, messages of MPI, the part of a token file
   that is being read. Measured peaks were 2 to 3 % above the report where it says gigabytes, and some 60 MB where it says next
   to nothing. */
double memory_of_process(double reported);

/* A line per kind; in JSON an object "memory_per_rank" of bytes. */
void memory_report_say(const MemoryReport *report, Facts *facts);

#endif
