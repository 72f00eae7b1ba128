/* What ranks exchange: exclusive sums, the ring, the sum of the gradients, agreement and broadcast; and how a sequence is
   cut. Numbers are small integers, so that every sum is exact in any order. */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/param_store_replicated.h"
#include "mpi/param_store_sharded.h"
#include "mpi/sequence_link_mpi.h"
#include "mpi/topology.h"
#include "mpi/world.h"
#include "src/base/digest.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/suite.h"

static const char *const scan_names[] = {"exscan", "iexscan", "chain"};

/* What segment `position` of the sequence of `data_rank` holds at `index`; `round` tells exchanges apart. */
static real value_of(int data_rank, int position, size_t index, int round)
{
    return (real)((int)(index * 7 + (size_t)round * 5) % 11 + 13 * position + 101 * data_rank - 20);
}

static real *values_of(int data_rank, int position, size_t count, int round)
{
    real *values = checked_calloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = value_of(data_rank, position, i, round);
    return values;
}

/* Memory with something in it, one number more than needed. */
static real *dirty(size_t count)
{
    real *values = checked_calloc(count + 1, sizeof *values);
    for (size_t i = 0; i <= count; i++) values[i] = -12345;
    return values;
}

static void check_equal(const char *what, const real *got, const real *expected, size_t count)
{
    size_t wrong = 0;
    while (wrong < count && got[wrong] == expected[wrong]) wrong++;
    check_true(wrong == count, "%s: number %zu of %zu is %g, expected %g", what, wrong, count,
               wrong < count ? (double)got[wrong] : 0, wrong < count ? (double)expected[wrong] : 0);
}

/* ---- exclusive sums ------------------------------------------------------------------------------------------------ */

static real *serial_sum(const Topology *topology, ScanDirection direction, size_t count, int round)
{
    int mine = topology->link->position;
    real *sum = checked_calloc(count, sizeof *sum);
    for (int position = 0; position < topology->sequence_ranks; position++) {
        bool before = direction == SCAN_FORWARD ? position < mine : position > mine;
        for (size_t i = 0; before && i < count; i++) sum[i] += value_of(topology->data_rank, position, i, round);
    }
    return sum;
}

static void check_sum(const Topology *topology, ScanDirection direction, size_t count, int round)
{
    SequenceLink *link = topology->link;
    real *local = values_of(topology->data_rank, link->position, count, round),
         *kept = values_of(topology->data_rank, link->position, count, round);
    real *incoming = dirty(count), *expected = serial_sum(topology, direction, count, round);
    char what[96];
    snprintf(what, sizeof what, "%s sum of %zu on %d x %d ranks", direction == SCAN_FORWARD ? "forward" : "backward",
             count, topology->data_ranks, topology->sequence_ranks);
    link->exclusive_sum_begin(
        link, &(ExclusiveSum){.direction = direction, .local = local, .incoming = incoming, .count = count});
    link->exclusive_sum_poll(link);
    link->exclusive_sum_finish(link);
    check_equal(what, incoming, expected, count);
    check_equal("what is sent stays", local, kept, count);
    check_true(incoming[count] == -12345, "%s: nothing is written behind the end", what);
    free(local), free(kept), free(incoming), free(expected);
}

/* Runs `test` on every grid and with every kind of scan. */
static void on_every_grid(void (*test)(const Topology *))
{
    for (int data_ranks = 1; data_ranks <= world().size; data_ranks++)
        for (int scan = SCAN_EXSCAN; world().size % data_ranks == 0 && scan <= SCAN_CHAIN; scan++) {
            Topology topology = topology_create(data_ranks, (ScanKind)scan);
            test(&topology);
            check_true(topology_communication_seconds(&topology) >= 0, "%s: time does not run backward",
                       scan_names[scan]);
            topology_destroy(&topology);
        }
}

