/* Messages, and sums over ranks as Open MPI 4.1 makes them, of which SMPI has others:

   - MPI_Exscan, MPI_Iexscan: the whole message from rank to rank;
   - MPI_Allreduce of long messages: halves of halves to and fro (Rabenseifner), as from 64 ranks and 256 KB on;
   - MPI_Iallreduce in place: the same, as world_start() asks for; or up a binomial tree and down again, whole messages, as
     libnbc chooses by itself in place.

   A sum is a list of messages in rounds; a round begins when the one before is over and somebody calls MPI, for the library moves
   nothing outside its calls. Numbers do not travel: every long message is sent from and to one piece of memory, which SMPI knows
   to be the same on all ranks and does not copy. */
#include "simulate/messages.h"

#include <simgrid/engine.h>
#include <smpi/smpi.h>
#include <stdlib.h>

#include "simulate/compute.h"
#include "src/base/error.h"

enum { SHORT_BYTES = 4096, PAYLOAD_BYTES = 64 << 20, MAX_ACTIONS = 64, MAX_SUMS = 512, FIRST_TAG = 1000, TAGS = 20000 };

#define DECLARE(result, name, ...)                                                                                     \
    result __real_##name(__VA_ARGS__);                                                                                 \
    result __wrap_##name(__VA_ARGS__)
DECLARE(int, MPI_Isend, const void *, int, MPI_Datatype, int, int, MPI_Comm, MPI_Request *);
DECLARE(int, MPI_Irecv, void *, int, MPI_Datatype, int, int, MPI_Comm, MPI_Request *);
DECLARE(int, MPI_Test, MPI_Request *, int *, MPI_Status *);
DECLARE(int, MPI_Testall, int, MPI_Request[], int *, MPI_Status[]);
DECLARE(int, MPI_Wait, MPI_Request *, MPI_Status *);
DECLARE(int, MPI_Waitall, int, MPI_Request[], MPI_Status[]);
DECLARE(int, MPI_Exscan, const void *, void *, int, MPI_Datatype, MPI_Op, MPI_Comm);
DECLARE(int, MPI_Iexscan, const void *, void *, int, MPI_Datatype, MPI_Op, MPI_Comm, MPI_Request *);
DECLARE(int, MPI_Allreduce, const void *, void *, int, MPI_Datatype, MPI_Op, MPI_Comm);
DECLARE(int, MPI_Iallreduce, const void *, void *, int, MPI_Datatype, MPI_Op, MPI_Comm, MPI_Request *);

/* One message of a sum. */
typedef struct Action {
    int peer;
    size_t bytes;
    bool receive, joins; /* what is received is added to what is there */
    bool ends_round;
} Action;

typedef struct Sum {
    bool used;
    MPI_Comm comm;
    int tag, rank, size;
    int begun, first, count; /* actions before `begun` are under way or over; `first`: of the round under way */
    Action actions[MAX_ACTIONS];
    MPI_Request requests[MAX_ACTIONS];
} Sum;

static Sum sums[MAX_SUMS];
static int sums_used; /* all behind are free */
static int started;
static bool tree_under_way;
static char *payload;

void messages_set_tree_under_way(bool tree) { tree_under_way = tree; }

static char *large_payload(void)
{
    if (!payload) payload = SMPI_SHARED_MALLOC(PAYLOAD_BYTES);
    return payload;
}

/* ---- rounds ---- */

static bool is_over(const Sum *sum) { return sum->first == sum->count; }

static void begin_round(Sum *sum)
{
    sum->first = sum->begun;
    bool more = sum->begun < sum->count;
    while (more) {
        const Action *action = &sum->actions[sum->begun];
        MPI_Request *request = &sum->requests[sum->begun++];
        if (action->receive)
            __real_MPI_Irecv(large_payload(), (int)action->bytes, MPI_BYTE, action->peer, sum->tag, sum->comm, request);
        else
            __real_MPI_Isend(large_payload(), (int)action->bytes, MPI_BYTE, action->peer, sum->tag, sum->comm, request);
        more = sum->begun < sum->count && !action->ends_round;
    }
}

static void advance(Sum *sum)
{
    while (!is_over(sum)) {
        int over;
        __real_MPI_Testall(sum->begun - sum->first, sum->requests + sum->first, &over, MPI_STATUSES_IGNORE);
        if (!over) return;
        for (int i = sum->first; i < sum->begun; i++)
            if (sum->actions[i].joins) compute_join(sum->actions[i].bytes / sizeof(float));
        begin_round(sum);
    }
}

