#include "mpi/group_room.h"

#include <stdlib.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { FIRST, LAST, EVEN, ODD };

struct GroupRoom {
    const ParamShards *shards;
    real *slots[GROUP_ROOM_SLOTS];
    int present[GROUP_ROOM_SLOTS]; /* whose numbers are there; -1: nobody's */
    bool *taken;                   /* (groups) */
    real **elsewhere;              /* (groups): from the system, or NULL */
};

int group_room_slot(const ParamShards *shards, int group)
{
    if (group == 0) return FIRST;
    if (group == shards->params->groups - 1) return LAST;
    return group % 2 ? ODD : EVEN;
}

static void slot_counts(const ParamShards *shards, size_t counts[GROUP_ROOM_SLOTS])
{
    for (int slot = 0; slot < GROUP_ROOM_SLOTS; slot++) counts[slot] = 0;
    for (int group = 0; group < shards->params->groups; group++) {
        size_t count = param_shards_group_count(shards, group), *most = &counts[group_room_slot(shards, group)];
        if (count > *most) *most = count;
    }
}

size_t group_room_count(const ParamShards *shards)
{
    size_t counts[GROUP_ROOM_SLOTS], sum = 0;
    slot_counts(shards, counts);
    for (int slot = 0; slot < GROUP_ROOM_SLOTS; slot++) sum += counts[slot];
    return sum;
}

GroupRoom *group_room_create(const ParamShards *shards)
{
    GroupRoom *room = checked_calloc(1, sizeof *room);
    size_t counts[GROUP_ROOM_SLOTS], groups = (size_t)shards->params->groups;
    slot_counts(shards, counts);
    room->shards = shards;
    for (int slot = 0; slot < GROUP_ROOM_SLOTS; slot++) {
        room->slots[slot] = checked_block(counts[slot] * sizeof(real));
        room->present[slot] = -1;
    }
    room->taken = checked_calloc(groups, sizeof *room->taken);
    room->elsewhere = checked_calloc(groups, sizeof *room->elsewhere);
    return room;
}

void group_room_destroy(GroupRoom *room)
{
    if (!room) return;
    for (int slot = 0; slot < GROUP_ROOM_SLOTS; slot++) free(room->slots[slot]);
    for (int group = 0; group < room->shards->params->groups; group++) free(room->elsewhere[group]);
    free(room->taken);
    free(room->elsewhere);
    free(room);
}

bool group_room_taken(const GroupRoom *room, int group) { return room->taken[group]; }

int group_room_rival(const GroupRoom *room, int group)
{
    int present = room->present[group_room_slot(room->shards, group)];
    return present >= 0 && present != group && room->taken[present] ? present : -1;
}

real *group_room_find(const GroupRoom *room, int group)
{
    int slot = group_room_slot(room->shards, group);
    return room->present[slot] == group ? room->slots[slot] : room->elsewhere[group];
}

real *group_room_take(GroupRoom *room, int group)
{
    real *here = group_room_find(room, group);
    ASSERT(!room->taken[group]);
    room->taken[group] = true;
    if (here) return here;
    if (group_room_rival(room, group) >= 0)
        return room->elsewhere[group] = checked_calloc(param_shards_group_count(room->shards, group), sizeof(real));
    int slot = group_room_slot(room->shards, group);
    room->present[slot] = group;
    return room->slots[slot];
}

void group_room_leave(GroupRoom *room, int group)
{
    room->taken[group] = false;
    free(room->elsewhere[group]);
    room->elsewhere[group] = NULL;
}
