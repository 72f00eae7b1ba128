#include "mpi/param_store_sharded.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/gradient_shares.h"
#include "mpi/node_values.h"
#include "mpi/param_store_replicated.h"
#include "mpi/real_type.h"
#include "mpi/shard_exchange.h"
#include "mpi/value_shares.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/memory.h"
#include "src/base/size.h"
#include "src/core/phase.h"

/* What is divided; the rest is in the replicated store beneath. */
typedef struct Division {
    ParamShards *shards;
    MPI_Comm comm;             /* those among whom rows are divided: all, or the ranks of the node */
    int number;                /* of this process among them */
    BlockCounts *groups;       /* (params->groups); NULL where nothing is gathered by them */
    Node *node;                /* of node_shared, or NULL */
    real *states;              /* the kept rows of all */
    size_t *state_places;      /* per state: where its rows begin */
    GradientShares *gradients; /* SHARD_GRADIENTS and above */
    ValueShares *values;       /* SHARD_PARAMETERS */
    NodeValues *node_values;   /* node_shared; with either of them: */
    real *constants;           /* tensors that are not trained, as they lie in the plain layout behind the others */
    /* Of the store beneath. */
    real *(*whole_values)(ParamStore *, int param);
    real *(*whole_gradient)(ParamStore *, int param);
    RowRange (*slice)(const ParamStore *, const Param *param);
    void (*destroy_whole)(ParamStore *);
} Division;

static Division *division_of(const ParamStore *store) { return store->division; }

/* A call of the functions of shares, as communication. */
#define AS_COMMUNICATION(store, call)                                                                                  \
    do {                                                                                                               \
        Phase interrupted = phase_begin(PHASE_COMMUNICATION);                                                          \
        double start = MPI_Wtime();                                                                                    \
        call;                                                                                                          \
        (store)->seconds += MPI_Wtime() - start;                                                                       \
        phase_begin(interrupted);                                                                                      \
    } while (0)

/* ---- rows ---- */

/* Each node divides all rows among its own ranks, as others do too. */
static bool divided_by_node(const Division *division) { return division->shards->ranks < world().size; }

static RowRange kept(const ParamStore *store, const Param *param)
{
    if (!param->trained) return (RowRange){0, param_extent(param)};
    return param_shards_rows(division_of(store)->shards, param, division_of(store)->number);
}

/* Of what every node has, each writes a part. */
static RowRange of_node(const Node *node, const Param *param, RowRange rows)
{
    size_t extent = param_extent(param), nodes = (size_t)node->all.count, number = (size_t)node->number;
    RowRange part = {larger(rows.first, extent * number / nodes), smaller(rows.end, extent * (number + 1) / nodes)};
    return part.first < part.end ? part : (RowRange){rows.first, rows.first};
}

/* Tensors of which all ranks have all are written in slices. */
static RowRange written(const ParamStore *store, const Param *param)
{
    const Division *division = division_of(store);
    if (!param->trained) return division->slice(store, param);
    return divided_by_node(division) ? of_node(division->node, param, kept(store, param)) : kept(store, param);
}

/* Numbers of a tensor before its first kept row. */
static size_t before_kept(const ParamStore *store, int param)
{
    const Param *row = &store->params->params[param];
    return kept(store, row).first * param_row_width(row);
}

static real *kept_values(ParamStore *store, int param)
{
    return division_of(store)->whole_values(store, param) + before_kept(store, param);
}

static const real *kept_gradient(ParamStore *store, int param)
{
    return division_of(store)->whole_gradient(store, param) + before_kept(store, param);
}

/* ---- states ---- */

static void take_states(ParamStore *store, const ParamTable *states)
{
    const size_t aligned = 64 / sizeof(real);
    Division *division = division_of(store);
    size_t count = 0;
    store->states = states;
    division->state_places = checked_calloc((size_t)states->count, sizeof *division->state_places);
    for (int i = 0; i < states->count; i++) {
        division->state_places[i] = count;
        count += (param_store_kept_count(store, &states->params[i]) + aligned - 1) / aligned * aligned;
    }
    division->states = checked_block(count * sizeof *division->states);
}

static real *kept_state(ParamStore *store, int state)
{
    return division_of(store)->states + division_of(store)->state_places[state];
}

static void place_state(ParamStore *store, int state, const real *whole)
{
    const Division *division = division_of(store);
    const Param *param = &store->states->params[state];
    if (divided_by_node(division))
        shard_broadcast(MPI_COMM_WORLD, param, kept(store, param), kept_state(store, state), whole);
    else
        shard_scatter(division->comm, division->shards, param, kept_state(store, state), whole);
}

static uint64_t digest_state(ParamStore *store, int state)
{
    const Division *division = division_of(store);
    return shard_digest(division->comm, division->shards, &store->states->params[state], kept_state(store, state));
}

/* ---- values, whole on every rank ---- */

/* Into the copies of all, group by group. */
static void gather_groups(ParamStore *store)
{
    const Division *division = division_of(store);
    for (int group = 0; group < store->params->groups; group++) {
        int first = division->shards->groups[group].first_param;
        if (first < 0) continue;
        CHECK_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, division->whole_values(store, first),
                                 division->groups[group].counts, division->groups[group].places, MPI_REAL_TYPE,
                                 division->comm));
    }
}

