/* What polysketch bench times: whole steps, attention alone, tokens one by one. */
#ifndef POLYSKETCH_PROGRAMS_BENCH_CASES_H
#define POLYSKETCH_PROGRAMS_BENCH_CASES_H

#include <stdbool.h>
#include <stdint.h>

#include "mpi/topology.h"
#include "src/core/phase.h"
#include "src/programs/bench_timing.h"
#include "src/train/config.h"

struct BenchCase;

/* What `polysketch bench <name>` does. */
typedef struct Benchmark {
    const char *name;
    void (*prepare)(struct BenchCase *);
    void (*run)(void *);
    double (*tokens)(const struct BenchCase *); /* of one run, all ranks */
    double (*flops)(const struct BenchCase *);
    bool trains;
    bool one_layer; /* is all that it needs of the model */
} Benchmark;

/* By name; NULL when there is none. */
const Benchmark *bench_find(const char *name);

typedef struct BenchRow {
    BenchTimes times;
    double microseconds_per_token;
    double communication_fraction;        /* of the rank that spends least in it: it waits for no other */
    double waiting_fraction;              /* what the rank that spends most has more: it waits for slower ones */
    double peak_rss_bytes, planned_bytes; /* planned: whole steps only */
    double phases[PHASE_COUNT];           /* seconds, all runs */
} BenchRow;

/* One row of the table, of a finished configuration. Collective. */
BenchRow bench_measure(const Config *config, const Benchmark *benchmark, const Topology *topology, int64_t warmups,
                       int64_t repeats);

#endif