static void advance_all(void)
{
    for (int i = 0; i < sums_used; i++)
        if (sums[i].used) advance(&sums[i]);
}

/* For those who only ask, of whom there are many: little arrives while no time passes. */
static void advance_once_at_a_time(void)
{
    static double last = -1;
    double now = simgrid_get_clock();
    if (now == last) return;
    last = now;
    advance_all();
}

/* The sum behind a request of this file; NULL for one of SMPI. */
static Sum *sum_of(MPI_Request request)
{
    const char *at = (const char *)request;
    return at >= (char *)sums && at < (char *)(sums + MAX_SUMS) ? (Sum *)request : NULL;
}

static void end_sum(Sum *sum)
{
    sum->used = false;
    while (sums_used > 0 && !sums[sums_used - 1].used) sums_used--;
}

/* ---- what sums are made of ---- */

static Sum *new_sum(MPI_Comm comm)
{
    int i = 0;
    while (i < MAX_SUMS && sums[i].used) i++;
    CHECK(i < MAX_SUMS, "more than %d sums are under way. Raise MAX_SUMS of simulate/messages.c", MAX_SUMS);
    if (i >= sums_used) sums_used = i + 1;
    Sum *sum = &sums[i];
    sum->used = true;
    sum->comm = comm;
    sum->tag = FIRST_TAG + started++ % TAGS; /* all ranks begin the same sums in the same order */
    sum->begun = sum->first = sum->count = 0;
    MPI_Comm_rank(comm, &sum->rank);
    MPI_Comm_size(comm, &sum->size);
    return sum;
}

static void add(Sum *sum, Action action)
{
    CHECK(sum->count < MAX_ACTIONS, "a sum over %d ranks has more than %d messages of a rank. Raise MAX_ACTIONS",
          sum->size, MAX_ACTIONS);
    sum->actions[sum->count++] = action;
}

static void add_chain(Sum *sum, size_t bytes)
{
    if (sum->rank > 0) add(sum, (Action){sum->rank - 1, bytes, .receive = true, .joins = true, .ends_round = true});
    if (sum->rank + 1 < sum->size) add(sum, (Action){sum->rank + 1, bytes, .ends_round = true});
}

static void exchange(Sum *sum, int peer, size_t bytes, bool joins)
{
    add(sum, (Action){peer, bytes, .receive = true, .joins = joins});
    add(sum, (Action){peer, bytes, .ends_round = true});
}

static void add_halving(Sum *sum, size_t bytes)
{
    CHECK((sum->size & (sum->size - 1)) == 0, "sums over %d ranks are not simulated. Use a power of two", sum->size);
    int far = 1;
    for (; far < sum->size; far *= 2) exchange(sum, sum->rank ^ far, bytes /= 2, true);
    for (far /= 2; far > 0; far /= 2, bytes *= 2) exchange(sum, sum->rank ^ far, bytes, false);
}

static void add_tree(Sum *sum, size_t bytes)
{
    int rank = sum->rank, low = 1, high = 1;
    for (; low < sum->size && rank % (2 * low) == 0; low *= 2)
        if (rank + low < sum->size)
            add(sum, (Action){rank + low, bytes, .receive = true, .joins = true, .ends_round = true});
    if (rank > 0) add(sum, (Action){.peer = rank - low, .bytes = bytes}); /* up; the sum comes down from another */
    while (high <= rank) high *= 2;
    if (rank > 0) add(sum, (Action){rank - high / 2, bytes, .receive = true, .ends_round = true});
    for (; rank + high < sum->size; high *= 2) add(sum, (Action){.peer = rank + high, .bytes = bytes});
}

static size_t bytes_of(int count, MPI_Datatype type)
{
    int size;
    MPI_Type_size(type, &size);
    return (size_t)count * (size_t)size;
}

static Sum *begin(MPI_Comm comm, size_t bytes, void (*add_messages)(Sum *, size_t))
{
    CHECK(bytes <= PAYLOAD_BYTES, "a message of %zu bytes. Raise PAYLOAD_BYTES of simulate/messages.c", bytes);
    Sum *sum = new_sum(comm);
    add_messages(sum, bytes);
    begin_round(sum);
    return sum;
}

/* ---- MPI ---- */

int __wrap_MPI_Isend(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
                     MPI_Request *request)
{
    const void *from = bytes_of(count, type) > SHORT_BYTES ? large_payload() : data;
    return __real_MPI_Isend(from, count, type, peer, tag, comm, request);
}