static void spread(ParamStore *store) { AS_COMMUNICATION(store, gather_groups(store)); }

/* ---- tensors that are not trained, where values are not in the store beneath ---- */

static void take_constants(ParamStore *store)
{
    size_t count = store->params->total_count - store->params->trained_count;
    division_of(store)->constants = checked_calloc(count, sizeof(real));
}

static real *constant(ParamStore *store, const Param *param)
{
    return division_of(store)->constants + param_table_constant_place(store->params, param);
}

static void place_constant(ParamStore *store, const Param *param, const real *whole)
{
    real *values = constant(store, param);
    if (whole) memmove(values, whole, param->count * sizeof *values);
    store->broadcast(store, values, param->count, 0);
}

/* ---- values, whole on every node ---- */

static real *values_of_node(ParamStore *store, int param)
{
    const Param *row = &store->params->params[param];
    return row->trained ? node_values_whole(division_of(store)->node_values, row) : constant(store, row);
}

static const real *read_values_of_node(ParamStore *store, int param) { return values_of_node(store, param); }

static uint64_t digest_of_node(ParamStore *store, int param)
{
    return digest_reals(values_of_node(store, param), store->params->params[param].count);
}

static void place_on_node(ParamStore *store, int param, const real *whole)
{
    const Param *row = &store->params->params[param];
    if (row->trained)
        AS_COMMUNICATION(store, node_values_place(division_of(store)->node_values, row, whole));
    else
        place_constant(store, row, whole);
}

static void begin_change(ParamStore *store)
{
    AS_COMMUNICATION(store, node_values_begin_change(division_of(store)->node_values));
}

static void spread_from_node(ParamStore *store)
{
    AS_COMMUNICATION(store, node_values_spread(division_of(store)->node_values));
}

static void share_values(ParamStore *store)
{
    Division *division = division_of(store);
    division->node_values = node_values_create(division->shards, division->node);
    division->whole_values = values_of_node;
    take_constants(store);
    store->values = read_values_of_node;
    store->begin_change = begin_change;
    store->spread = spread_from_node;
    store->digest = digest_of_node;
    store->place = place_on_node;
}

/* ---- gradients in shares ---- */

static real *whole_gradient_of_pass(ParamStore *store, int param)
{
    return gradient_shares_whole(division_of(store)->gradients, &store->params->params[param]);
}

static const real *kept_sums(ParamStore *store, int param)
{
    return gradient_shares_kept(division_of(store)->gradients, &store->params->params[param]);
}

static void clear_shares(ParamStore *store) { gradient_shares_clear(division_of(store)->gradients); }

/* Every pass adds to sums, so that none is the first. */
static void open_sums(ParamStore *store) { (void)store; }

static void gradients_added(ParamStore *store, int group, bool last)
{
    (void)last;
    AS_COMMUNICATION(store, gradient_shares_sum(division_of(store)->gradients, group));
}

static void close_sums(ParamStore *store)
{
    AS_COMMUNICATION(store, gradient_shares_close(division_of(store)->gradients));
}

static void poll(ParamStore *store)
{
    const Division *division = division_of(store);
    double start = MPI_Wtime();
    if (division->gradients) gradient_shares_poll(division->gradients);
    if (division->values) value_shares_poll(division->values);
    store->seconds += MPI_Wtime() - start;
}

static double norm_of_shares(ParamStore *store)
{
    const GradientShares *gradients = division_of(store)->gradients;
    double norm;
    phase_begin(PHASE_OPTIMIZER);
    double squares = gradient_shares_squares(gradients);
    AS_COMMUNICATION(store, norm = gradient_shares_norm(gradients, squares));
    return norm;
}

static void divide_gradients(ParamStore *store, GradientSums sums)
{
    Division *division = division_of(store);
    division->gradients = gradient_shares_create(division->shards, division->comm, gradient_sums_overlapped(sums));
    store->gradient = whole_gradient_of_pass;
    store->kept_gradient = kept_sums;
    store->clear_gradients = clear_shares;
    store->open_sums = open_sums;
    store->gradients_added = gradients_added;
    store->close_sums = close_sums;
    store->poll = poll;
    store->gradient_norm = norm_of_shares;
}

/* ---- values in shares ---- */

static void acquire(ParamStore *store, int group)
{
    AS_COMMUNICATION(store, value_shares_acquire(division_of(store)->values, group));
}

static void release(ParamStore *store, int group) { value_shares_release(division_of(store)->values, group); }

static const real *gathered_values(ParamStore *store, int param)
{
    const Param *row = &store->params->params[param];
    return row->trained ? value_shares_whole(division_of(store)->values, row) : constant(store, row);
}

static real *own_values(ParamStore *store, int param)
{
    const Param *row = &store->params->params[param];
    return row->trained ? value_shares_kept(division_of(store)->values, row) : constant(store, row);
}

static void values_changed(ParamStore *store) { value_shares_changed(division_of(store)->values); }

