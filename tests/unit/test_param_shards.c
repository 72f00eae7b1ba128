/* Who keeps which rows where ranks keep shares: every row has one keeper, whole matrices are not cut, and nobody keeps much more
   than others. */
#include <stdlib.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/core/param_shards.h"
#include "src/model/model.h"
#include "tests/harness/check.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

static const int rank_counts[] = {1, 2, 3, 4, 7, 16, 40};
enum { RANK_COUNTS = sizeof rank_counts / sizeof *rank_counts };

/* With tensors that are not trained; and with real proportions. */
static Model *make_model(const char *more)
{
    static const Variant random_sketch = {"random", "kind=polysketch sketch=random"};
    Config config = variant_config(&random_sketch, more);
    return variant_model(&config);
}

/* Rows of a tensor that nobody keeps, or several do. */
static size_t bad_rows(const ParamShards *shards, const Param *param)
{
    size_t bad = 0, extent = param_extent(param);
    int *keepers = checked_calloc(extent, sizeof *keepers);
    for (int rank = 0; rank < shards->ranks; rank++) {
        RowRange rows = param_shards_rows(shards, param, rank);
        for (size_t row = rows.first; row < rows.end; row++) keepers[row]++;
    }
    for (size_t row = 0; row < extent; row++) bad += keepers[row] != 1;
    free(keepers);
    return bad;
}

/* Matrices of a tensor that a rank keeps a part of. */
static size_t cut_matrices(const ParamShards *shards, const Param *param)
{
    size_t cut = 0, rows_each = param->hidden_parts ? param->rows / (size_t)param->hidden_parts : 1;
    for (int rank = 0; rank < shards->ranks; rank++) {
        RowRange rows = param_shards_rows(shards, param, rank);
        cut += rows.first % rows_each != 0 || rows.end % rows_each != 0;
    }
    return cut;
}

static void test_keepers(void)
{
    Model *model = make_model("model.layers=3 model.vocab_size=37");
    for (int i = 0; i < RANK_COUNTS; i++)
        for (int whole = 0; whole < 2; whole++) {
            ParamShards *shards = param_shards_create(&model->table, whole, rank_counts[i]);
            for (int p = 0; p < model->table.count; p++) {
                const Param *param = &model->table.params[p];
                if (!param->trained) continue;
                size_t bad = bad_rows(shards, param), cut = whole ? cut_matrices(shards, param) : 0;
                check_true(bad == 0, "%s on %d ranks: %zu rows do not have one keeper", param->name, rank_counts[i],
                           bad);
                check_true(cut == 0, "%s on %d ranks: %zu matrices are cut", param->name, rank_counts[i], cut);
            }
            param_shards_destroy(shards);
        }
    model_destroy(model);
}

/* The blocks of a rank fill its memory without touching. */
static void test_places(void)
{
    Model *model = make_model("model.layers=3");
    size_t *places = checked_calloc((size_t)model->table.groups, sizeof *places), total = 0;
    ParamShards *shards = param_shards_create(&model->table, true, 3);
    for (int rank = 0; rank < 3; rank++) {
        size_t count = param_shards_places(shards, rank, places), end = 0;
        for (int group = 0; group < model->table.groups; group++) {
            ShardBlock block = param_shards_block(shards, group, rank);
            check_true(places[group] >= end && places[group] * sizeof(real) % 64 == 0, "place %zu of group %d",
                       places[group], group);
            end = places[group] + block.end - block.first;
            total += block.end - block.first;
        }
        check_true(end <= count, "%zu numbers in room for %zu", end, count);
    }
    check_true(total == model->table.trained_count, "%zu numbers in all, not %zu", total, model->table.trained_count);
    param_shards_destroy(shards);
    free(places);
    model_destroy(model);
}

/* The most that a rank keeps, of what each would keep if all kept alike. */
static double largest_share(const Model *model, bool whole, int ranks)
{
    size_t *places = checked_calloc((size_t)model->table.groups, sizeof *places), most = 0;
    ParamShards *shards = param_shards_create(&model->table, whole, ranks);
    for (int rank = 0; rank < ranks; rank++) {
        size_t count = param_shards_places(shards, rank, places);
        if (count > most) most = count;
    }
    param_shards_destroy(shards);
    free(places);
    return (double)most * ranks / (double)model->table.trained_count;
}

/* GPT-2's proportions: by rows almost alike; whole matrices are seven of a layer, so that many ranks divide them less evenly. */
static void test_balance(void)
{
    Model *model = make_model("model.layers=12 model.width=96 model.heads=6 model.vocab_size=6288");
    for (int i = 0; rank_counts[i] <= 16; i++) {
        double rows = largest_share(model, false, rank_counts[i]), whole = largest_share(model, true, rank_counts[i]);
        check_true(rows >= 1 && rows < 1.02, "by rows on %d ranks: %.3f", rank_counts[i], rows);
        check_true(whole >= 1 && whole < (rank_counts[i] <= 4 ? 1.05 : 1.35), "by matrices on %d ranks: %.3f",
                   rank_counts[i], whole);
    }
    model_destroy(model);
}

static const TestCase tests[] = {{"keepers", test_keepers}, {"places", test_places}, {"balance", test_balance}};
static const Suite suites[] = {SUITE("shards of parameters", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_param_shards", suites, 1);
    world_stop();
    return code;
}
