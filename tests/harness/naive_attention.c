#include "tests/harness/naive_attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/attention/feature_map.h"
#include "src/base/memory.h"

static bool is_kind(const AttentionLayer *layer, const char *name) { return strcmp(layer->kind->name, name) == 0; }

static const real *tensor(const AttentionLayer *layer, const ParamTable *table, const real *params, const char *suffix)
{
    /* Found by name, as an outsider would: the last tensor of this layer's prefix that ends so. */
    int anchor = layer->map ? layer->map_tensors[0] : layer->query_norm[0];
    const char *anchor_name = table->params[anchor].name;
    size_t prefix = (size_t)(strstr(anchor_name, "attention.") - anchor_name) + strlen("attention.");
    for (int i = 0; i < table->count; i++)
        if (strncmp(table->params[i].name, anchor_name, prefix) == 0 &&
            strcmp(table->params[i].name + prefix, suffix) == 0)
            return params + table->params[i].offset;
    return NULL;
}

static void norm(double *y, const double *x, const real *weight, const real *bias, size_t width)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < width; i++) mean += x[i] / (double)width;
    for (size_t i = 0; i < width; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)width;
    for (size_t i = 0; i < width; i++) y[i] = (x[i] - mean) / sqrt(variance + 1e-5) * weight[i] + bias[i];
}

static double gelu(double x) { return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

/* y (r) = sqrt(1/r) (a G1) * (c G2) */
static void product_node(double *y, const double *a, const double *c, const real *g1, const real *g2, size_t inputs,
                         size_t r)
{
    for (size_t f = 0; f < r; f++) {
        double left = 0, right = 0;
        for (size_t i = 0; i < inputs; i++) left += a[i] * g1[i * r + f], right += c[i] * g2[i * r + f];
        y[f] = left * right / sqrt((double)r);
    }
}

static void random_features(const AttentionLayer *layer, const ParamTable *table, const real *params,
                            const double *x_given, double *u)
{
    size_t h = layer->head_width, r = layer->map->width(layer);
    double *x = checked_calloc(h, sizeof *x), *left = checked_calloc(r, sizeof *left),
           *right = checked_calloc(r, sizeof *right);
    for (size_t i = 0; i < h; i++) x[i] = sqrt(layer->spec.scale) * x_given[i];
    if (layer->spec.degree == 2) memcpy(u, x, h * sizeof *u);
    const real *g1 = layer->spec.degree > 2 ? tensor(layer, table, params, "sketch.random.g1") : NULL;
    const real *g2 = layer->spec.degree > 2 ? tensor(layer, table, params, "sketch.random.g2") : NULL;
    if (layer->spec.degree == 4) product_node(u, x, x, g1, g2, h, r);
    if (layer->spec.degree == 8) {
        product_node(left, x, x, tensor(layer, table, params, "sketch.random.left.g1"),
                     tensor(layer, table, params, "sketch.random.left.g2"), h, r);
        product_node(right, x, x, tensor(layer, table, params, "sketch.random.right.g1"),
                     tensor(layer, table, params, "sketch.random.right.g2"), h, r);
        product_node(u, left, right, g1, g2, r, r);
    }
    free(x), free(left), free(right);
}

static void learned_level(const AttentionLayer *layer, const ParamTable *table, const real *params, int branch,
                          int level, double *out, const double *z, size_t inputs)
{
    size_t r = layer->map->width(layer), wide = (size_t)layer->spec.sketch_expansion * r;
    char name[64];
    const real *parts[4];
    const char *suffixes[] = {"norm.weight", "norm.bias", "in.weight", "out.weight"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "sketch.learned.branch%d.level%d.%s", branch, level, suffixes[i]);
        parts[i] = tensor(layer, table, params, name);
    }
    double *normed = checked_calloc(inputs, sizeof *normed);
    norm(normed, z, parts[0], parts[1], inputs);
    memset(out, 0, r * sizeof *out);
    for (size_t w = 0; w < wide; w++) {
        double hidden = 0;
        for (size_t i = 0; i < inputs; i++) hidden += parts[2][w * inputs + i] * normed[i];
        for (size_t f = 0; f < r; f++) out[f] += parts[3][f * wide + w] * gelu(hidden);
    }
    free(normed);
}

