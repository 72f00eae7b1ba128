#include "src/core/param_shards.h"

#include <stdlib.h>

#include "src/base/memory.h"

/* What is not cut: a row, an element of a vector, or a whole matrix. */
typedef struct Piece {
    size_t numbers; /* of one */
    size_t count;   /* of the tensor */
    double cost;    /* of bringing one up to date */
} Piece;

static Piece piece_of(const Param *param, bool whole_matrices)
{
    if (!whole_matrices || param->hidden_parts == 0) {
        size_t width = param_row_width(param);
        return (Piece){width, param_extent(param), (double)width};
    }
    size_t parts = (size_t)param->hidden_parts, rows = param->rows / parts, columns = param->columns;
    return (Piece){rows * columns, parts, whole_matrix_cost(rows, columns)};
}

static bool belongs(const Param *param, int group) { return param->trained && param->group == group; }

/* ---- cutting a group ---- */

typedef struct Cut {
    GroupShards *group;
    double *costs; /* (block_count) */
    double total, before;
    int most, last; /* blocks; number of the one under way */
} Cut;

/* The block in which the middle of a piece falls. */
static void add_piece(Cut *cut, size_t first, double cost)
{
    int number = (int)((cut->before + cost / 2) * cut->most / cut->total);
    if (number != cut->last) {
        if (cut->last >= 0) cut->group->blocks[cut->group->block_count - 1].end = first;
        cut->group->blocks[cut->group->block_count++] = (ShardBlock){.first = first};
        cut->last = number;
    }
    cut->costs[cut->group->block_count - 1] += cost;
    cut->before += cost;
}

static double group_cost(const ParamTable *params, int group, bool whole_matrices)
{
    double total = 0;
    for (int i = 0; i < params->count; i++) {
        if (!belongs(&params->params[i], group)) continue;
        Piece piece = piece_of(&params->params[i], whole_matrices);
        total += (double)piece.count * piece.cost;
    }
    return total;
}

/* The blocks of a group without their ranks; returns their costs, which the caller frees. */
static double *cut_group(const ParamShards *shards, int number, bool whole_matrices)
{
    const ParamTable *params = shards->params;
    GroupShards *group = &shards->groups[number];
    const size_t aligned = 64 / sizeof(real);
    Cut cut = {.group = group, .most = shards->ranks, .last = -1};
    cut.total = group_cost(params, number, whole_matrices);
    cut.costs = checked_calloc((size_t)shards->ranks, sizeof *cut.costs);
    group->blocks = checked_calloc((size_t)shards->ranks, sizeof *group->blocks);
    group->first_param = -1;
    for (int i = 0; i < params->count; i++) {
        const Param *param = &params->params[i];
        if (!belongs(param, number)) continue;
        Piece piece = piece_of(param, whole_matrices);
        if (group->first_param < 0) group->first = param->offset, group->first_param = i;
        group->end = param->offset + (param->count + aligned - 1) / aligned * aligned;
        for (size_t k = 0; k < piece.count; k++) add_piece(&cut, param->offset + k * piece.numbers, piece.cost);
    }
    if (group->first_param >= 0) group->blocks[group->block_count - 1].end = group->end;
    return cut.costs;
}

/* ---- dealing out ---- */

typedef struct Weighed {
    int number; /* of a block, or of a rank */
    double cost;
} Weighed;

static int dearest_first(const void *left, const void *right)
{
    const Weighed *a = left, *b = right;
    return a->cost != b->cost ? (a->cost > b->cost ? -1 : 1) : a->number - b->number;
}

static int cheapest_first(const void *left, const void *right)
{
    const Weighed *a = left, *b = right;
    return a->cost != b->cost ? (a->cost < b->cost ? -1 : 1) : a->number - b->number;
}