/* Several, one after another and in both directions: short ones, and one beyond the sizes that MPI sends at once. */
static void sums(const Topology *topology)
{
    const size_t counts[] = {1, 1000, 100000};
    for (int c = 0; c < 3; c++)
        for (int repeat = 0; repeat < 2; repeat++) {
            check_sum(topology, SCAN_FORWARD, counts[c], repeat);
            check_sum(topology, SCAN_BACKWARD, counts[c], repeat + 2);
        }
}

static void test_sums(void) { on_every_grid(sums); }

/* Groups of a decayed sum: values, and behind them what the segment leaves of earlier ones: all, some, or nothing. */
static real *groups_of(const Topology *topology, int position, size_t groups, size_t size)
{
    real *values = values_of(topology->data_rank, position, groups * size, 5);
    const real decays[] = {0, (real)-0.3, -2, -1000};
    for (size_t g = 0; g < groups; g++) values[(g + 1) * size - 1] = decays[(g + (size_t)position) % 4];
    return values;
}

/* The definition: what each segment leaves of the sum so far, then its own. */
static double *serial_decayed_sum(const Topology *topology, ScanDirection direction, size_t groups, size_t size)
{
    int segments = topology->sequence_ranks, mine = topology->link->position;
    double *sum = checked_calloc(groups * size, sizeof *sum);
    int first = direction == SCAN_FORWARD ? 0 : segments - 1, step = direction == SCAN_FORWARD ? 1 : -1;
    for (int position = first; position != mine; position += step) {
        real *values = groups_of(topology, position, groups, size);
        for (size_t i = 0; i < groups * size; i++) {
            bool is_decay = i % size == size - 1;
            double kept = is_decay ? 1 : exp((double)values[(i / size + 1) * size - 1]);
            sum[i] = kept * sum[i] + (double)values[i];
        }
        free(values);
    }
    return sum;
}

static void decayed_sums(const Topology *topology)
{
    const size_t groups[] = {1, 3, 50, 7}, sizes[] = {2, 5, 1001, 40000}; /* packets of a chain cut groups anywhere */
    SequenceLink *link = topology->link;
    for (int i = 0; i < 8; i++) {
        size_t size = sizes[i / 2], count = groups[i / 2] * size;
        ScanDirection direction = i % 2 ? SCAN_BACKWARD : SCAN_FORWARD;
        real *local = groups_of(topology, link->position, groups[i / 2], size), *incoming = dirty(count);
        double *expected = serial_decayed_sum(topology, direction, groups[i / 2], size);
        link->exclusive_sum_begin(
            link,
            &(ExclusiveSum){
                .direction = direction, .local = local, .incoming = incoming, .count = count, .groups = groups[i / 2]});
        link->exclusive_sum_poll(link);
        link->exclusive_sum_finish(link);
        check_close_double("decayed sum", incoming, expected, count, 1e-5);
        check_true(incoming[count] == -12345, "nothing is written behind the end");
        free(local), free(incoming), free(expected);
    }
}

static void test_decayed_sums(void) { on_every_grid(decayed_sums); }

/* As attention does it: a team computes, and its main thread lets the sum move on between its own pieces of the work. */
static void sum_beside_a_team(const Topology *topology)
{
    enum { COUNT = 100000, PIECES = 60, TEAM = 3 };
    SequenceLink *link = topology->link;
    real *local = values_of(topology->data_rank, link->position, COUNT, 0), *incoming = dirty(COUNT);
    real *expected = serial_sum(topology, SCAN_FORWARD, COUNT, 0), *totals = checked_calloc(PIECES, sizeof *totals);
    int polls = 0;
    link->exclusive_sum_begin(
        link, &(ExclusiveSum){.direction = SCAN_FORWARD, .local = local, .incoming = incoming, .count = COUNT});
#pragma omp parallel for schedule(static) num_threads(TEAM)
    for (size_t piece = 0; piece < PIECES; piece++) {
        for (size_t i = 0; i < COUNT; i++) totals[piece] += (real)((i + piece) % 3) - 1;
        if (omp_get_thread_num() > 0) continue;
        link->exclusive_sum_poll(link);
        polls++;
    }
    link->exclusive_sum_finish(link);
    check_true(polls == PIECES / TEAM, "a team of %d threads, whose main thread polled %d times", TEAM, polls);
    check_equal("sum beside a team", incoming, expected, COUNT);
    for (size_t piece = 0; piece < PIECES; piece++) {
        real rest = (real)(piece % 3) - 1; /* COUNT is one more than a multiple of 3, and three in a row cancel */
        check_true(totals[piece] == rest, "piece %zu of the team's work: %g", piece, (double)totals[piece]);
    }
    free(local), free(incoming), free(expected), free(totals);
}

