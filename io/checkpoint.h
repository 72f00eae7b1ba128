/* Checkpoints (docs/format.md): all of a run in one HDF5 file, as whole tensors, whatever the number of ranks.

   Slices of ranks are never visible in the file, so a run continues on any number of ranks, and two runs that computed
   the same wrote the same. A file is written as <path>.tmp and renamed when it is on disk: under its final name it is
   always complete, and a run that is killed while writing keeps its earlier checkpoints. */
#ifndef POLYSKETCH_IO_CHECKPOINT_H
#define POLYSKETCH_IO_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "io/tokenizer.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/param_table.h"
#include "src/base/real.h"

enum { CHECKPOINT_PATH_SIZE = OPTION_TEXT_SIZE + 64 };

/* What is written, or where to read into. All pointers stay with the caller. */
typedef struct Checkpoint {
    const Config *config; /* resolved; not used for reading */
    const ParamTable *table;
    real *values;               /* (table->total_count) */
    real *m, *v;                /* (table->trained_count), moments of AdamW; both NULL: none */
    int64_t step, tokens_seen;  /* for writing */
    const Tokenizer *tokenizer; /* NULL: none */
} Checkpoint;

/* <folder>/checkpoints/step-00000100.h5 */
void checkpoint_path(const char *folder, int64_t step, char path[CHECKPOINT_PATH_SIZE]);

/* The newest complete checkpoint of a run folder; false when there is none. Local. */
bool checkpoint_find_newest(const char *folder, char path[CHECKPOINT_PATH_SIZE], int64_t *step);

/* Writes the file, and the folder where there is none. Collective over all ranks: all hold the same `checkpoint`, each
   writes its slice of every tensor. False with the same message on every rank when the folder is not writable, the disk
   too full (nothing is written then) or the finished file cannot be renamed; any other failure ends the job. */
bool checkpoint_write(const Checkpoint *checkpoint, const char *path, Message *problem);

/* The rest reads on the calling rank alone, unless it says collective. */

/* Options missing in the file keep the value `config` has, unknown ones are skipped. */
bool checkpoint_read_config(const char *path, Config *config, Message *problem);

/* All tensors of into->table; the moments only when into->m is not NULL. False with a message when the file is no
   checkpoint, or a tensor is missing or has another shape or a value that is not finite. */
bool checkpoint_read(const char *path, const Checkpoint *into, int64_t *step, int64_t *tokens_seen, Message *problem);

/* Collective: rank 0 reads, all ranks get the data and the same verdict. */
bool checkpoint_load(const char *path, const Checkpoint *into, int64_t *step, int64_t *tokens_seen, Message *problem);
bool checkpoint_load_config(const char *path, Config *config, Message *problem);

/* What a file says about itself, for people: nothing of a model is needed to read it. */
typedef struct CheckpointInfo {
    int64_t format_version, step, tokens_seen;
    char created[64], source_version[128];
} CheckpointInfo;
bool checkpoint_read_info(const char *path, CheckpointInfo *info, Message *problem);

typedef enum TensorUse { TENSOR_TRAINED, TENSOR_CONSTANT, TENSOR_USE_UNKNOWN /* no optimizer state */ } TensorUse;
typedef struct CheckpointTensor {
    const char *name;
    int dimensions;       /* 1 or 2 */
    size_t rows, columns; /* rows = 1 when dimensions = 1 */
    TensorUse use;
    const float *values; /* (rows, columns), valid during the visit */
} CheckpointTensor;
typedef void (*CheckpointVisitor)(void *context, const CheckpointTensor *tensor);

/* Calls `visit` for every tensor of /parameters, in the order of the model. */
bool checkpoint_visit(const char *path, CheckpointVisitor visit, void *context, Message *problem);

/* The tokenizer the model was trained with: the caller destroys it. Without one in the file, a name "unknown" without
   pieces; vocab_size is 0 without pieces. */
bool checkpoint_read_tokenizer(const char *path, Tokenizer *tokenizer, Message *problem);

#endif
