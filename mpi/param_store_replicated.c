#include "mpi/param_store_replicated.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/real_type.h"
#include "mpi/shard_exchange.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/core/phase.h"

/* The trained tensors of a group, which lie one after the other. */
typedef struct GroupSum {
    int group;
    real *numbers;
    int count;
    MPI_Request request;
    bool begun;
} GroupSum;

typedef struct Transport {
    MPI_Comm comm;
    GroupSum *sums; /* of all gradients, in the order of their groups */
    int sum_count;
    bool overlapped, open;
    /* Of the store of one process beneath. */
    real *(*whole_values)(ParamStore *, int param);
    real *(*whole_state)(ParamStore *, int state);
    void (*destroy_memory)(ParamStore *);
} Transport;

static Transport *transport_of(const ParamStore *store) { return store->transport; }

/* ---- sums of gradients ---- */

static void add_sums(Transport *transport, int group, real *numbers, size_t count)
{
    for (size_t first = 0; first < count; first += GRADIENT_PIECE) {
        size_t length = count - first < GRADIENT_PIECE ? count - first : GRADIENT_PIECE;
        size_t sums = (size_t)transport->sum_count + 1;
        transport->sums = realloc(transport->sums, sums * sizeof *transport->sums);
        CHECK(transport->sums, "cannot allocate a table of %zu messages", sums);
        transport->sums[transport->sum_count++] =
            (GroupSum){group, numbers + first, (int)length, MPI_REQUEST_NULL, false};
    }
}

/* Of each group by itself, or of all together when nothing is to begin before the end. */
static void make_sums(ParamStore *store)
{
    const ParamTable *table = store->params;
    bool together = !transport_of(store)->overlapped;
    for (int i = 0; i < table->count;) {
        int group = table->params[i].group;
        real *numbers = NULL, *end = NULL;
        for (; i < table->count && (together || table->params[i].group == group); i++) {
            if (!table->params[i].trained) continue;
            if (!numbers) numbers = store->gradient(store, i);
            end = store->gradient(store, i) + table->params[i].count;
        }
        if (numbers) add_sums(transport_of(store), group, numbers, (size_t)(end - numbers));
    }
}

static void open_sums(ParamStore *store) { transport_of(store)->open = true; }

static void gradients_added(ParamStore *store, int group, bool last)
{
    Transport *transport = transport_of(store);
    if (!last || !transport->open || !transport->overlapped) return;
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    for (int i = 0; i < transport->sum_count; i++) {
        GroupSum *sum = &transport->sums[i];
        if (sum->group != group || sum->begun) continue;
        CHECK_MPI(MPI_Iallreduce(MPI_IN_PLACE, sum->numbers, sum->count, MPI_REAL_TYPE, MPI_SUM, transport->comm,
                                 &sum->request));
        sum->begun = true;
    }
    store->seconds += MPI_Wtime() - start;
    phase_begin(interrupted);
}

static void poll(ParamStore *store)
{
    Transport *transport = transport_of(store);
    int arrived;
    if (!transport->open || !transport->overlapped) return;
    double start = MPI_Wtime();
    for (int i = 0; i < transport->sum_count; i++)
        if (transport->sums[i].request != MPI_REQUEST_NULL)
            CHECK_MPI(MPI_Test(&transport->sums[i].request, &arrived, MPI_STATUS_IGNORE));
    store->seconds += MPI_Wtime() - start;
}

static void close_sums(ParamStore *store)
{
    Transport *transport = transport_of(store);
    phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    for (int i = 0; i < transport->sum_count; i++) {
        GroupSum *sum = &transport->sums[i];
        if (sum->begun)
            CHECK_MPI(MPI_Wait(&sum->request, MPI_STATUS_IGNORE));
        else
            CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, sum->numbers, sum->count, MPI_REAL_TYPE, MPI_SUM, transport->comm));
        sum->begun = false;
    }
    transport->open = false;
    store->seconds += MPI_Wtime() - start;
}

/* ---- copies ---- */

static RowRange written(const ParamStore *store, const Param *param)
{
    size_t extent = param_extent(param), rank = (size_t)store->rank, ranks = (size_t)store->ranks;
    return (RowRange){extent * rank / ranks, extent * (rank + 1) / ranks};
}

static void broadcast(ParamStore *store, real *numbers, size_t count, int root)
{
    Phase interrupted = phase_begin(PHASE_COMMUNICATION);
    double start = MPI_Wtime();
    broadcast_numbers(transport_of(store)->comm, numbers, count, root);
    store->seconds += MPI_Wtime() - start;
    phase_begin(interrupted);
}

static void place_in(ParamStore *store, real *copy, const Param *param, const real *whole)
{
    if (whole) memmove(copy, whole, param->count * sizeof *copy);
    broadcast(store, copy, param->count, 0);
}

static void place(ParamStore *store, int param, const real *whole)
{
    place_in(store, transport_of(store)->whole_values(store, param), &store->params->params[param], whole);
}

static void place_state(ParamStore *store, int state, const real *whole)
{
    place_in(store, transport_of(store)->whole_state(store, state), &store->states->params[state], whole);
}

static void destroy(ParamStore *store)
{
    Transport *transport = transport_of(store);
    void (*destroy_memory)(ParamStore *) = transport->destroy_memory;
    CHECK_MPI(MPI_Comm_free(&transport->comm));
    free(transport->sums);
    free(transport);
    destroy_memory(store);
}

/* Within a node the library copies with the cores that compute: nothing would be hidden, and its algorithms for sums under way
   are slower. */
bool gradient_sums_overlapped(GradientSums sums)
{
    return sums == SUMS_AUTO ? world_nodes().count > 1 : sums == SUMS_OVERLAPPED;
}

ParamStore *param_store_replicated(const ParamTable *params, const ParamTable *states, StorePurpose purpose,
                                   GradientSums sums)
{
    ParamStore *store = param_store_create(params, states, purpose);
    Transport *transport = checked_calloc(1, sizeof *transport);
    bool gradients = purpose & STORE_GRADIENTS_ALONE, overlapped = gradients && gradient_sums_overlapped(sums);
    *transport = (Transport){
        .overlapped = overlapped,
        .whole_values = store->kept_values,
        .whole_state = store->kept_state,
        .destroy_memory = store->destroy,
    };
    CHECK_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &transport->comm));
    store->transport = transport;
    store->rank = world().rank;
    store->ranks = world().size;
    store->written = written;
    store->broadcast = broadcast;
    store->place = place;
    store->place_state = place_state;
    store->destroy = destroy;
    if (!gradients || store->ranks == 1) return store;
    make_sums(store);
    store->open_sums = open_sums;
    store->gradients_added = gradients_added;
    store->poll = poll;
    store->close_sums = close_sums;
    return store;
}
