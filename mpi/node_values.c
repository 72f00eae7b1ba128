#include "mpi/node_values.h"

#include <stdlib.h>
#include <string.h>

#include "mpi/node_memory.h"
#include "mpi/real_type.h"
#include "mpi/shard_exchange.h"
#include "src/base/memory.h"

/* One rank of every node: number `place` of those that have so many, of smaller ones another, which only receives. */
typedef struct Rail {
    int place;
    MPI_Comm comm;
    BlockCounts *groups; /* (params->groups): what each member sends; NULL: nothing */
} Rail;

struct NodeValues {
    const ParamShards *shards;
    const Node *node;
    bool exchanged; /* rows are divided among all ranks, on several nodes */
    NodeMemory *memory;
    real *numbers; /* (trained_count), in the plain layout */
    Rail *rails;   /* (rail_count), by their places; none on a single node */
    int rail_count;
};

/* ---- rails ---- */

static void count_blocks(const NodeValues *values, Rail *rail)
{
    int members, keeper = rail->place == values->node->rank ? world().rank : -1;
    CHECK_MPI(MPI_Comm_size(rail->comm, &members));
    int *keepers = checked_calloc((size_t)members, sizeof *keepers);
    CHECK_MPI(MPI_Allgather(&keeper, 1, MPI_INT, keepers, 1, MPI_INT, rail->comm));
    rail->groups = checked_calloc((size_t)values->shards->params->groups, sizeof *rail->groups);
    for (int group = 0; group < values->shards->params->groups; group++)
        rail->groups[group] = block_counts_create(values->shards, group, keepers, members);
    free(keepers);
}

/* Of as many neighbouring places as the smallest node has ranks, each rank is on one rail at most. Tensors from files need the
   first rail alone. */
static void make_rails(NodeValues *values)
{
    const Node *node = values->node;
    int places = values->exchanged ? node->all.most : node->all.least;
    values->rails = checked_calloc((size_t)places, sizeof *values->rails);
    for (int first = 0; first < places; first += node->all.least) {
        int place = first + ((node->rank - first) % node->size + node->size) % node->size;
        bool on_it = place < first + node->all.least && place < node->all.most;
        MPI_Comm comm;
        CHECK_MPI(MPI_Comm_split(MPI_COMM_WORLD, on_it ? place : MPI_UNDEFINED, world().rank, &comm));
        if (on_it) values->rails[values->rail_count++] = (Rail){.place = place, .comm = comm};
    }
    for (int i = 0; i < values->rail_count && values->exchanged; i++) count_blocks(values, &values->rails[i]);
}

static void exchange(NodeValues *values, const Rail *rail)
{
    for (int group = 0; group < values->shards->params->groups; group++) {
        const GroupShards *row = &values->shards->groups[group];
        if (row->block_count == 0) continue;
        CHECK_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values->numbers + row->first,
                                 rail->groups[group].counts, rail->groups[group].places, MPI_REAL_TYPE, rail->comm));
    }
}

/* ---- values ---- */

static size_t value_bytes(const ParamTable *params) { return params->trained_count * sizeof(real); }

void node_values_require(const ParamTable *params, const Node *node) { node_memory_require(node, value_bytes(params)); }

NodeValues *node_values_create(const ParamShards *shards, const Node *node)
{
    NodeValues *values = checked_calloc(1, sizeof *values);
    *values = (NodeValues){
        .shards = shards,
        .node = node,
        .exchanged = node->all.count > 1 && shards->ranks == world().size,
        .memory = node_memory_create(node, value_bytes(shards->params)),
    };
    values->numbers = node_memory_start(values->memory);
    if (node->all.count > 1) make_rails(values);
    return values;
}

void node_values_destroy(NodeValues *values)
{
    if (!values) return;
    for (int i = 0; i < values->rail_count; i++) {
        Rail *rail = &values->rails[i];
        for (int group = 0; group < values->shards->params->groups && rail->groups; group++)
            block_counts_destroy(&rail->groups[group]);
        free(rail->groups);
        CHECK_MPI(MPI_Comm_free(&rail->comm));
    }
    node_memory_destroy(values->memory);
    free(values->rails);
    free(values);
}

real *node_values_whole(const NodeValues *values, const Param *param)
{
    return values->numbers + values->shards->groups[param->group].first + param_shards_in_group(values->shards, param);
}

void node_values_begin_change(NodeValues *values) { node_memory_meet(values->memory); }

void node_values_spread(NodeValues *values)
{
    for (int i = 0; i < values->rail_count && values->exchanged; i++) exchange(values, &values->rails[i]);
    node_memory_meet(values->memory);
}

/* The first ranks of the nodes, which are the first rail, write it. */
void node_values_place(NodeValues *values, const Param *param, const real *whole)
{
    real *numbers = node_values_whole(values, param);
    node_values_begin_change(values);
    if (whole) memmove(numbers, whole, param->count * sizeof *numbers);
    if (values->node->rank == 0 && values->rail_count > 0)
        broadcast_numbers(values->rails[0].comm, numbers, param->count, 0);
    node_memory_meet(values->memory);
}
