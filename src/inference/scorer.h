/* How likely a model finds the ends of texts: sums of losses over them. One process. */
#ifndef POLYSKETCH_INFERENCE_SCORER_H
#define POLYSKETCH_INFERENCE_SCORER_H

#include "src/model/pass.h"

/* A text of which the tokens from `first` on, at least 1 of `count`, are scored; first > 0, for a model predicts what comes after
   something. The tokens are the caller's. */
typedef struct ScoreRequest {
    const int32_t *tokens; /* (count) */
    size_t count, first;
} ScoreRequest;

typedef struct Score {
    double log_likelihood; /* of the scored tokens together, natural logarithm */
    bool greedy;           /* each of them is the likeliest one at its place */
} Score;

/* scores (count) of requests (count); `losses`, unless NULL: those of the scored tokens, one request behind the other. Texts of
   about the same length are computed together, long ones in stretches where the kinds allow it. */
void score_requests(const Model *model, ParamStore *params, size_t block_length, const ScoreRequest *requests,
                    size_t count, Score *scores, real *losses);

#endif
