#include "src/attention/shares.h"

#include <math.h>

TokenRange shares_rows(const ShareWatch *watch, size_t s, TokenRange held)
{
    if (!watch->rows) return (TokenRange){0};
    TokenRange rows = watch->rows[s];
    size_t first = rows.first > held.first ? rows.first : held.first;
    size_t end = rows.first + rows.count, held_end = held.first + held.count;
    if (end > held_end) end = held_end;
    return end > first ? (TokenRange){first - held.first, end - first} : (TokenRange){0};
}

void shares_add(HeadShares *sum, const HeadShares *more)
{
    sum->exact += more->exact;
    sum->sketched += more->sketched;
    sum->gates += more->gates;
    sum->rows += more->rows;
}

void distances_add(HeadDistances *sum, const HeadDistances *more)
{
    sum->tokens += more->tokens;
    sum->distance += more->distance;
    sum->uniform += more->uniform;
    sum->queries += more->queries;
    for (int i = 0; i < DISTANCE_MAX_BUCKETS; i++) sum->buckets[i] += more->buckets[i];
}

/* The exact part is what a sketch leaves of the weights, so rounding may take it below 0. */
double shares_exact(const HeadShares *head) { return head->rows > 0 ? fmax(head->exact / head->rows, 0) : NAN; }

double shares_sketched(const HeadShares *head) { return head->rows > 0 ? head->sketched / head->rows : NAN; }

double shares_gate_length(const HeadShares *head) { return head->gates < 0 ? -head->rows / head->gates : NAN; }