static void learned_features(const AttentionLayer *layer, const ParamTable *table, const real *params, const double *x,
                             double *u)
{
    size_t r = layer->map->width(layer);
    double *z = checked_calloc(r, sizeof *z), *y[2];
    for (int branch = 0; branch < 2; branch++) {
        y[branch] = checked_calloc(r, sizeof *z);
        learned_level(layer, table, params, branch + 1, 1, y[branch], x, layer->head_width);
        for (int level = 2; level <= layer->spec.sketch_levels; level++) {
            memcpy(z, y[branch], r * sizeof *z);
            learned_level(layer, table, params, branch + 1, level, y[branch], z, r);
        }
    }
    for (size_t f = 0; f < r; f++) u[f] = sqrt((double)r) * tanh(y[0][f] * y[1][f] / sqrt((double)r));
    free(z), free(y[0]), free(y[1]);
}

static void projection_features(const AttentionLayer *layer, const ParamTable *table, const real *params,
                                NaiveSide side, const double *x, double *u)
{
    size_t h = layer->head_width, r = layer->map->width(layer);
    const char *const names[2][3] = {{"query.weight", "query_norm.weight", "query_norm.bias"},
                                     {"key.weight", "key_norm.weight", "key_norm.bias"}};
    const real *parts[3];
    char name[64];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "sketch.projection.%s", names[side.keys][i]);
        parts[i] = tensor(layer, table, params, name);
    }
    double *y = checked_calloc(r, sizeof *y);
    for (size_t f = 0; f < r; f++)
        for (size_t i = 0; i < h; i++) y[f] += parts[0][(side.head * r + f) * h + i] * x[i];
    norm(u, y, parts[1], parts[2], r);
    for (size_t f = 0; f < r; f++) u[f] /= pow((double)r, 0.25);
    free(y);
}

static void performer_features(const AttentionLayer *layer, const ParamTable *table, const real *params,
                               const double *x, double *u)
{
    size_t h = layer->head_width, m = layer->map->width(layer);
    const real *projection = tensor(layer, table, params, "performer.projection");
    double square = 0, root = pow((double)h, 0.25);
    for (size_t i = 0; i < h; i++) square += x[i] * x[i] / (root * root);
    for (size_t f = 0; f < m; f++) {
        double product = 0;
        for (size_t i = 0; i < h; i++) product += projection[f * h + i] * x[i] / root;
        u[f] = exp(product - square / 2) / sqrt((double)m);
    }
}

void naive_features(const AttentionLayer *layer, const ParamTable *table, const real *params, NaiveSide side,
                    const double *x, double *u)
{
    if (is_kind(layer, "performer"))
        performer_features(layer, table, params, x, u);
    else if (strcmp(layer->map->name, "random") == 0)
        random_features(layer, table, params, x, u);
    else if (strcmp(layer->map->name, "projection") == 0)
        projection_features(layer, table, params, side, x, u);
    else
        learned_features(layer, table, params, x, u);
}

