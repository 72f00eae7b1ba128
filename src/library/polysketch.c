/* The library (include/polysketch.h): what programs and it do with a model is src/inference; here errors become return values. */
#include "include/polysketch.h"

#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/denormals.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/processor.h"
#include "src/base/version.h"
#include "src/inference/generator.h"
#include "src/library/loaded_model.h"
#include "src/inference/scorer.h"

struct polysketch_model {
    LoadedModel loaded;
};

static _Thread_local Message last_problem;

const char *polysketch_version(void) { return source_version(); }

const char *polysketch_error(void) { return last_problem.text; }

/* ---- errors as return values ---- */

/* Does the work; whatever goes wrong is in last_problem. The caller's floating-point modes are as before. */
static int guarded(ErrorWork *work, void *arguments)
{
    fenv_t modes;
    fegetenv(&modes);
    denormals_flush();
    bool good = error_catch(work, arguments, &last_problem);
    fesetenv(&modes);
    return good ? 0 : -1;
}

static bool check_tokens(const polysketch_model *model, const int32_t *tokens, size_t count, size_t least,
                         Message *problem)
{
    size_t vocab_size = polysketch_vocab_size(model);
    if (count < least) return fail(problem, "%zu tokens are too few: give at least %zu", count, least);
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (size_t)tokens[i] >= vocab_size)
            return fail(problem, "token %zu is %d, but the model has %zu tokens, from 0 on", i, (int)tokens[i],
                        vocab_size);
    return true;
}

/* ---- models ---- */

typedef struct OpenArguments {
    const char *checkpoint;
    polysketch_model *model;
} OpenArguments;

static bool open_model(void *arguments, Message *problem)
{
    OpenArguments *open = arguments;
    LoadedModel loaded;
    if (!open->checkpoint) return fail(problem, "the name of the checkpoint is NULL");
    if (!processor_suits(processor_needed(), processor_present(), problem->text, sizeof problem->text)) return false;
    if (!loaded_model_open(&loaded, open->checkpoint, problem)) return false;
    open->model = checked_calloc(1, sizeof *open->model);
    open->model->loaded = loaded;
    param_store_acquire_all(loaded.params);
    return true;
}

polysketch_model *polysketch_open(const char *checkpoint)
{
    OpenArguments open = {checkpoint, NULL};
    return guarded(open_model, &open) == 0 ? open.model : NULL;
}

void polysketch_close(polysketch_model *model)
{
    if (!model) return;
    loaded_model_destroy(&model->loaded);
    free(model);
}

size_t polysketch_vocab_size(const polysketch_model *model) { return model->loaded.model->vocab_size; }

size_t polysketch_context_length(const polysketch_model *model)
{
    return (size_t)model->loaded.config.model.context_length;
}

/* ---- text ---- */

typedef struct EncodeArguments {
    polysketch_model *model;
    const char *text;
    size_t length;
    int32_t *tokens;
    size_t room, *count;
} EncodeArguments;

static bool encode(void *arguments, Message *problem)
{
    EncodeArguments *e = arguments;
    TokenList list = {0};
    bool good = tokenizer_encode(&e->model->loaded.tokenizer, e->text, e->length, &list, problem);
    *e->count = list.count;
    if (good && list.count > e->room)
        good = fail(problem, "the text has %zu tokens, but there is room for %zu. Call again with more", list.count,
                    e->room);
    if (good && list.count > 0) memcpy(e->tokens, list.ids, list.count * sizeof *list.ids);
    free(list.ids);
    return good;
}

int polysketch_encode(polysketch_model *model, const char *text, size_t length, int32_t *tokens, size_t room,
                      size_t *count)
{
    return guarded(encode, &(EncodeArguments){model, text, length, tokens, room, count});
}

const char *polysketch_piece(const polysketch_model *model, int32_t token, size_t *length)
{
    const Tokenizer *tokenizer = &model->loaded.tokenizer;
    *length = 0;
    bool known = tokenizer_has_pieces(tokenizer) && token >= 0 && token < tokenizer->vocab_size;
    return known ? (const char *)tokenizer_piece(tokenizer, token, length) : NULL;
}

