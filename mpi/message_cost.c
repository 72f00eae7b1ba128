#include "mpi/message_cost.h"

#include <math.h>

#include "mpi/param_store_replicated.h"
#include "mpi/pipelined_chain.h"
#include "src/base/real.h"

static double transfer(const Network *network, double numbers)
{
    return numbers * sizeof(real) / network->bytes_per_second;
}

/* The first packet passes all ranks, the others follow it. */
double chain_scan_seconds(const Network *network, int ranks, size_t numbers)
{
    if (ranks == 1 || numbers == 0) return 0;
    double all = (double)numbers, first = fmin(all, CHAIN_PACKET);
    return (ranks - 1) * (network->latency + transfer(network, first)) + transfer(network, all - first);
}

double whole_scan_seconds(const Network *network, int ranks, size_t numbers)
{
    if (numbers == 0) return 0;
    return (ranks - 1) * (network->latency + transfer(network, (double)numbers));
}

double shift_seconds(const Network *network, double messages, double numbers)
{
    return messages * network->latency + transfer(network, numbers);
}

static double pieces(size_t numbers) { return ceil((double)numbers / GRADIENT_PIECE); }

/* All but a rank's own share goes out once to be added, and comes in once when it is. */
static double shares_to_and_fro(const Network *network, int ranks, size_t numbers)
{
    return 2 * transfer(network, (double)numbers * (ranks - 1) / ranks);
}

double halving_sum_seconds(const Network *network, int ranks, size_t numbers)
{
    double messages = 2 * ceil(log2(ranks)) * pieces(numbers);
    return messages * network->latency + shares_to_and_fro(network, ranks, numbers);
}

double ring_sum_seconds(const Network *network, int ranks, size_t numbers)
{
    double messages = 2.0 * (ranks - 1) * pieces(numbers);
    return messages * network->latency + shares_to_and_fro(network, ranks, numbers);
}

double tree_sum_seconds(const Network *network, int ranks, size_t numbers)
{
    double levels = ceil(log2(ranks));
    return 2 * levels * (pieces(numbers) * network->latency + transfer(network, (double)numbers));
}

double keeper_seconds(const Network *network, int ranks, size_t rounds, size_t longest)
{
    return (ranks - 1) * ((double)rounds * network->latency + transfer(network, (double)longest));
}
