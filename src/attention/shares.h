/* What heads attend with: how much of a row's normaliser are exact pairs, how much the sketch, how much the constant; and how far
   gates let a head look back. Sums that evaluations take (docs/format.md, section 8). */
#ifndef POLYSKETCH_ATTENTION_SHARES_H
#define POLYSKETCH_ATTENTION_SHARES_H

#include <stddef.h>

#include "src/core/sequence_link.h"

/* Sums over rows (tokens as queries) of a head; four doubles, so that ranks can add arrays of them. */
typedef struct HeadShares {
    double exact;    /* shares of pairs whose weights are computed from q' and k', or q and k */
    double sketched; /* shares of weights that are inner products of features; the constant has the rest */
    double gates;    /* g_t */
    double rows;     /* without those that have no weight at all */
} HeadShares;

enum { HEAD_SHARES_NUMBERS = sizeof(HeadShares) / sizeof(double) };

enum { DISTANCE_QUERIES = 4, DISTANCE_MAX_BUCKETS = 32 };

/* The same of how far a head looks back, by its weights (distance.h): sums over rows, and over those queries of a sequence that
   stand for all. Doubles alone. */
typedef struct HeadDistances {
    double tokens;                        /* rows */
    double distance;                      /* their mean distances, in tokens, ... */
    double uniform;                       /* ... and those of equal weights on all they see */
    double queries;                       /* rows of which there is more: */
    double buckets[DISTANCE_MAX_BUCKETS]; /* shares of their weights at distances 0, 1, 2 to 3, 4 to 7, ... */
} HeadDistances;

enum { HEAD_DISTANCES_NUMBERS = sizeof(HeadDistances) / sizeof(double) };

/* Which rows of a pass count, and where. All zero: none do. */
typedef struct ShareWatch {
    const TokenRange *rows; /* (B): positions in each sequence */
    HeadShares *heads;      /* (B, H) of a layer, (layers, B, H) of a pass; added to */
    /* Likewise, in passes that measure them (PassSpec.distances); else NULL. */
    HeadDistances *distances;
    const size_t *queries; /* (B, DISTANCE_QUERIES): positions, or SIZE_MAX for none */
} ShareWatch;

/* Those of sequence s among `held`, the positions that this rank holds; counted from the first it holds. */
TokenRange shares_rows(const ShareWatch *watch, size_t s, TokenRange held);

/* A row of a head: all but `constant` of its normaliser goes to *share, one of the head's. */
static inline void shares_add_row(HeadShares *head, double *share, double constant, double normaliser, double gate)
{
    *share += 1 - constant / normaliser;
    head->gates += gate;
    head->rows++;
}

void shares_add(HeadShares *sum, const HeadShares *more);
void distances_add(HeadDistances *sum, const HeadDistances *more);

/* Means over rows; NaN without rows. */
double shares_exact(const HeadShares *head);
double shares_sketched(const HeadShares *head);
/* Tokens after which a memory has faded to 1/e, -1 / mean(g); NaN without a gate. */
double shares_gate_length(const HeadShares *head);

#endif
