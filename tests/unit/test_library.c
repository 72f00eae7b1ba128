/* The library gives what the model gives, and returns from whatever goes wrong. */
#include "include/polysketch.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "mpi/param_store_replicated.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/model/decode.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* The alphabet of the variants' models. */
static const char letters[] = "abcdefghijk";
enum { LETTERS = sizeof letters - 1 };

static Tokenizer tokenizer_of_letters(void)
{
    Tokenizer tokenizer = {.name = "letters", .vocab_size = LETTERS};
    tokenizer.bytes = checked_calloc(LETTERS, 1);
    tokenizer.ends = checked_calloc(LETTERS, sizeof *tokenizer.ends);
    memcpy(tokenizer.bytes, letters, LETTERS);
    for (size_t i = 0; i < LETTERS; i++) tokenizer.ends[i] = i + 1;
    return tokenizer;
}

/* A model that has learned nothing, beside the library's view of its checkpoint. */
typedef struct Fixture {
    Config config;
    Model *model;
    ParamStore *store;
    polysketch_model *opened;
} Fixture;

static Fixture open_variant(const char *name, bool pieces)
{
    int v = 0;
    while (v < variant_count && strcmp(variants[v].name, name) != 0) v++;
    CHECK(v < variant_count, "there is no variant %s", name);
    Message problem = {""};
    Fixture f = {.config = variant_config(&variants[v], NULL)};
    f.model = variant_model(&f.config);
    f.store = param_store_replicated(&f.model->table, NULL, STORE_VALUES, SUMS_LAST);
    param_store_initialise(f.store, 7);
    Tokenizer tokenizer = tokenizer_of_letters();
    Checkpoint checkpoint = {
        .options = config_options(&f.config), .store = f.store, .tokenizer = pieces ? &tokenizer : NULL};
    check_true(checkpoint_write(&checkpoint, scratch_path("model.h5"), &problem), "%s", problem.text);
    tokenizer_destroy(&tokenizer);
    f.opened = polysketch_open(scratch_path("model.h5"));
    check_true(f.opened != NULL, "%s", polysketch_error());
    return f;
}

static void close_fixture(Fixture *f)
{
    polysketch_close(f->opened);
    param_store_destroy(f->store);
    model_destroy(f->model);
}

/* ByteSink of the library: appends to a string. */
static void append(void *context, const char *bytes, size_t count) { strncat(context, bytes, count); }

/* Token by token: the losses of a text, and the likeliest letters after it. */
static void by_decoder(const Fixture *f, const int32_t *tokens, size_t count, double *losses, char *after,
                       size_t written)
{
    size_t V = f->model->vocab_size;
    param_store_acquire_all(f->store);
    Decoder *decoder = decoder_create(f->model, f->store, (DecodeShape){100, (size_t)f->config.block_length}, 1);
    const real *logits = decoder_step(decoder, tokens[0]);
    for (size_t t = 1; t < count + written; t++) {
        double sum = 0;
        size_t best = 0;
        for (size_t i = 0; i < V; i++) sum += exp((double)logits[i]);
        for (size_t i = 1; i < V; i++) best = logits[i] > logits[best] ? i : best;
        int32_t next = t < count ? tokens[t] : (int32_t)best;
        if (t < count) losses[t - 1] = log(sum) - (double)logits[next];
        if (t >= count) after[t - count] = letters[best];
        logits = decoder_step(decoder, next);
    }
    decoder_destroy(decoder);
    param_store_release_all(f->store);
}

static void check_answers(const char *variant)
{
    static const char text[] = "abcabdkkjihgabcabcdefghijkabcab"; /* several blocks */
    enum { COUNT = sizeof text - 1, WRITTEN = 9 };
    Fixture f = open_variant(variant, true);
    int32_t tokens[COUNT];
    size_t count = 0, written = 0;
    float losses[COUNT];
    real as_reals[COUNT];
    double expected[COUNT];
    char after[WRITTEN + 1] = "", said[64] = "";
    check_true(polysketch_vocab_size(f.opened) == LETTERS && polysketch_context_length(f.opened) == 22, "sizes");
    check_true(polysketch_encode(f.opened, text, COUNT, tokens, COUNT, &count) == 0 && count == COUNT, "%s",
               polysketch_error());
    by_decoder(&f, tokens, COUNT, expected, after, WRITTEN);
    check_true(polysketch_score(f.opened, tokens, COUNT, losses) == 0, "%s", polysketch_error());
    for (size_t i = 0; i + 1 < COUNT; i++) as_reals[i] = (real)losses[i];
    /* some thousand roundings lie behind a loss of a little model, and losses are single precision in the library */
    double tolerance = fmax(roundings(10000), 1e-6);
    check_close_double(variant, as_reals, expected, COUNT - 1, tolerance);
    polysketch_sampling sampling = POLYSKETCH_SAMPLING;
    sampling.temperature = 0;
    sampling.tokens = WRITTEN;
    check_true(polysketch_generate(f.opened, tokens, COUNT, &sampling, append, said, &written) == 0, "%s",
               polysketch_error());
    check_true(written == WRITTEN && strcmp(said, after) == 0, "'%s' follows, not '%s'", after, said);
    char stop[2] = {after[3], 0}, cut[64] = "";
    sampling.stop = stop;
    check_true(polysketch_generate(f.opened, tokens, COUNT, &sampling, append, cut, NULL) == 0, "%s",
               polysketch_error());
    check_true(strlen(cut) == strcspn(after, stop) && strncmp(cut, after, strlen(cut)) == 0,
               "'%s' ends before %s: '%s'", after, stop, cut);
    close_fixture(&f);
}

static void test_answers(void)
{
    check_answers("learned-exact");
    check_answers("window-2-gated");
    check_answers("softmax");
}