static uint64_t digest_values(ParamStore *store, int param)
{
    const Division *division = division_of(store);
    const Param *row = &store->params->params[param];
    const real *values = own_values(store, param);
    return row->trained ? shard_digest(division->comm, division->shards, row, values)
                        : digest_reals(values, row->count);
}

static void place_values(ParamStore *store, int param, const real *whole)
{
    const Division *division = division_of(store);
    const Param *row = &store->params->params[param];
    if (!row->trained) {
        place_constant(store, row, whole);
        return;
    }
    values_changed(store);
    shard_scatter(division->comm, division->shards, row, own_values(store, param), whole);
}

static void divide_values(ParamStore *store)
{
    Division *division = division_of(store);
    division->values = value_shares_create(division->shards, division->groups, division->comm);
    take_constants(store);
    store->acquire = acquire;
    store->release = release;
    store->poll = poll;
    store->values = gathered_values;
    store->kept_values = own_values;
    store->spread = values_changed;
    store->digest = digest_values;
    store->place = place_values;
}

/* ---- making ---- */

static void destroy_groups(Division *division)
{
    for (int group = 0; division->groups && group < division->shards->params->groups; group++)
        block_counts_destroy(&division->groups[group]);
    free(division->groups);
}

static void destroy(ParamStore *store)
{
    Division *division = division_of(store);
    void (*destroy_whole)(ParamStore *) = division->destroy_whole;
    gradient_shares_destroy(division->gradients);
    value_shares_destroy(division->values);
    node_values_destroy(division->node_values);
    destroy_groups(division);
    param_shards_destroy(division->shards);
    CHECK_MPI(MPI_Comm_free(&division->comm));
    if (division->node) node_destroy(division->node);
    free(division->node);
    free(division->constants);
    free(division->states);
    free(division->state_places);
    free(division);
    destroy_whole(store);
}

static void count_groups(ParamStore *store)
{
    Division *division = division_of(store);
    division->groups = checked_calloc((size_t)store->params->groups, sizeof *division->groups);
    for (int group = 0; group < store->params->groups; group++)
        division->groups[group] = block_counts_create(division->shards, group, NULL, store->ranks);
}

/* `node`: of node_shared, or NULL; the store has it from here. */
static void divide(ParamStore *store, ShardSpec spec, Node *node)
{
    Division *division = checked_calloc(1, sizeof *division);
    bool by_node = node && spec.stage == SHARD_NONE;
    *division = (Division){
        .shards = param_shards_create(store->params, spec.whole_matrices, by_node ? node->size : store->ranks),
        .number = by_node ? node->rank : store->rank,
        .node = node,
        .whole_values = store->kept_values,
        .whole_gradient = store->gradient,
        .slice = store->written,
        .destroy_whole = store->destroy,
    };
    CHECK_MPI(MPI_Comm_dup(by_node ? node->comm : MPI_COMM_WORLD, &division->comm));
    store->division = division;
    store->divided = true;
    if (!node) count_groups(store);
    store->kept = kept;
    store->written = written;
    store->kept_values = kept_values;
    store->kept_gradient = kept_gradient;
    store->kept_state = kept_state;
    store->place_state = place_state;
    store->digest_state = digest_state;
    store->spread = spread;
    store->destroy = destroy;
}

/* This rank's node where some node has several ranks, else NULL. Whether there is room shows before other memory is taken. */
static Node *node_to_share(const ParamTable *params)
{
    Node *node = checked_calloc(1, sizeof *node);
    *node = node_create();
    if (node->all.most > 1) {
        node_values_require(params, node);
        return node;
    }
    node_destroy(node);
    free(node);
    return NULL;
}

ParamStore *param_store_sharded(const ParamTable *params, const ParamTable *states, StorePurpose purpose,
                                GradientSums sums, ShardSpec spec)
{
    Node *node = spec.node_shared && spec.stage != SHARD_PARAMETERS ? node_to_share(params) : NULL;
    if (!node && (spec.stage == SHARD_NONE || world().size == 1))
        return param_store_replicated(params, states, purpose, sums);
    bool gradients = spec.stage >= SHARD_GRADIENTS, values = spec.stage == SHARD_PARAMETERS;
    unsigned beneath = purpose;
    if (gradients) beneath &= ~(unsigned)STORE_GRADIENTS_ALONE;
    if (values || node) beneath &= ~(unsigned)STORE_VALUES;
    ParamStore *store = param_store_replicated(params, NULL, (StorePurpose)beneath, sums);
    divide(store, spec, node);
    if (node) share_values(store);
    if (states) take_states(store, states);
    if (gradients && purpose == STORE_GRADIENTS) divide_gradients(store, sums);
    if (values) divide_values(store);
    return store;
}

size_t sharded_values_beside(const ParamShards *shards) { return value_shares_count(shards); }

size_t sharded_gradients_beside(const ParamShards *shards, int ranks) { return gradient_shares_count(shards, ranks); }

size_t sharded_gradient_rounds(const ParamShards *shards, int group) { return gradient_shares_rounds(shards, group); }
