/* Every option of a model and of its training: one table for the help, the files, the checkpoints and the checks. */
#ifndef POLYSKETCH_TRAIN_CONFIG_H
#define POLYSKETCH_TRAIN_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "io/source.h"
#include "src/attention/attention.h"
#include "src/base/error.h"
#include "src/base/options.h"
#include "src/core/sequence_link.h"
#include "src/model/pass.h"
#include "src/train/optimizer.h"
#include "src/train/parallel.h"
#include "src/train/sample.h"

typedef enum ScheduleKind { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_CONSTANT, SCHEDULE_WSD } ScheduleKind;

typedef struct ModelConfig {
    int64_t layers, width, heads, context_length;
    int feedforward; /* FeedForwardKind */
    int64_t feedforward_width;
    double dropout;
    double logit_soft_cap;
    double rotary_share;
    bool zero_init_branches;
    int64_t vocab_size;
} ModelConfig;

typedef struct TrainConfig {
    int64_t steps, batch_sequences, micro_batch_sequences;
    OptimizerSpec optimizer;
    double min_learning_rate;
    int64_t warmup_steps;
    int schedule;       /* ScheduleKind */
    double decay_share; /* SCHEDULE_WSD */
    double z_loss, label_smoothing;
    double clip_norm;
    int64_t max_skipped_steps;
    double skip_above_norm;
    int64_t seed;
    char init_from[OPTION_TEXT_SIZE];
    int recompute; /* RecomputeKind */
    int64_t stretch_length;
    bool document_mask;
} TrainConfig;

typedef struct DataConfig {
    char train[OPTION_TEXT_SIZE], validation[OPTION_TEXT_SIZE];
    SourceSpec source;
} DataConfig;

typedef struct EvaluateConfig {
    int64_t every, sequences, stride;
} EvaluateConfig;

typedef struct OutputConfig {
    char folder[OPTION_TEXT_SIZE];
    int64_t checkpoint_every;
    double checkpoint_minutes;
    bool checkpoint_at_start;
    int64_t keep, keep_every;
    double stop_after_minutes;
    int64_t log_every;
    double heartbeat_seconds;
} OutputConfig;

typedef struct Config {
    ModelConfig model;
    AttentionSpec attention; /* of all layers that attention.pattern does not say otherwise of */
    char pattern[OPTION_TEXT_SIZE];
    int64_t block_length; /* attention.block_length: of passes, since most kinds may be computed with any */
    TrainConfig train;
    DataConfig data;
    EvaluateConfig evaluate;
    SampleSpec sample;
    ParallelConfig parallel;
    OutputConfig output;
} Config;

/* All rows, with their values in `config`: those of this module, of the attention kinds and of the optimizers. */
OptionTable config_options(Config *config);

/* The same, after setting all of them to their defaults. */
OptionTable config_defaults(Config *config);

/* Replaces every "0 = by rule" and "auto" by its number, and checks the rules that join several options, for a job of `ranks`
   ranks; ranks = 0: those of the model alone. model.vocab_size must be set before (from the data), unless the source is made.
   False with a message that says the numbers and the remedy. */
bool config_finish(Config *config, int ranks, Message *problem);

/* Of a finished configuration. The specs of the layers stay in memory that the next call of this module overwrites. */
ModelSpec config_model_spec(const Config *config);
PassSpec config_pass_spec(const Config *config);

/* False with a message when `config` describes another model than `saved` does. The block length is compared only where it
   is part of the model (attention_blocks_matter()). */
bool config_same_model(const Config *config, const Config *saved, Message *problem);

/* A line (log_line) for each option, or each that defines the model, that is another than in `other`:
   "<what>: <name> = <value> (<where> <value in other>)". */
void config_say_differences(const Config *config, const Config *other, bool model_alone, const char *what,
                            const char *where);

/* The same for equal values of all options. */
uint64_t config_hash(const Config *config);

/* The source with its file; NULL where it reads none. */
DataSource config_data_source(const Config *config, TokenFile *file);

/* Targets of a batch that count in its loss. */
double config_counted_targets(const Config *config);

/* Ranks that share one sequence. */
int config_sequence_ranks(const Config *config, int ranks);

/* The kind of the first layer without a prefix state, which needs a sequence whole, or NULL. */
const AttentionKind *config_quadratic_kind(const Config *config);

#endif
