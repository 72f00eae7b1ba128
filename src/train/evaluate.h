/* Loss of a model on a token file, loss and accuracy on a made source, on any grid of ranks. */
#ifndef POLYSKETCH_TRAIN_EVALUATE_H
#define POLYSKETCH_TRAIN_EVALUATE_H

#include <stdint.h>

#include "io/loss_file.h"
#include "io/source.h"
#include "mpi/topology.h"
#include "src/attention/shares.h"
#include "src/model/pass.h"
#include "src/train/stop.h"

typedef struct Evaluation {
    bool complete;           /* false: a rank wished to stop, and nothing below is set */
    double loss;             /* nats per token */
    double perplexity;       /* exp(loss) */
    double bits_per_byte;    /* NaN when the token file has no pieces */
    int64_t windows, stride; /* batch_loader.h */
    int64_t tokens, bytes;   /* of the targets that were scored */
    double seconds;
    /* Of a made source; NaN of a file. Shares of all targets, of the sequences, of the targets of each stratum. */
    double accuracy, sequences_right, accuracy_by_stratum[SOURCE_MAX_STRATA];
    /* (layers, H), of the tokens whose targets are scored; of a made source all tokens. The evaluator's, until it runs again. */
    const HeadShares *shares;
    const HeadDistances *distances; /* likewise, of a pass that measures them; else NULL */
} Evaluation;

typedef struct Evaluator Evaluator;

/* Data for evaluations over the first `sequences` windows of `source` (0: all, of a file), `stride` apart (0: the context
   length), as many at a time per data rank as `pass` holds sequences. The pass may be that of a training run: evaluation then
   takes no memory of its own. NULL with a message when the file is too short. The file of the source, topology and pass must
   outlive the evaluator. */
Evaluator *evaluator_create(const Topology *topology, const DataSource *source, ModelPass *pass,
                            const EvaluateConfig *config, Message *problem);
void evaluator_destroy(Evaluator *evaluator);

int64_t evaluator_windows(const Evaluator *evaluator);

/* Collective over all ranks; every rank gets the same result. Losses per token go to `losses` unless it is NULL;
   there those that are not scored are NaN. With a `clock` a wish to stop (src/train/stop.h) ends it early; not together with
   `losses`. */
Evaluation evaluator_run(Evaluator *evaluator, ParamStore *params, LossFile *losses, const StopClock *clock);

#endif
