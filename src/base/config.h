/* Every option of a model and of its training: one table for the help, the files, the checkpoints and the checks. */
#ifndef POLYSKETCH_BASE_CONFIG_H
#define POLYSKETCH_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"
#include "src/base/options.h"

typedef enum FeedForwardKind { FEEDFORWARD_GLU, FEEDFORWARD_GELU } FeedForwardKind;
typedef enum SketchKind { SKETCH_RANDOM, SKETCH_LEARNED } SketchKind;
typedef enum LocalKind { LOCAL_EXACT, LOCAL_SKETCH } LocalKind;
typedef enum ScheduleKind { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_CONSTANT } ScheduleKind;
typedef enum RecomputeKind { RECOMPUTE_NONE, RECOMPUTE_ATTENTION, RECOMPUTE_LAYER } RecomputeKind;
typedef enum ScanKind { SCAN_EXSCAN, SCAN_IEXSCAN, SCAN_CHAIN } ScanKind;
/* In the order of the table in src/attention/attention.c. */
typedef enum AttentionKindId {
    ATTENTION_SOFTMAX,
    ATTENTION_POLYNOMIAL,
    ATTENTION_POLYSKETCH,
    ATTENTION_PERFORMER,
} AttentionKindId;

typedef struct ModelConfig {
    int64_t layers, width, heads, context_length;
    int feedforward; /* FeedForwardKind */
    int64_t feedforward_width;
    double dropout;
    int64_t vocab_size;
} ModelConfig;

typedef struct AttentionConfig {
    int kind; /* AttentionKindId */
    int64_t degree;
    double scale, denominator_one;
    int sketch; /* SketchKind */
    int64_t sketch_size;
    int local; /* LocalKind */
    int64_t features;
} AttentionConfig;

typedef struct TrainConfig {
    int64_t steps, batch_sequences, micro_batch_sequences;
    double learning_rate, min_learning_rate;
    int64_t warmup_steps;
    int schedule; /* ScheduleKind */
    double weight_decay, beta1, beta2, epsilon, clip_norm;
    int64_t max_skipped_steps;
    double skip_above_norm;
    int64_t seed;
    int recompute; /* RecomputeKind */
    int64_t stretch_length;
} TrainConfig;

typedef struct DataConfig {
    char train[OPTION_TEXT_SIZE], validation[OPTION_TEXT_SIZE];
} DataConfig;

typedef struct EvaluateConfig {
    int64_t every, sequences, stride;
} EvaluateConfig;

typedef struct ParallelConfig {
    int64_t data_ranks;
    int scan; /* ScanKind */
} ParallelConfig;

typedef struct OutputConfig {
    char folder[OPTION_TEXT_SIZE];
    int64_t checkpoint_every;
    double checkpoint_minutes;
    bool checkpoint_at_start;
    int64_t keep, keep_every;
    double stop_after_minutes;
    int64_t log_every;
} OutputConfig;

typedef struct Config {
    ModelConfig model;
    AttentionConfig attention;
    int64_t
        block_length; /* attention.block_length. Layers keep an AttentionConfig, but take b from the shape of a pass */
    TrainConfig train;
    DataConfig data;
    EvaluateConfig evaluate;
    ParallelConfig parallel;
    OutputConfig output;
} Config;

/* The rows above with their values in `config`. */
OptionTable config_options(Config *config);

/* Replaces every "0 = by rule" and "auto" by its number. model.vocab_size must be set before (from the data). */
void config_resolve(Config *config);

/* Rules that join several options of a resolved configuration: the model alone, and the model on a number of ranks.
   False with a message that says the numbers and the remedy. */
bool config_check_model(const Config *config, Message *problem);
bool config_check_ranks(const Config *config, int ranks, Message *problem);

/* The rule that config_resolve() itself needs: ranks and batch divide by parallel.data_ranks. */
bool config_check_data_ranks(const Config *config, int ranks, Message *problem);

/* False with a message when `config` describes another model than `saved` does. The block length is compared only where it
   is part of the model (polysketch with local = exact). */
bool config_same_model(const Config *config, const Config *saved, Message *problem);

/* The same for equal values of all options. */
uint64_t config_hash(const Config *config);

/* Stretches into which train.stretch_length cuts a sequence, equal to a block; 1 when it does not. */
int64_t config_stretches(const Config *config);

/* Ranks that share one sequence. */
int config_sequence_ranks(const Config *config, int ranks);

#endif
