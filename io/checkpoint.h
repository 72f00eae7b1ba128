/* Checkpoints (docs/format.md): all of a run in one HDF5 file, as whole tensors, whatever the number of ranks.

   Slices of ranks are never visible in the file, so a run continues on any number of ranks, and two runs that computed
   the same wrote the same. Every dataset carries the digest of its values. A file is written under a temporary name,
   brought to disk, read back from there and compared with the digests, and then renamed: under its final name it is
   complete and true, and a run that is killed while writing keeps its earlier checkpoints. */
#ifndef POLYSKETCH_IO_CHECKPOINT_H
#define POLYSKETCH_IO_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "io/tokenizer.h"
#include "src/base/error.h"
#include "src/base/options.h"
#include "src/core/param_store.h"

enum { CHECKPOINT_PATH_SIZE = OPTION_TEXT_SIZE + 64 };

/* How far a run is. */
typedef struct Progress {
    int64_t step;                 /* done, skipped ones included */
    int64_t tokens_seen;          /* in all of them */
    int64_t sequences_seen;       /* the number of the next training sequence */
    int64_t skipped_steps;        /* whose gradients were not used */
    int64_t optimizer_steps;      /* since the states of the optimizer began */
    double average_gradient_norm; /* running mean over steps that were used; 0 before the first */
} Progress;

/* What a model was trained on. */
typedef struct CheckpointData {
    int64_t tokens;
    char digest[32]; /* of samples of the file, see token_file_digest() */
} CheckpointData;

/* What is written, or where to read into. All pointers stay with the caller. */
typedef struct Checkpoint {
    OptionTable options; /* of the run, finished; not used for reading */
    ParamStore *store;   /* parameters, and states of the optimizer where it keeps some */
    Progress progress;
    const Tokenizer *tokenizer; /* NULL: none */
    const CheckpointData *data; /* for writing; NULL: none */
    uint64_t *digests;          /* for comparing and writing: of checkpoint_digests(); NULL: taken anew by each */
} Checkpoint;

/* XXH3 of every tensor, in the order of the file: one reading of all memory. The caller frees it with free(). Collective. */
uint64_t *checkpoint_digests(const Checkpoint *checkpoint);

/* Writes the file, and the folder where there is none. Collective over all ranks: all hold the same `checkpoint`, each
   writes its slice of every tensor and reads a share of the file back. False with the same message on every rank when
   that fails for whatever reason; the file is then removed, and one that had its name is as before. */
bool checkpoint_write(const Checkpoint *checkpoint, const char *path, Message *problem);

/* About the bytes of the file. Local. */
uint64_t checkpoint_bytes(const Checkpoint *checkpoint);

/* Could it be written to this run folder, whose folder checkpoints/ is there? A file of the same size, with one number of
   each rank and else without values, goes the way of a checkpoint: room reserved, written by all ranks, brought to disk, read
   back by all, renamed, removed. A killed job leaves a name that ends in ".tmp". Collective; milliseconds; false with the same
   message on every rank. */
bool checkpoint_probe(const Checkpoint *checkpoint, const char *folder, Message *problem);

/* Do all ranks hold the same values and states? A message names the ranks that differ from most. Collective. */
bool checkpoint_same_on_all_ranks(const Checkpoint *checkpoint, Message *problem);

/* ---- the checkpoints of a run folder (io/checkpoint_folder.c); local ---- */

/* <folder>/checkpoints/step-00000100.h5 */
void checkpoint_path(const char *folder, int64_t step, char path[CHECKPOINT_PATH_SIZE]);

/* The newest checkpoint of a run folder with a step of at most `limit`; false when there is none. */
bool checkpoint_find_newest(const char *folder, int64_t limit, char path[CHECKPOINT_PATH_SIZE], int64_t *step);

/* The steps of all, the oldest first, as "0, 10, 20"; of many the newest. False when there are none. */
bool checkpoint_list(const char *folder, char *text, size_t size);

/* Renames a damaged one to <path>.damaged, where nothing looks for it again, and says in `place` where it is. One that has that
   name already is first kept under another (disk_keep_aside), with a line. */
bool checkpoint_set_aside(const char *path, char place[CHECKPOINT_PATH_SIZE + 16], Message *problem);

/* Removes all but the newest `keep` and those whose step is a multiple of `keep_every` (0: none); step 0 stays only when
   `keep_start`. keep = 0: all but step 0 are new enough. Returns how many were removed. */
int checkpoint_remove_old(const char *folder, int64_t keep, int64_t keep_every, bool keep_start);

/* ---- reading ---- */

/* The rest reads on the calling rank alone, unless it says collective. */