static void test_sum_beside_a_team(void) { on_every_grid(sum_beside_a_team); }

static void position(const Topology *topology)
{
    const SequenceLink *link = topology->link;
    check_true(topology->data_ranks * topology->sequence_ranks == world().size, "the grid has all ranks");
    check_true(link->segments == topology->sequence_ranks, "%d segments", link->segments);
    check_true(world().rank == topology->data_rank * topology->sequence_ranks + link->position,
               "rank %d has data rank %d and position %d", world().rank, topology->data_rank, link->position);
}

static void test_position(void) { on_every_grid(position); }

/* ---- ring ---------------------------------------------------------------------------------------------------------- */

/* After s steps a rank holds what was s segments before it, and after all of them its own again. */
static void ring(const Topology *topology)
{
    enum { COUNT = 5000 };
    SequenceLink *link = topology->link;
    int segments = link->segments;
    real *held = values_of(topology->data_rank, link->position, COUNT, 0), *received = dirty(COUNT);
    for (int step = 1; step <= segments; step++) {
        int origin = (link->position + segments - step) % segments;
        real *expected = values_of(topology->data_rank, origin, COUNT, 0);
        link->ring_shift_begin(link, SCAN_FORWARD, held, received, COUNT);
        link->ring_shift_finish(link);
        char what[64];
        snprintf(what, sizeof what, "step %d of the ring of %d", step, segments);
        check_equal(what, received, expected, COUNT);
        real *other = held;
        held = received;
        received = other;
        free(expected);
    }
    check_true(held[0] == value_of(topology->data_rank, link->position, 0, 0), "home again");
    free(held), free(received);
}

static void test_ring(void) { on_every_grid(ring); }

static void ring_backward(const Topology *topology)
{
    enum { COUNT = 700 };
    SequenceLink *link = topology->link;
    real *held = values_of(topology->data_rank, link->position, COUNT, 0), *received = dirty(COUNT);
    real *expected = values_of(topology->data_rank, (link->position + 1) % link->segments, COUNT, 0);
    link->ring_shift_begin(link, SCAN_BACKWARD, held, received, COUNT);
    link->ring_shift_finish(link);
    check_equal("the ring, backward", received, expected, COUNT);
    free(held), free(received), free(expected);
}

static void test_ring_backward(void) { on_every_grid(ring_backward); }

/* A sum may be under way while the ring turns. */
static void both(const Topology *topology)
{
    enum { COUNT = 3000 };
    SequenceLink *link = topology->link;
    int data_rank = topology->data_rank, previous = (link->position + link->segments - 1) % link->segments;
    real *local = values_of(data_rank, link->position, COUNT, 1), *incoming = dirty(COUNT), *received = dirty(COUNT);
    real *expected_sum = serial_sum(topology, SCAN_BACKWARD, COUNT, 1),
         *expected = values_of(data_rank, previous, COUNT, 2);
    real *sent = values_of(data_rank, link->position, COUNT, 2);
    link->exclusive_sum_begin(
        link, &(ExclusiveSum){.direction = SCAN_BACKWARD, .local = local, .incoming = incoming, .count = COUNT});
    link->ring_shift_begin(link, SCAN_FORWARD, sent, received, COUNT);
    link->ring_shift_finish(link);
    link->exclusive_sum_finish(link);
    check_equal("the sum beside the ring", incoming, expected_sum, COUNT);
    check_equal("the ring beside the sum", received, expected, COUNT);
    free(local), free(incoming), free(received), free(expected_sum), free(expected), free(sent);
}

