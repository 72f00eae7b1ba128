#include "src/programs/store_messages.h"

#include "mpi/group_room.h"
#include "mpi/param_store_sharded.h"
#include "src/programs/plan_memory.h"

typedef struct Account {
    const ParamShards *shards;
    const Network *network;
    int ranks_per_node;            /* that have values together */
    int present[GROUP_ROOM_SLOTS]; /* group whose values are in this memory; -1: none */
    StoreMessages all;
} Account;

/* Values of a group, from those that keep them to all. On a last node that is not full a rank is on several rails, one gathering
   after the other. */
static void gather(Account *account, int group)
{
    size_t count = param_shards_group_count(account->shards, group);
    if (count == 0) return;
    int nodes = (account->shards->ranks + account->ranks_per_node - 1) / account->ranks_per_node;
    if (nodes == 1) return;
    int last = ranks_on_last_node(account->shards->ranks, account->ranks_per_node);
    int rails = (account->ranks_per_node + last - 1) / last;
    account->all.value_numbers += (double)count / account->ranks_per_node * rails;
    account->all.value_seconds +=
        rails * keeper_seconds(account->network, nodes, 1, param_shards_longest_block(account->shards, group));
}

static void gather_all(Account *account)
{
    for (int group = 0; group < account->shards->params->groups; group++) gather(account, group);
}

/* Gradients of all groups, from all ranks to those that keep their rows. */
static void sum_all(Account *account, double times)
{
    for (int group = 0; group < account->shards->params->groups; group++) {
        size_t count = param_shards_group_count(account->shards, group);
        if (count == 0) continue;
        account->all.gradient_numbers += times * (double)count;
        account->all.gradient_seconds += times * keeper_seconds(account->network, account->shards->ranks,
                                                                sharded_gradient_rounds(account->shards, group),
                                                                param_shards_longest_block(account->shards, group));
    }
}

/* ---- values in shares: a group is gathered where a pass comes to it and its memory has another's ---- */

static void acquire(Account *account, int group)
{
    int *present = &account->present[group_room_slot(account->shards, group)];
    if (*present == group) return;
    *present = group;
    gather(account, group);
}

static void acquire_forward(Account *account, const Model *model)
{
    acquire(account, model->embedding_group);
    for (size_t i = 0; i < model->layer_count; i++) acquire(account, model->layers[i].group);
}

static void acquire_backward(Account *account, const Model *model)
{
    acquire(account, model->embedding_group);
    acquire(account, model->output_group);
    for (size_t i = model->layer_count; i-- > 0;) acquire(account, model->layers[i].group);
}

/* As model_train() does: stretches but the last go forward once before. */
static void acquire_in_step(Account *account, const Model *model, int64_t micro_batches, size_t stretches)
{
    for (int slot = 0; slot < GROUP_ROOM_SLOTS; slot++) account->present[slot] = -1;
    for (int64_t i = 0; i < micro_batches; i++) {
        for (size_t k = 0; k + 1 < stretches; k++) acquire_forward(account, model);
        for (size_t k = 0; k < stretches; k++) {
            acquire_forward(account, model);
            acquire_backward(account, model);
        }
    }
}

StoreMessages store_messages(const Config *config, const Model *model, const Optimizer *optimizer, int ranks,
                             int ranks_per_node, const Network *network)
{
    ShardStage stage = (ShardStage)config->parallel.shard;
    size_t trained = model->table.trained_count, stretches = config_pass_spec(config).stretches;
    int64_t micro_batches =
        config->train.batch_sequences / config->parallel.data_ranks / config->train.micro_batch_sequences;
    if (!config->parallel.node_shared) ranks_per_node = 1;
    if (ranks == 1) return (StoreMessages){.ranks_per_node = 1};
    StoreMessages whole = {.gradient_numbers = (double)trained,
                           .gradient_seconds = halving_sum_seconds(network, ranks, trained),
                           .ranks_per_node = ranks_per_node};
    if (stage == SHARD_NONE) return whole;
    ParamShards *shards = param_shards_create(&model->table, optimizer->kind->whole_matrices, ranks);
    Account account = {.shards = shards, .network = network, .ranks_per_node = ranks_per_node};
    account.all.ranks_per_node = ranks_per_node;
    if (stage == SHARD_OPTIMIZER)
        account.all = whole;
    else
        sum_all(&account, (double)micro_batches * (double)stretches);
    if (stage == SHARD_PARAMETERS)
        acquire_in_step(&account, model, micro_batches, stretches);
    else
        gather_all(&account);
    param_shards_destroy(shards);
    return account.all;
}