static void deal_group(GroupShards *group, const double *costs, double *loads, int ranks)
{
    Weighed *blocks = checked_calloc((size_t)ranks, sizeof *blocks),
            *takers = checked_calloc((size_t)ranks, sizeof *takers);
    for (int k = 0; k < group->block_count; k++) blocks[k] = (Weighed){k, costs[k]};
    for (int rank = 0; rank < ranks; rank++) takers[rank] = (Weighed){rank, loads[rank]};
    qsort(blocks, (size_t)group->block_count, sizeof *blocks, dearest_first);
    qsort(takers, (size_t)ranks, sizeof *takers, cheapest_first);
    group->block_of_rank = checked_calloc((size_t)ranks, sizeof *group->block_of_rank);
    for (int rank = 0; rank < ranks; rank++) group->block_of_rank[rank] = -1;
    for (int k = 0; k < group->block_count; k++) {
        int rank = takers[k].number;
        group->blocks[blocks[k].number].rank = rank;
        group->block_of_rank[rank] = blocks[k].number;
        loads[rank] += blocks[k].cost;
    }
    free(blocks);
    free(takers);
}

ParamShards *param_shards_create(const ParamTable *params, bool whole_matrices, int ranks)
{
    ParamShards *shards = checked_calloc(1, sizeof *shards);
    double *loads = checked_calloc((size_t)ranks, sizeof *loads);
    *shards = (ParamShards){.params = params, .ranks = ranks};
    shards->groups = checked_calloc((size_t)params->groups, sizeof *shards->groups);
    for (int group = 0; group < params->groups; group++) {
        double *costs = cut_group(shards, group, whole_matrices);
        deal_group(&shards->groups[group], costs, loads, ranks);
        free(costs);
    }
    free(loads);
    return shards;
}

void param_shards_destroy(ParamShards *shards)
{
    if (!shards) return;
    for (int group = 0; group < shards->params->groups; group++) {
        free(shards->groups[group].blocks);
        free(shards->groups[group].block_of_rank);
    }
    free(shards->groups);
    free(shards);
}

/* ---- who keeps what ---- */

ShardBlock param_shards_block(const ParamShards *shards, int group, int rank)
{
    int number = shards->groups[group].block_of_rank[rank];
    return number < 0 ? (ShardBlock){.rank = rank} : shards->groups[group].blocks[number];
}

RowRange param_shards_rows_in(const ShardBlock *block, const Param *parameter)
{
    size_t first = parameter->offset, end = first + parameter->count, width = param_row_width(parameter);
    if (block->first > first) first = block->first;
    if (block->end < end) end = block->end;
    if (first >= end) return (RowRange){0, 0};
    return (RowRange){(first - parameter->offset) / width, (end - parameter->offset) / width};
}

RowRange param_shards_rows(const ParamShards *shards, const Param *param, int rank)
{
    const Param *parameter = param_shards_parameter(shards, param);
    ShardBlock block = param_shards_block(shards, parameter->group, rank);
    return param_shards_rows_in(&block, parameter);
}

size_t param_shards_in_group(const ParamShards *shards, const Param *parameter)
{
    return parameter->offset - shards->groups[parameter->group].first;
}

size_t param_shards_in_block(const ParamShards *shards, const Param *parameter, int rank)
{
    ShardBlock block = param_shards_block(shards, parameter->group, rank);
    RowRange rows = param_shards_rows_in(&block, parameter);
    size_t first = parameter->offset + rows.first * param_row_width(parameter);
    return rows.end > rows.first ? first - block.first : 0;
}

size_t param_shards_places(const ParamShards *shards, int rank, size_t *places)
{
    const size_t aligned = 64 / sizeof(real);
    size_t count = 0;
    for (int group = 0; group < shards->params->groups; group++) {
        ShardBlock block = param_shards_block(shards, group, rank);
        places[group] = count;
        count += (block.end - block.first + aligned - 1) / aligned * aligned;
    }
    return count;
}

size_t param_shards_group_count(const ParamShards *shards, int group)
{
    return shards->groups[group].end - shards->groups[group].first;
}

size_t param_shards_longest_block(const ParamShards *shards, int group)
{
    const GroupShards *row = &shards->groups[group];
    size_t longest = 0;
    for (int k = 0; k < row->block_count; k++) {
        size_t count = row->blocks[k].end - row->blocks[k].first;
        if (count > longest) longest = count;
    }
    return longest;
}