/* Options missing in the file keep the value they have; of unknown ones see below. */
bool checkpoint_read_options(const char *path, const OptionTable *options, Message *problem);

/* True with a message that names them when the file has options that are not in the table, as one of a newer program may: they
   are not used, which is worth a warning. */
bool checkpoint_has_unknown_options(const char *path, const OptionTable *options, Message *names);

/* What becomes of a tensor when a model begins with what the file of another holds (io/checkpoint_init.c). */
typedef enum TensorFate {
    TENSOR_TAKEN, /* both have it, in the same shape */
    TENSOR_NEW,   /* the file has none of this name */
    TENSOR_LEFT,  /* the model has none of this name */
    TENSOR_FATES
} TensorFate;
typedef void (*TensorFateVisitor)(void *context, TensorFate fate, const char *name);

/* Calls `visit` (NULL: no one) for those of the table in its order, then for others of the file in the order of that. False
   with a message when the file is no checkpoint, when a tensor has another shape (all of them are counted, the first are
   named with both shapes), or when nothing would be taken. */
bool checkpoint_match(const char *path, const ParamTable *params, TensorFateVisitor visit, void *context,
                      Message *problem);

/* Reads those that are taken into the store; others stay as they are, states too. Fails as checkpoint_match() and, for values, as
   checkpoint_load() do. Collective: rank 0 reads, all ranks get the values and the same verdict. */
bool checkpoint_load_matching(const char *path, ParamStore *store, Message *problem);

/* Is every bit that can be checked what was written? A damaged file is one to set aside; what cannot be opened at all
   (permission, in use, of a newer version) is not known to be damaged. */
typedef enum CheckpointHealth { CHECKPOINT_WHOLE, CHECKPOINT_DAMAGED, CHECKPOINT_CLOSED } CheckpointHealth;
CheckpointHealth checkpoint_examine(const char *path, int64_t step, Message *problem);

/* What the model was trained on; tokens = -1 in older files, which do not say. */
bool checkpoint_read_data(const char *path, CheckpointData *data, Message *problem);

/* All tensors of into->store and into->progress; states only where the store keeps some, and `with_states`. False with a message
   when the file is no checkpoint, or a tensor is missing, has another shape, another digest than was written, or a value
   that is not finite; or when the file has tensors that the store has not. Collective over the processes of the store: process
   0 reads a tensor at a time, all get the rows that they keep, and the same verdict. */
bool checkpoint_load(const char *path, Checkpoint *into, bool with_states, Message *problem);

/* Collective: rank 0 reads, all ranks get the data and the same verdict. `bytes`: size of the struct behind the options. */
bool checkpoint_load_options(const char *path, const OptionTable *options, size_t bytes, Message *problem);

/* What a file says about itself, for people: nothing of a model is needed to read it. */
typedef struct CheckpointInfo {
    int64_t format_version, step, tokens_seen;
    char created[64], source_version[128];
} CheckpointInfo;
bool checkpoint_read_info(const char *path, CheckpointInfo *info, Message *problem);

typedef enum TensorUse { TENSOR_TRAINED, TENSOR_CONSTANT, TENSOR_USE_UNKNOWN /* no optimizer state */ } TensorUse;
typedef struct CheckpointTensor {
    const char *name;
    TensorShape shape;
    TensorUse use;
    const float *values; /* (shape), valid during the visit */
} CheckpointTensor;
typedef void (*CheckpointVisitor)(void *context, const CheckpointTensor *tensor);

/* Calls `visit` for every tensor of /parameters, in the order of the model. */
bool checkpoint_visit(const char *path, CheckpointVisitor visit, void *context, Message *problem);

/* The same for the states of the optimizer: `begin` for each state ("momentum"), then `visit` for its tensors. Nothing where
   there are none. */
typedef void (*CheckpointStateVisitor)(void *context, const char *state);
bool checkpoint_visit_states(const char *path, CheckpointStateVisitor begin, CheckpointVisitor visit, void *context,
                             Message *problem);

/* The tensors of /parameters of two files, by their names: those of the first in its order, then others of the second. NULL: that
   file has none of this name (io/checkpoint_compare.c). */
typedef void (*CheckpointPairVisitor)(void *context, const CheckpointTensor *first, const CheckpointTensor *second);
bool checkpoint_visit_both(const char *path, const char *other, CheckpointPairVisitor visit, void *context,
                           Message *problem);

/* The tokenizer the model was trained with: the caller destroys it. Without one in the file, a name "unknown" without
   pieces; vocab_size is 0 without pieces. */
bool checkpoint_read_tokenizer(const char *path, Tokenizer *tokenizer, Message *problem);

#endif
