#include "src/model/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "src/base/memory.h"

typedef struct Candidate {
    double probability;
    int32_t token;
} Candidate;

struct Sampler {
    SamplerSettings settings;
    size_t vocab_size;
    Candidate *candidates; /* (V) */
};

Sampler *sampler_create(SamplerSettings settings, size_t vocab_size)
{
    Sampler *sampler = checked_calloc(1, sizeof *sampler);
    *sampler = (Sampler){settings, vocab_size, checked_calloc(vocab_size, sizeof(Candidate))};
    return sampler;
}

void sampler_destroy(Sampler *sampler)
{
    if (!sampler) return;
    free(sampler->candidates);
    free(sampler);
}

static int by_probability(const void *a, const void *b)
{
    const Candidate *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return x->token < y->token ? -1 : x->token > y->token;
}

static int32_t most_likely(const real *logits, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* How many of the sorted candidates remain after top_k, and then after top_p of what top_k left. */
static size_t remaining(const Sampler *sampler)
{
    size_t count = sampler->vocab_size;
    if (sampler->settings.top_k > 0 && (size_t)sampler->settings.top_k < count) count = (size_t)sampler->settings.top_k;
    double total = 0, sum = 0;
    for (size_t i = 0; i < count; i++) total += sampler->candidates[i].probability;
    for (size_t i = 0; i < count; i++) {
        sum += sampler->candidates[i].probability;
        if (sum >= sampler->settings.top_p * total) return i + 1;
    }
    return count;
}

int32_t sampler_draw(Sampler *sampler, const real *logits, double uniform)
{
    size_t V = sampler->vocab_size, best = (size_t)most_likely(logits, V);
    if (sampler->settings.temperature <= 0) return (int32_t)best;
    double chosen = 0, sum = 0;
    for (size_t i = 0; i < V; i++) {
        double probability = exp(((double)logits[i] - (double)logits[best]) / sampler->settings.temperature);
        sampler->candidates[i] = (Candidate){probability, (int32_t)i};
    }
    qsort(sampler->candidates, V, sizeof *sampler->candidates, by_probability);
    size_t count = remaining(sampler);
    for (size_t i = 0; i < count; i++) chosen += sampler->candidates[i].probability;
    for (size_t i = 0; i < count; i++) {
        sum += sampler->candidates[i].probability;
        if (uniform * chosen < sum) return sampler->candidates[i].token;
    }
    return sampler->candidates[count - 1].token;
}