int __wrap_MPI_Irecv(void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, MPI_Request *request)
{
    void *to = bytes_of(count, type) > SHORT_BYTES ? large_payload() : data;
    return __real_MPI_Irecv(to, count, type, peer, tag, comm, request);
}

int __wrap_MPI_Test(MPI_Request *request, int *over, MPI_Status *status)
{
    Sum *sum = sum_of(*request);
    advance_once_at_a_time();
    *over = true;
    if (*request == MPI_REQUEST_NULL) return MPI_SUCCESS;
    if (!sum) return __real_MPI_Test(request, over, status);
    *over = is_over(sum);
    if (!*over) return MPI_SUCCESS;
    end_sum(sum);
    *request = MPI_REQUEST_NULL;
    return MPI_SUCCESS;
}

int __wrap_MPI_Testall(int count, MPI_Request requests[], int *over, MPI_Status statuses[])
{
    advance_once_at_a_time();
    *over = true;
    return count > 0 ? __real_MPI_Testall(count, requests, over, statuses) : MPI_SUCCESS;
}

/* A message that somebody waits for, and the sum it belongs to; NULL for one of the program's own. */
typedef struct Pending {
    MPI_Request *place;
    Sum *sum;
} Pending;

enum { MAX_PENDING = MAX_SUMS * 2 };

/* Those of all sums, and `request` itself where it is one of SMPI. */
static int pending_messages(MPI_Request *request, MPI_Request *messages, Pending *pending)
{
    int count = 0;
    if (!sum_of(*request)) pending[count++] = (Pending){request, NULL};
    for (int i = 0; i < sums_used; i++)
        for (int a = sums[i].first; sums[i].used && a < sums[i].begun && count < MAX_PENDING; a++)
            if (sums[i].requests[a] != MPI_REQUEST_NULL) pending[count++] = (Pending){&sums[i].requests[a], &sums[i]};
    for (int i = 0; i < count; i++) messages[i] = *pending[i].place;
    return count;
}

/* While one waits for one thing, the library moves on all. */
int __wrap_MPI_Wait(MPI_Request *request, MPI_Status *status)
{
    MPI_Request messages[MAX_PENDING];
    Pending pending[MAX_PENDING];
    Sum *sum = sum_of(*request);
    if (sums_used == 0 || *request == MPI_REQUEST_NULL) return __real_MPI_Wait(request, status);
    advance_all();
    while (sum ? !is_over(sum) : *request != MPI_REQUEST_NULL) {
        int index, count = pending_messages(request, messages, pending);
        MPI_Waitany(count, messages, &index, MPI_STATUS_IGNORE);
        *pending[index].place = messages[index];
        if (pending[index].sum) advance(pending[index].sum);
    }
    if (sum) end_sum(sum);
    *request = MPI_REQUEST_NULL;
    return MPI_SUCCESS;
}

int __wrap_MPI_Waitall(int count, MPI_Request requests[], MPI_Status statuses[])
{
    (void)statuses;
    for (int i = 0; i < count; i++) __wrap_MPI_Wait(&requests[i], MPI_STATUS_IGNORE);
    return MPI_SUCCESS;
}

static int wait_for(Sum *sum)
{
    MPI_Request request = (MPI_Request)sum;
    return __wrap_MPI_Wait(&request, MPI_STATUS_IGNORE);
}

int __wrap_MPI_Iexscan(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                       MPI_Request *request)
{
    (void)send, (void)receive, (void)op;
    *request = (MPI_Request)begin(comm, bytes_of(count, type), add_chain);
    return MPI_SUCCESS;
}

int __wrap_MPI_Exscan(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    (void)send, (void)receive, (void)op;
    return wait_for(begin(comm, bytes_of(count, type), add_chain));
}

int __wrap_MPI_Iallreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                          MPI_Request *request)
{
    (void)send, (void)receive, (void)op;
    *request = (MPI_Request)begin(comm, bytes_of(count, type), tree_under_way ? add_tree : add_halving);
    return MPI_SUCCESS;
}

/* Short ones carry what the program decides by: SMPI has them. */
int __wrap_MPI_Allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    size_t bytes = bytes_of(count, type);
    if (bytes > SHORT_BYTES) return wait_for(begin(comm, bytes, add_halving));
    return __real_MPI_Allreduce(send == MPI_IN_PLACE ? receive : send, receive, count, type, op, comm);
}