static double dot(const double *a, const double *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* Row i of a head, whose weights sum up to `exact` and `sketched`. */
static void naive_shares(const NaiveInput *input, size_t head, size_t i, double exact, double sketched, double one)
{
    if (!input->watch.heads || i < input->watch.rows->first || i >= input->watch.rows->first + input->watch.rows->count)
        return;
    HeadShares *shares = &input->watch.heads[head];
    shares->exact += exact / (exact + sketched + one);
    shares->sketched += sketched / (exact + sketched + one);
    shares->gates += input->gate ? (double)input->gate[head * input->tokens + i] : 0;
    shares->rows++;
}

/* Row i of a head, whose weights of the tokens from `first` on are `weights`. */
static void naive_distances(const NaiveInput *input, size_t head, size_t i, size_t first, const double *weights)
{
    const ShareWatch *watch = &input->watch;
    if (!watch->distances || i < watch->rows->first || i >= watch->rows->first + watch->rows->count) return;
    HeadDistances *distances = &watch->distances[head];
    double sum = 0, mean = 0;
    for (size_t j = first; j <= i; j++) sum += weights[j];
    for (size_t j = first; j <= i; j++) mean += weights[j] * (double)(i - j) / sum;
    distances->tokens++;
    distances->distance += mean;
    distances->uniform += (double)(i - first) / 2;
    for (size_t q = 0; q < DISTANCE_QUERIES; q++) {
        if (watch->queries[q] != i) continue;
        distances->queries++;
        for (size_t j = first; j <= i; j++) {
            int bucket = j == i ? 0 : 1 + (int)floor(log2((double)(i - j)));
            distances->buckets[bucket] += weights[j] / sum;
        }
    }
}

/* q and k as the kinds get them: those of softmax with qk_norm are normed already.
   One head: everything of every token, then all pairs. */
static void naive_head(const AttentionLayer *layer, const ParamTable *table, const real *params,
                       const NaiveInput *input, double *out, size_t head)
{
    const real *qkv = input->qkv;
    size_t T = input->tokens, block = input->block;
    size_t h = layer->head_width, C = h * layer->heads, r = layer->map ? layer->map->width(layer) : 1;
    const AttentionSpec *spec = &layer->spec;
    bool softmax = is_kind(layer, "softmax"), polynomial = is_kind(layer, "polynomial");
    bool performer = is_kind(layer, "performer"), polysketch = is_kind(layer, "polysketch");
    bool exact = polysketch && spec->local != LOCAL_SKETCH;
    size_t window = spec->local == LOCAL_WINDOW ? (size_t)spec->window_blocks : 0;
    double far_scale =
        polysketch && spec->far_scale > 0 ? exp((double)params[table->params[layer->far_scale].offset + head]) : 1;
    bool normed = polynomial || exact || (polysketch && strcmp(layer->map->name, "random") == 0);
    double *x[2], *n[2], *u[2];
    for (int side = 0; side < 2; side++) {
        x[side] = checked_calloc(T * h, sizeof(double));
        n[side] = checked_calloc(T * h, sizeof(double));
        u[side] = checked_calloc(T * r, sizeof(double));
        for (size_t t = 0; t < T; t++) {
            for (size_t i = 0; i < h; i++) x[side][t * h + i] = qkv[t * 3 * C + (size_t)side * C + head * h + i];
            const int *index = side ? layer->key_norm : layer->query_norm;
            if (normed)
                norm(n[side] + t * h, x[side] + t * h, params + table->params[index[0]].offset,
                     params + table->params[index[1]].offset, h);
            if (layer->map)
                naive_features(layer, table, params, (NaiveSide){head, side},
                               (layer->map->normalised_input ? n[side] : x[side]) + t * h, u[side] + t * r);
        }
    }
    double *weights = checked_calloc(T, sizeof *weights); /* of a row */
    for (size_t i = 0; i < T; i++) {
        double one = softmax ? 0 : spec->denominator_one, sums[2] = {0, 0}; /* of exact pairs, of sketched ones */
        double *o = out + i * C + head * h;
        for (size_t c = 0; c < h; c++) o[c] = 0;
        double decay = 1; /* of all gates behind j */
        size_t first = input->starts ? (size_t)input->starts[i] : 0;
        for (size_t j = i + 1; j-- > first;) {
            double weight, feature_product = layer->map ? dot(u[0] + i * r, u[1] + j * r, r) : 0;
            bool near = i / block - j / block <= window;
            if (softmax)
                weight = exp(dot(x[0] + i * h, x[1] + j * h, h) / sqrt((double)h));
            else if (exact && near && spec->local_weight == LOCAL_EXP)
                weight = exp(spec->scale * dot(n[0] + i * h, n[1] + j * h, h));
            else if (polynomial || (exact && near))
                weight = pow(spec->scale * dot(n[0] + i * h, n[1] + j * h, h), (double)spec->degree);
            else if (performer)
                weight = feature_product;
            else
                weight = far_scale * feature_product * feature_product;
            weight *= decay;
            weights[j] = weight;
            if (input->gate) decay *= exp((double)input->gate[head * T + j]);
            sums[!softmax && !polynomial && !(exact && near)] += weight;
            for (size_t c = 0; c < h; c++) o[c] += weight * qkv[j * 3 * C + 2 * C + head * h + c];
        }
        for (size_t c = 0; c < h; c++) o[c] /= sums[0] + sums[1] + one;
        naive_shares(input, head, i, sums[0], sums[1], one);
        naive_distances(input, head, i, first, weights);
    }
    free(weights);
    for (int side = 0; side < 2; side++) free(x[side]), free(n[side]), free(u[side]);
}

void naive_attention(const AttentionLayer *layer, const ParamTable *table, const real *params, const NaiveInput *input,
                     double *out)
{
    for (size_t head = 0; head < layer->heads; head++) naive_head(layer, table, params, input, out, head);
}
