/* Memory for all values, or all gradients, of the groups that a pass is at (parallel.shard). The first group and the last,
   which are the embedding and the output layer, have memory of their own; those between, the layers, take turns in two, odd and
   even, so that a neighbour can be on its way. A group that finds its memory taken gets some from the system while it is here.

   What a group leaves behind stays readable until another takes its place. Local. */
#ifndef POLYSKETCH_MPI_GROUP_ROOM_H
#define POLYSKETCH_MPI_GROUP_ROOM_H

#include <stdbool.h>

#include "src/core/param_shards.h"

typedef struct GroupRoom GroupRoom;

/* Which of the memories a group is in: those with the same number take turns. */
enum { GROUP_ROOM_SLOTS = 4 };
int group_room_slot(const ParamShards *shards, int group);

/* `shards` must outlive it. */
GroupRoom *group_room_create(const ParamShards *shards);
void group_room_destroy(GroupRoom *room);

/* Memory for the trained tensors of a group (param_shards_group_count() numbers, as they lie in the plain layout), until
   group_room_leave(); with whatever is in it. */
real *group_room_take(GroupRoom *room, int group);
void group_room_leave(GroupRoom *room, int group);

bool group_room_taken(const GroupRoom *room, int group);
/* The memory that a group took, or has left and nobody else taken since; or NULL. */
real *group_room_find(const GroupRoom *room, int group);
/* Another group that has taken the memory of this one, or -1. */
int group_room_rival(const GroupRoom *room, int group);

/* Numbers of it where groups do not meet: the first, the last, and the largest odd and even ones between. */
size_t group_room_count(const ParamShards *shards);

#endif