static void test_both(void) { on_every_grid(both); }

/* The link of one process, which has no MPI in it, does the same. */
static void test_single(void)
{
    enum { COUNT = 10 };
    SequenceLink link = sequence_link_single();
    real *local = values_of(0, 0, COUNT, 3), *incoming = dirty(COUNT), *received = dirty(COUNT), zero[COUNT] = {0};
    check_true(link.position == 0 && link.segments == 1, "one segment");
    for (int direction = SCAN_FORWARD; direction <= SCAN_BACKWARD; direction++) {
        link.exclusive_sum_begin(
            &link, &(ExclusiveSum){
                       .direction = (ScanDirection)direction, .local = local, .incoming = incoming, .count = COUNT});
        link.exclusive_sum_finish(&link);
        check_equal("nothing comes before or after", incoming, zero, COUNT);
    }
    link.ring_shift_begin(&link, SCAN_FORWARD, local, received, COUNT);
    link.ring_shift_finish(&link);
    check_equal("the ring of one", received, local, COUNT);
    check_true(incoming[COUNT] == -12345 && received[COUNT] == -12345, "nothing is written behind the end");
    free(local), free(incoming), free(received);
}

/* ---- the world ----------------------------------------------------------------------------------------------------- */

/* Tensors of three groups, one of them larger than a message, and one that is not trained. */
static ParamTable gradient_table(void)
{
    const size_t counts[] = {1, (4 << 20) + 17, 1000};
    ParamTable table = {0};
    for (int group = 0; group < 3; group++) {
        char name[32];
        param_table_begin_group(&table);
        snprintf(name, sizeof name, "group %d", group);
        param_table_add_vector(&table, name, counts[group], 0);
        if (group == 1) param_table_not_trained(&table, param_table_add_matrix(&table, "sketch", 3, 5, INIT_NORMAL, 1));
    }
    param_table_seal(&table);
    return table;
}

static void fill_gradients(ParamStore *store)
{
    store->clear_gradients(store);
    for (int p = 0; p < store->params->count; p++) {
        const Param *param = &store->params->params[p];
        if (!param->trained) continue;
        real *gradient = store->gradient(store, p);
        for (size_t i = 0; i < param->count; i++) gradient[i] = (real)(i % 1000 + 1 + 1000 * (size_t)world().rank);
    }
}

static size_t wrong_sums(ParamStore *store, size_t size)
{
    size_t wrong = 0;
    for (int p = 0; p < store->params->count; p++) {
        const Param *param = &store->params->params[p];
        if (!param->trained) continue;
        const real *sum = store->kept_gradient(store, p);
        size_t first = store->kept(store, param).first * param_row_width(param);
        for (size_t i = first; i < first + param_store_kept_count(store, param); i++)
            wrong += sum[i - first] != (real)((i % 1000 + 1) * size + 1000 * (size * (size - 1) / 2));
    }
    return wrong;
}

/* A copy on every rank, or shares, of which some take several rounds of messages. */
static ParamStore *store_to_sum(const ParamTable *table, ShardStage stage, bool overlapped)
{
    return param_store_sharded(table, NULL, STORE_GRADIENTS, overlapped ? SUMS_OVERLAPPED : SUMS_LAST,
                               (ShardSpec){.stage = stage});
}

