/* How much memory a rank of a job needs, by kind; the same figures before a run and in `polysketch plan`. */
#ifndef POLYSKETCH_TRAIN_MEMORY_REPORT_H
#define POLYSKETCH_TRAIN_MEMORY_REPORT_H

#include "src/base/facts.h"
#include "src/model/pass.h"
#include "src/train/optimizer.h"

enum { MEMORY_ROWS = 12 };

/* Bytes per rank. */
typedef struct MemoryReport {
    struct {
        char name[32]; /* "parameters", "optimizer: momentum", ... */
        double bytes;
    } rows[MEMORY_ROWS];
    int count;
    double total;
} MemoryReport;

/* Of a training run, for the rank with the most tokens. */
MemoryReport memory_report(const Model *model, const PassSpec *pass, const OptimizerSpec *optimizer,
                           int sequence_ranks);

/* A line per kind; in JSON an object "memory_per_rank" of bytes. */
void memory_report_say(const MemoryReport *report, Facts *facts);

#endif
