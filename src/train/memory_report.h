/* How much memory a rank of a job needs, by kind; the same figures before a run and in `polysketch plan`. */
#ifndef POLYSKETCH_TRAIN_MEMORY_REPORT_H
#define POLYSKETCH_TRAIN_MEMORY_REPORT_H

#include "src/model/model.h"

/* Bytes per rank. */
typedef struct MemoryReport {
    double parameters, gradients, moments; /* copies on every rank */
    double activations, scratch;           /* of the training pass, which evaluation uses too */
    double total;
} MemoryReport;

/* For the rank with the most tokens. */
MemoryReport memory_report(const Model *model, int sequence_ranks);

/* A line per kind to the log. */
void memory_report_print(const MemoryReport *report);

#endif