/* Begun group by group while others are computed, or all at the end; also groups that nobody said to be complete. */
static void test_gradient_sums(void)
{
    ParamTable table = gradient_table();
    for (int kind = 0; kind < 4; kind++) {
        bool overlapped = kind % 2, shares = kind / 2;
        ParamStore *store = store_to_sum(&table, shares ? SHARD_GRADIENTS : SHARD_NONE, overlapped);
        for (int groups = 0; groups <= 3; groups++) {
            fill_gradients(store);
            store->gradients_added(store, 1, true); /* before the last micro-batch copies are not summed */
            store->open_sums(store);
            for (int group = 2; group > 2 - groups; group--) {
                store->gradients_added(store, group, true);
                store->poll(store);
            }
            store->close_sums(store);
            size_t wrong = wrong_sums(store, (size_t)world().size);
            check_true(wrong == 0, "%zu sums are wrong, %d groups complete, overlapped %d, shares %d", wrong, groups,
                       overlapped, shares);
        }
        param_store_destroy(store);
    }
    param_table_destroy(&table);
}

/* Sums that must be rounded come out alike everywhere: copies of the parameters never part. */
static void test_gradient_bits(void)
{
    ParamTable table = gradient_table();
    for (int overlapped = 0; overlapped < 2; overlapped++) {
        ParamStore *store =
            param_store_replicated(&table, NULL, STORE_GRADIENTS, overlapped ? SUMS_OVERLAPPED : SUMS_LAST);
        real *gradient = store->gradient(store, 1);
        size_t count = table.params[1].count;
        for (size_t i = 0; i < count; i++) gradient[i] = 1 / (real)(1 + i % 97 + 31 * (size_t)world().rank);
        store->open_sums(store);
        store->gradients_added(store, table.params[1].group, true);
        store->close_sums(store);
        check_true(world_same(digest_reals(gradient, count)), "the sum has the same bits on all ranks");
        gradient[count - 1] *= (real)(1 + 0.001 * world().rank);
        check_true(world_same(digest_reals(gradient, count)) == (world().size == 1), "one other number shows");
        param_store_destroy(store);
    }
    param_table_destroy(&table);
}

/* What rank 0 holds, all hold; what another rank sends, all get; and every row is written by one rank. */
static void test_copies(void)
{
    ParamTable table = gradient_table();
    ParamStore *store = param_store_replicated(&table, NULL, STORE_VALUES, SUMS_LAST);
    size_t bad = 0, rows = 0;
    for (int p = 0; p < table.count; p++) store->kept_values(store, p)[0] = (real)(10 * p + world().rank);
    param_store_place_all(store);
    for (int p = 0; p < table.count; p++) bad += store->kept_values(store, p)[0] != (real)(10 * p);
    check_true(bad == 0, "%zu tensors are not those of rank 0", bad);
    for (int root = 0; root < world().size; root++) {
        real number = (real)(100 + world().rank);
        store->broadcast(store, &number, 1, root);
        check_true(number == (real)(100 + root), "rank %d sent %g", root, (double)number);
    }
    for (int p = 0; p < table.count; p++) {
        RowRange written = store->written(store, &table.params[p]);
        double sum = (double)(written.end - written.first);
        world_sum_doubles(&sum, 1);
        rows += (size_t)sum != param_extent(&table.params[p]);
    }
    check_true(rows == 0, "%zu tensors are not written once", rows);
    param_store_destroy(store);
    param_table_destroy(&table);
}

static void test_same(void)
{
    const uint64_t values[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63, 0x123456789abcdef};
    for (int i = 0; i < 5; i++) {
        check_true(world_same(values[i]), "%llx is the same everywhere", (unsigned long long)values[i]);
        for (int odd = 0; odd < world().size && world().size > 1; odd++) {
            uint64_t other = world().rank == odd ? values[i] ^ 1 : values[i],
                     far = world().rank == odd ? ~values[i] : values[i];
            check_true(!world_same(other), "%llx on rank %d differs in one bit", (unsigned long long)values[i], odd);
            check_true(!world_same(far), "%llx on rank %d differs in all bits", (unsigned long long)values[i], odd);
        }
    }
}

