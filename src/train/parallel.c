#include "src/train/parallel.h"

#include <stddef.h>

#include "src/core/param_store.h"

#define AT(field) offsetof(ParallelConfig, field)

const OptionRow *parallel_options(int *count)
{
    static const OptionRow rows[] = {
        {"parallel", "data_ranks", OPTION_INTEGER, AT(data_ranks), "1", 1, 1 << 20, "", false,
         "groups of ranks that hold different sequences; ranks / data_ranks ranks share a sequence"},
        {"parallel", "scan", OPTION_CHOICE, AT(scan), "iexscan", 0, 0, "exscan|iexscan|chain", false,
         "prefix states by MPI_Exscan; by MPI_Iexscan, or a pipelined chain, under way during the local part"},
        {"parallel", "gradient_sums", OPTION_CHOICE, AT(gradient_sums), "auto", 0, 0, "auto|overlapped|last", false,
         "sum the gradients of a layer over the ranks while other layers are computed, or all at the end of a step; "
         "auto = overlapped when the ranks are on several nodes"},
        {"parallel", "shard", OPTION_CHOICE, AT(shard), "none", 0, 0, "none|optimizer|gradients|parameters", false,
         "what ranks keep shares of, not copies: the optimizer's states; gradients too; values too. See polysketch "
         "plan"},
        {"parallel", "node_shared", OPTION_BOOL, AT(node_shared), "false", 0, 0, "", false,
         "keep values of parameters once on each node, in memory that its ranks share (/dev/shm must have room), and "
         "where parallel.shard = none the optimizer's states too, each rank its rows. See polysketch plan"},
    };
    *count = sizeof rows / sizeof *rows;
    return rows;
}

bool parallel_check(const ParallelConfig *parallel, int ranks, Message *problem)
{
    if (ranks % parallel->data_ranks != 0)
        return fail(problem,
                    "%d ranks are not divisible by parallel.data_ranks = %lld. Choose a divisor, or another number of "
                    "ranks",
                    ranks, (long long)parallel->data_ranks);
    if (parallel->node_shared && parallel->shard == SHARD_PARAMETERS)
        return fail(problem,
                    "parallel.node_shared = true shares whole values, but with parallel.shard = parameters each rank "
                    "keeps rows of them alone. Use parallel.shard = gradients, or parallel.node_shared = false");
    return true;
}