static void check_refused(int code, const char *words)
{
    check_true(code != 0 && strstr(polysketch_error(), words), "'%s' in: %s", words, polysketch_error());
}

/* Tokens that are more than there is room for are counted. */
static void test_room(void)
{
    Fixture f = open_variant("performer", true);
    int32_t tokens[3] = {-1, -1, -1};
    size_t count = 0;
    check_refused(polysketch_encode(f.opened, "abca", 4, tokens, 3, &count), "has 4 tokens, but there is room for 3");
    check_true(count == 4 && tokens[0] == -1, "%zu tokens, none written", count);
    close_fixture(&f);
}

static void test_refusals(void)
{
    Fixture f = open_variant("performer", false);
    int32_t tokens[3] = {1, 2, 3};
    float losses[3];
    size_t length, count;
    polysketch_sampling good = POLYSKETCH_SAMPLING, bad = good;
    good.tokens = 3;
    check_refused(polysketch_open(NULL) == NULL, "NULL");
    check_refused(polysketch_open(scratch_path("missing.h5")) == NULL, "no such file");
    scratch_write("text.h5", "no HDF5", 7);
    check_refused(polysketch_open(scratch_path("text.h5")) == NULL, "text.h5");
    check_refused(polysketch_encode(f.opened, "a", 1, tokens, 1, &count), "no table of pieces");
    check_true(polysketch_piece(f.opened, 1, &length) == NULL && length == 0, "there are no pieces");
    check_refused(polysketch_score(f.opened, tokens, 1, losses), "at least 2");
    tokens[2] = LETTERS;
    check_refused(polysketch_score(f.opened, tokens, 3, losses), "token 2 is 11");
    check_refused(polysketch_generate(f.opened, tokens, 3, &good, NULL, NULL, NULL), "token 2 is 11");
    check_refused(polysketch_generate(f.opened, tokens, 0, &good, NULL, NULL, NULL), "too few");
    bad.temperature = NAN;
    check_refused(polysketch_generate(f.opened, tokens, 2, &bad, NULL, NULL, NULL), "temperature");
    bad = good;
    bad.top_p = 2;
    check_refused(polysketch_generate(f.opened, tokens, 2, &bad, NULL, NULL, NULL), "top_p of 2");
    bad = good;
    bad.stop = ".";
    check_refused(polysketch_generate(f.opened, tokens, 2, &bad, NULL, NULL, NULL), "stop text");
    char said[64] = "";
    check_true(polysketch_generate(f.opened, tokens, 2, &good, append, said, &count) == 0 && count == 3,
               "a model goes on after refusals: %s", polysketch_error());
    close_fixture(&f);
}

static bool die(void *context, Message *problem)
{
    (void)problem;
    die_at("place.c", 12, "it is %s", (const char *)context);
}

/* A death within, one after it, and none. */
static bool outlive(void *context, Message *problem)
{
    Message within;
    char words[] = "over within";
    check_true(!error_catch(die, words, &within) && strcmp(within.text, "place.c:12: it is over within") == 0, "%s",
               within.text);
    return context ? die(context, problem) : fail(problem, "no death");
}

static void *outlive_in_thread(void *problem)
{
    char words[] = "over in a thread";
    return error_catch(outlive, words, problem) ? problem : NULL;
}

/* What ends the program ends a call of the library, or of a thread. */
static void test_deaths(void)
{
    Message problem, of_thread;
    pthread_t thread;
    char words[] = "over";
    void *good;
    check_true(!error_catch(outlive, words, &problem) && strcmp(problem.text, "place.c:12: it is over") == 0, "%s",
               problem.text);
    check_true(!error_catch(outlive, NULL, &problem) && strcmp(problem.text, "no death") == 0, "%s", problem.text);
    check_true(pthread_create(&thread, NULL, outlive_in_thread, &of_thread) == 0, "a thread");
    pthread_join(thread, &good);
    check_true(!good && strcmp(of_thread.text, "place.c:12: it is over in a thread") == 0, "%s", of_thread.text);
#ifndef __SANITIZE_ADDRESS__ /* which ends programs that ask for too much memory, and misses what a jump leaves behind */
    Fixture f = open_variant("softmax", true);
    int32_t prompt[2] = {1, 2};
    char said[64] = "";
    polysketch_sampling sampling = POLYSKETCH_SAMPLING;
    sampling.tokens = (size_t)1 << 40;
    check_refused(polysketch_generate(f.opened, prompt, 2, &sampling, append, said, NULL), "cannot allocate");
    sampling.tokens = 5;
    check_true(polysketch_generate(f.opened, prompt, 2, &sampling, append, said, NULL) == 0 && strlen(said) == 5,
               "a model goes on after an error: %s", polysketch_error());
    close_fixture(&f);
#endif
}

/* A checkpoint whose tokens would be more than its model has. */
static void test_more_pieces(void)
{
    Fixture f = open_variant("softmax", true);
    Tokenizer bytes = tokenizer_bytes();
    Message problem = {""};
    Checkpoint checkpoint = {.options = config_options(&f.config), .store = f.store, .tokenizer = &bytes};
    check_true(checkpoint_write(&checkpoint, scratch_path("bytes.h5"), &problem), "%s", problem.text);
    check_refused(polysketch_open(scratch_path("bytes.h5")) == NULL, "256 pieces, but its model a vocabulary of 11");
    tokenizer_destroy(&bytes);
    close_fixture(&f);
}

static const TestCase tests[] = {{"answers", test_answers},
                                 {"room", test_room},
                                 {"refusals", test_refusals},
                                 {"more pieces than tokens", test_more_pieces},
                                 {"deaths", test_deaths}};
static const Suite suites[] = {SUITE("library", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_library", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