static void test_broadcast(void)
{
    const size_t sizes[] = {0, 1, 777, 3000001};
    for (int s = 0; s < 4; s++) {
        size_t bytes = sizes[s], wrong = 0;
        unsigned char *data = checked_calloc(bytes + 1, 1);
        for (size_t i = 0; i <= bytes; i++) data[i] = (unsigned char)(world().rank == 0 ? i * 31 % 251 : 255);
        unsigned char behind = data[bytes];
        world_broadcast(data, bytes);
        for (size_t i = 0; i < bytes; i++) wrong += data[i] != i * 31 % 251;
        check_true(wrong == 0 && data[bytes] == behind, "%zu of %zu bytes are wrong, or one more is written", wrong,
                   bytes);
        free(data);
    }
}

static void test_sums_and_maxima(void)
{
    double size = world().size, rank = world().rank, sums_of[] = {1, rank, -0.5}, largest[] = {rank, -rank, -3};
    world_sum_doubles(sums_of, 3);
    world_max_doubles(largest, 3);
    check_true(sums_of[0] == size && sums_of[1] == size * (size - 1) / 2 && sums_of[2] == -0.5 * size,
               "sums over ranks");
    check_true(largest[0] == size - 1 && largest[1] == 0 && largest[2] == -3, "largest over ranks");
}

/* ---- segments ------------------------------------------------------------------------------------------------------ */

/* Whole blocks, one after another, all tokens, none twice, nobody idle, numbers of blocks that differ by one at most. */
static bool segments_are_right(size_t context, size_t block, int segments)
{
    size_t next = 0, least = SIZE_MAX, most = 0, longest = 0;
    for (int s = 0; s < segments; s++) {
        TokenRange range = segment_range(context, block, s, segments);
        bool last = s == segments - 1;
        if (range.first != next || range.first % block != 0 || range.count == 0 || (!last && range.count % block != 0))
            return false;
        size_t blocks = (range.count + block - 1) / block;
        least = blocks < least ? blocks : least;
        most = blocks > most ? blocks : most;
        longest = range.count > longest ? range.count : longest;
        next = range.first + range.count;
    }
    return next == context && most - least <= 1 && segment_longest(context, block, segments) == longest;
}

static void test_segments(void)
{
    const size_t contexts[] = {1, 2, 7, 22, 64, 100, 255, 256, 257, 1000, 32768};
    const size_t blocks[] = {1, 2, 3, 4, 7, 16, 64, 100, 256, 1024};
    int checked = 0;
    for (int c = 0; c < 11; c++)
        for (int b = 0; b < 10; b++)
            for (int segments = 1; segments <= 40; segments++) {
                if ((size_t)segments > (contexts[c] + blocks[b] - 1) / blocks[b]) break;
                checked++;
                check_true(segments_are_right(contexts[c], blocks[b], segments),
                           "%zu tokens in blocks of %zu on %d segments", contexts[c], blocks[b], segments);
            }
    check_true(checked > 1000, "%d cases", checked);
    TokenRange huge = segment_range((size_t)1 << 40, 1024, 4095, 4096); /* products of sizes fit */
    check_true(huge.first == ((size_t)1 << 28) * 4095 && huge.count == (size_t)1 << 28, "a sequence of 2^40 tokens");
}

static const TestCase link_tests[] = {{"places in the grid", test_position},
                                      {"exclusive sums", test_sums},
                                      {"exclusive sum polled from a busy team", test_sum_beside_a_team},
                                      {"decayed sums", test_decayed_sums},
                                      {"ring", test_ring},
                                      {"ring, backward", test_ring_backward},
                                      {"a sum beside the ring", test_both},
                                      {"one process", test_single}};
static const TestCase world_tests[] = {{"sums of gradients", test_gradient_sums},
                                       {"the same bits everywhere", test_gradient_bits},
                                       {"copies of parameters", test_copies},
                                       {"the same value", test_same},
                                       {"broadcast", test_broadcast},
                                       {"sums and maxima", test_sums_and_maxima}};
static const TestCase segment_tests[] = {{"whole blocks, evenly", test_segments}};
static const Suite suites[] = {SUITE("link", link_tests), SUITE("world", world_tests),
                               SUITE("segments", segment_tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_link", suites, 3);
    world_stop();
    return code;
}