/* ---- losses ---- */

typedef struct ScoreArguments {
    polysketch_model *model;
    const int32_t *tokens;
    size_t count;
    float *losses;
} ScoreArguments;

static bool score(void *arguments, Message *problem)
{
    ScoreArguments *s = arguments;
    LoadedModel *loaded = &s->model->loaded;
    if (!check_tokens(s->model, s->tokens, s->count, 2, problem)) return false;
    real *losses = checked_calloc(s->count - 1, sizeof *losses);
    ScoreRequest request = {s->tokens, s->count, 1};
    Score sum;
    score_requests(loaded->model, loaded->params, (size_t)loaded->config.block_length, &request, 1, &sum, losses);
    for (size_t i = 0; i + 1 < s->count; i++) s->losses[i] = (float)losses[i];
    free(losses);
    return true;
}

int polysketch_score(polysketch_model *model, const int32_t *tokens, size_t count, float *losses)
{
    return guarded(score, &(ScoreArguments){model, tokens, count, losses});
}

/* ---- generating ---- */

typedef struct GenerateArguments {
    polysketch_model *model;
    const int32_t *prompt;
    size_t count;
    const polysketch_sampling *sampling;
    polysketch_sink sink;
    void *context;
    size_t written;
} GenerateArguments;

/* ByteSink */
static void pass_on(void *arguments, const uint8_t *bytes, size_t count)
{
    GenerateArguments *g = arguments;
    if (g->sink) g->sink(g->context, (const char *)bytes, count);
}

static bool check_sampling(const polysketch_sampling *sampling, const Tokenizer *tokenizer, Message *problem)
{
    bool stops = sampling->stop && sampling->stop[0];
    if (!(sampling->temperature >= 0) || !isfinite(sampling->temperature))
        return fail(problem, "a temperature of %g: it must be a number from 0 on", sampling->temperature);
    if (!(sampling->top_p >= 0 && sampling->top_p <= 1))
        return fail(problem, "a top_p of %g: it must be a number from 0 to 1", sampling->top_p);
    if (sampling->top_k > INT32_MAX) return fail(problem, "a top_k of %zu: it must be below 2^31", sampling->top_k);
    if (sampling->tokens > (size_t)1 << 40)
        return fail(problem, "%zu tokens are more than anybody can write", sampling->tokens);
    if (stops && !tokenizer_has_pieces(tokenizer))
        return fail(problem, "a stop text needs text, but this model has no table of pieces. Give none");
    return true;
}

static bool generate(void *arguments, Message *problem)
{
    GenerateArguments *g = arguments;
    LoadedModel *loaded = &g->model->loaded;
    const polysketch_sampling *sampling = g->sampling;
    if (!check_tokens(g->model, g->prompt, g->count, 1, problem)) return false;
    if (!check_sampling(sampling, &loaded->tokenizer, problem)) return false;
    GeneratorSettings settings = {
        .sampler = {sampling->temperature, (int64_t)sampling->top_k, sampling->top_p},
        .seed = sampling->seed,
        .tokens = sampling->tokens,
        .stop = sampling->stop ? sampling->stop : "",
    };
    DecodeShape shape = {g->count + sampling->tokens, (size_t)loaded->config.block_length};
    Generator *generator = generator_create(loaded->model, loaded->params, &loaded->tokenizer, shape, 1, &settings);
    Continuation text = {.sink = pass_on, .context = g};
    generator_read(generator, 0, g->prompt, g->count);
    generator_write(generator, &text, 1);
    g->written = text.written;
    generator_destroy(generator);
    return true;
}

int polysketch_generate(polysketch_model *model, const int32_t *prompt, size_t count,
                        const polysketch_sampling *sampling, polysketch_sink sink, void *context, size_t *written)
{
    GenerateArguments arguments = {model, prompt, count, sampling, sink, context, 0};
    int code = guarded(generate, &arguments);
    if (written) *written = arguments.written;
    return code;
}
