#define _GNU_SOURCE /* qsort_r */
#include "src/inference/scorer.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"

/* Tokens that are computed together, and by how much the length of a pass is rounded up, so that it serves many texts. */
enum { TOKENS_AT_ONCE = 8192, LENGTH_STEP = 32 };

/* The work on one list of requests. */
typedef struct Scoring {
    const Model *model;
    ParamStore *params;
    size_t block_length;
    const ScoreRequest *requests;
    Score *scores;
    real *losses;   /* or NULL */
    size_t *places; /* (count): where the losses of each begin */
    SequenceLink link;
    ModelPass *pass;  /* for texts of the length at hand */
    TokenBatch batch; /* (B, T) */
    real *batch_losses;
    uint8_t *correct;
} Scoring;

/* Tokens that a model is given: all but the last. */
static size_t length_of(const ScoreRequest *request) { return request->count - 1; }

static int by_length(const void *a, const void *b, void *requests)
{
    const ScoreRequest *all = requests;
    size_t i = *(const size_t *)a, j = *(const size_t *)b, one = all[i].count, other = all[j].count;
    if (one != other) return one > other ? -1 : 1;
    return (i > j) - (i < j);
}

/* The longest first. */
static size_t *order_of(const ScoreRequest *requests, size_t count)
{
    size_t *order = checked_calloc(count, sizeof *order);
    for (size_t i = 0; i < count; i++) order[i] = i;
    qsort_r(order, count, sizeof *order, by_length, (void *)requests);
    return order;
}

static bool computed_in_stretches(const Model *model)
{
    for (size_t i = 0; i < model->layer_count; i++)
        if (!model->layers[i].attention.kind->carried) return false;
    return true;
}

static void free_pass(Scoring *s)
{
    model_pass_destroy(s->pass);
    token_batch_destroy(&s->batch);
    free(s->batch_losses);
    free(s->correct);
    s->pass = NULL;
}

/* A pass for texts of `length` tokens and a little more. */
static void prepare_pass(Scoring *s, size_t length, size_t texts)
{
    size_t T = (length + LENGTH_STEP - 1) / LENGTH_STEP * LENGTH_STEP, several = TOKENS_AT_ONCE / T;
    PassSpec spec = {.context_length = T, .block_length = s->block_length, .stretches = 1};
    spec.sequences = several < texts ? larger(several, 1) : texts;
    size_t blocks = (T + s->block_length - 1) / s->block_length, stretches = (T + TOKENS_AT_ONCE - 1) / TOKENS_AT_ONCE;
    if (computed_in_stretches(s->model)) spec.stretches = stretches < blocks ? stretches : blocks;
    if (s->pass) {
        const PassSpec *have = model_pass_spec(s->pass);
        if (have->context_length == T && have->sequences == spec.sequences) return;
        free_pass(s);
    }
    s->pass = model_pass_create(s->model, &spec, &s->link, PASS_EVALUATE);
    s->batch = token_batch_create(spec.sequences * T, false);
    s->batch_losses = checked_calloc(spec.sequences * T, sizeof *s->batch_losses);
    s->correct = checked_calloc(spec.sequences * T, sizeof *s->correct);
}

/* What stands behind a text changes nothing before it. */
static void fill_row(TokenBatch row, size_t T, const ScoreRequest *request)
{
    for (size_t t = 0; t < T; t++) {
        bool inside = t < length_of(request);
        row.inputs[t] = inside ? request->tokens[t] : 0;
        row.targets[t] = inside && t + 1 >= request->first ? request->tokens[t + 1] : -1;
    }
}

static void take_score(Scoring *s, size_t index, size_t row)
{
    const ScoreRequest *request = &s->requests[index];
    size_t T = model_pass_spec(s->pass)->context_length;
    const real *losses = s->batch_losses + row * T;
    Score score = {.greedy = true};
    for (size_t t = request->first - 1; t < length_of(request); t++) {
        score.log_likelihood -= (double)losses[t];
        score.greedy = score.greedy && s->correct[row * T + t];
        if (s->losses) s->losses[s->places[index] + t - (request->first - 1)] = losses[t];
    }
    s->scores[index] = score;
}

/* Scores the first texts of `order`, as many as a pass takes; returns how many. */
static size_t score_some(Scoring *s, const size_t *order, size_t count)
{
    prepare_pass(s, length_of(&s->requests[order[0]]), count);
    size_t T = model_pass_spec(s->pass)->context_length, rows = model_pass_spec(s->pass)->sequences;
    for (size_t row = 0; row < rows; row++) fill_row(token_batch_from(&s->batch, row * T), T, &s->requests[order[row]]);
    model_evaluate(s->pass, s->params, &s->batch, s->batch_losses, s->correct, NULL);
    for (size_t row = 0; row < rows; row++) take_score(s, order[row], row);
    return rows;
}

void score_requests(const Model *model, ParamStore *params, size_t block_length, const ScoreRequest *requests,
                    size_t count, Score *scores, real *losses)
{
    if (count == 0) return;
    Scoring s = {
        .model = model, .params = params, .block_length = block_length, .requests = requests, .scores = scores};
    size_t *order = order_of(requests, count);
    s.link = sequence_link_single();
    s.losses = losses;
    s.places = checked_calloc(count, sizeof *s.places);
    for (size_t i = 1; i < count; i++) s.places[i] = s.places[i - 1] + requests[i - 1].count - requests[i - 1].first;
    for (size_t done = 0; done < count;) done += score_some(&s, order + done, count - done);
    free_pass(&s);
    free(s.places);
    free(order);
}
