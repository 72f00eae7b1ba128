/* What is done with a trained model: texts end where they should, scores are sums of losses whatever is computed beside them, and
   texts to score are cut into tokens as lm_eval cuts them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/inference/scorer.h"
#include "src/inference/stop_text.h"
#include "src/base/json_text.h"
#include "src/programs/score.h"
#include "tests/harness/check.h"
#include "tests/harness/rounding.h"
#include "tests/harness/suite.h"
#include "tests/harness/variants.h"

/* ---- stop texts ---- */

typedef struct Written {
    char text[256];
    size_t length;
} Written;

static void write_bytes(void *context, const uint8_t *bytes, size_t count)
{
    Written *written = context;
    memcpy(written->text + written->length, bytes, count);
    written->length += count;
}

/* `text` in pieces of `step` bytes gives `expected`, and stops or does not. */
static void check_stop(const char *stop_text, const char *text, size_t step, const char *expected, bool stops)
{
    StopText stop = stop_text_create(stop_text);
    Written written = {.length = 0};
    bool stopped = false;
    for (size_t i = 0; i < strlen(text) && !stopped; i += step) {
        size_t count = strlen(text) - i < step ? strlen(text) - i : step;
        stopped = stop_text_add(&stop, (const uint8_t *)text + i, count, write_bytes, &written);
        bool near = written.length + 2 * (strlen(stop_text) + step) > i;
        check_true(near, "'%s' is written while it comes, not at the end: %zu of %zu bytes", text, written.length, i);
    }
    if (!stopped) stop_text_finish(&stop, write_bytes, &written);
    check_true(stopped == stops, "'%s' stops before '%s': %d", text, stop_text, stops);
    check_true(written.length == strlen(expected) && memcmp(written.text, expected, written.length) == 0,
               "'%s' in pieces of %zu gives '%s', not '%.*s'", text, step, expected, (int)written.length, written.text);
    stop_text_destroy(&stop);
}

static void test_stop_texts(void)
{
    for (size_t step = 1; step < 6; step++) {
        check_stop("", "any text", step, "any text", false);
        check_stop(".", "one. two.", step, "one", true);
        check_stop("\n\n", "a\nb\n\nc", step, "a\nb", true);
        check_stop("aab", "aaaab", step, "aa", true);
        check_stop("aab", "aaaa", step, "aaaa", false);
        check_stop("abac", "ababac", step, "ab", true);
        check_stop("the end", "the en", step, "the en", false);
        check_stop("x", "x", step, "", true);
    }
}

/* ---- JSON ---- */

static void check_json(const char *bytes, size_t count, const char *expected)
{
    json_t *value = json_from_bytes(bytes, count);
    check_true(strcmp(json_string_value(value), expected) == 0, "'%s', not '%s'", expected, json_string_value(value));
    json_decref(value);
}

static void test_json_texts(void)
{
    check_json("plain", 5, "plain");
    check_json("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    check_json("a\xff"
               "b",
               3,
               "a\xef\xbf\xbd"
               "b");
    check_json("\xc3", 1, "\xef\xbf\xbd");
    check_json("\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd");                 /* overlong */
    check_json("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
    check_json("\xe2\x82"
               "x",
               3, "\xef\xbf\xbd\xef\xbf\xbdx");
    check_json("", 0, "");
}

/* ---- scores ---- */

/* Losses (count - 1) of a text in a sequence of its own. */
static real *plain_losses(const Model *model, real *params, size_t block_length, const int32_t *tokens, size_t count)
{
    PassSpec spec = {.sequences = 1, .context_length = count - 1, .block_length = block_length, .stretches = 1};
    real *losses = checked_calloc(count - 1, sizeof *losses);
    SequenceLink link = sequence_link_single();
    ModelPass *pass = model_pass_create(model, &spec, &link, PASS_EVALUATE);
    ParamStore *store = param_store_over(&model->table, params, NULL);
    TokenBatch batch = {.inputs = (int32_t *)tokens, .targets = (int32_t *)tokens + 1}; /* only read */
    model_evaluate(pass, store, &batch, losses, NULL, NULL);
    param_store_destroy(store);
    model_pass_destroy(pass);
    return losses;
}

/* How far one unit in the last place of the parameters moves them, as a tolerance. */
static double tolerance_of(const Model *model, real *params, size_t block_length, const int32_t *tokens, size_t count,
                           const real *losses)
{
    double movement = 0;
    for (uint64_t draw = 0; draw < ROUNDING_DRAWS; draw++) {
        real *moved_params = nudged(params, model->table.total_count, draw);
        real *moved = plain_losses(model, moved_params, block_length, tokens, count);
        movement = largest_movement(movement, moved, losses, count - 1);
        free(moved_params), free(moved);
    }
    return rounding_tolerance(movement, losses, count - 1);
}

static void check_score(const char *name, const ScoreRequest *request, const Score *score, const real *losses,
                        const real *plain, double tolerance)
{
    size_t scored = request->count - request->first;
    double sum = 0, *expected = checked_calloc(scored, sizeof *expected);
    for (size_t i = 0; i < scored; i++) sum += expected[i] = (double)plain[request->first - 1 + i];
    double largest = 0;
    for (size_t i = 0; i + 1 < request->count; i++) largest = (double)plain[i] > largest ? (double)plain[i] : largest;
    double here = 0;
    for (size_t i = 0; i < scored; i++) here = expected[i] > here ? expected[i] : here;
    check_close_double(name, losses, expected, scored, tolerance * largest / here);
    real likelihood = (real)-score->log_likelihood;
    check_close_double(name, &likelihood, &sum, 1, tolerance * largest * (double)scored / sum);
    free(expected);
}

/* Texts of all lengths, in no order, the longest of `longest` tokens. */
static void score_variant(const Variant *variant, size_t longest)
{
    const size_t lengths[][2] = {{40, 12}, {2, 1}, {longest, longest - 10}, {33, 32}, {300, 1}, {34, 20}, {41, 40}};
    enum { TEXTS = sizeof lengths / sizeof *lengths };
    Config config = variant_config(variant, "attention.block_length=8");
    Model *model = variant_model(&config);
    real *params = variant_parameters(model, 4), losses[1000];
    ScoreRequest requests[TEXTS];
    Score scores[TEXTS];
    for (size_t i = 0; i < TEXTS; i++)
        requests[i] =
            (ScoreRequest){random_tokens(lengths[i][0], config.model.vocab_size, i), lengths[i][0], lengths[i][1]};
    ParamStore *store = param_store_over(&model->table, params, NULL);
    score_requests(model, store, 8, requests, TEXTS, scores, losses);
    param_store_destroy(store);
    for (size_t i = 0, place = 0; i < TEXTS; place += requests[i].count - requests[i].first, i++) {
        real *plain = plain_losses(model, params, 8, requests[i].tokens, requests[i].count);
        double tolerance = tolerance_of(model, params, 8, requests[i].tokens, requests[i].count, plain);
        check_score(variant->name, &requests[i], &scores[i], losses + place, plain, tolerance);
        free(plain);
    }
    for (size_t i = 0; i < TEXTS; i++) free((int32_t *)requests[i].tokens);
    free(params);
    model_destroy(model);
}

static void test_scores(void)
{
    static const char *const names[] = {"learned-exact", "window-2-gated", "performer", "softmax"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int v = 0; v < variant_count; v++)
            if (strcmp(variants[v].name, names[i]) == 0) /* linear kinds in two stretches */
                score_variant(&variants[v], variant_is_linear(&variants[v]) ? 8400 : 840);
}

/* ---- texts as tokens ---- */

static const char *const pieces[] = {"a", "b", " ", "ab", " b", "ba", " a"};
enum { PIECES = sizeof pieces / sizeof *pieces };
enum { A, B, BLANK, AB, BLANK_B, BA, BLANK_A };

static Tokenizer tokenizer_of_pieces(void)
{
    Tokenizer tokenizer = {.name = "pieces", .vocab_size = PIECES};
    uint64_t end = 0;
    tokenizer.bytes = checked_calloc(64, 1);
    tokenizer.ends = checked_calloc(PIECES, sizeof *tokenizer.ends);
    for (size_t i = 0; i < PIECES; i++) {
        memcpy(tokenizer.bytes + end, pieces[i], strlen(pieces[i]));
        end += strlen(pieces[i]);
        tokenizer.ends[i] = end;
    }
    return tokenizer;
}

static void check_tokens(const ScoreText *text, const int32_t *tokens, size_t count, size_t first)
{
    bool same = text->request.count == count && text->request.first == first &&
                memcmp(text->request.tokens, tokens, count * sizeof *tokens) == 0;
    check_true(same, "'%s' + '%s': %zu tokens, scored from %zu on", text->context, text->continuation,
               text->request.count, text->request.first);
}

static void test_tokens(void)
{
    static const char lines[] = "{\"context\": \"ab \", \"continuation\": \"ba\"}\n"
                                "{\"context\": \"b\", \"continuation\": \"ab a\"}\r\n"
                                "\n"
                                "{\"query\": \"a\", \"choices\": [\"ab\", \"b\"], \"gold\": 1}\n"
                                "{\"context\": \" \", \"continuation\": \"b\"}\n"
                                "{\"context\": \"ababababab\", \"continuation\": \" ba\"}";
    Tokenizer tokenizer = tokenizer_of_pieces();
    ScoreReader reader = {&tokenizer, " ", A, PIECES, 5};
    ScoreList list = {0};
    Message problem = {""};
    bool good = score_list_read(&list, &reader, lines, strlen(lines), &problem);
    check_true(good && list.count == 5 && list.text_count == 6, "five items, six texts: %s", problem.text);
    if (good) {
        check_tokens(&list.texts[0], (int32_t[]){AB, BLANK_B, A}, 3, 1); /* blanks go to the continuation */
        check_tokens(&list.texts[1], (int32_t[]){B, B, BLANK_A}, 3, 1);  /* what the whole has beyond one token */
        check_tokens(&list.texts[2], (int32_t[]){A, BLANK_A, B}, 3, 1);
        check_tokens(&list.texts[3], (int32_t[]){A, BLANK_B}, 2, 1);
        check_tokens(&list.texts[4], (int32_t[]){A, BLANK_B}, 2, 1); /* nothing but blanks: after the start */
        check_tokens(&list.texts[5], (int32_t[]){AB, AB, AB, AB, BLANK_B, A}, 6, 4);
        check_true(list.shortened == 1 && list.items[2].gold == 1 && list.texts[3].answer_bytes == 1,
                   "one is shortened");
    }
    score_list_free(&list);
    const char merged[] = "{\"context\": \"a\", \"continuation\": \"b\"}";
    check_true(!score_list_read(&list, &reader, merged, strlen(merged), &problem) &&
                   strstr(problem.text, "adds no token"),
               "a continuation that disappears in its context: %s", problem.text);
    score_list_free(&list);
    tokenizer_destroy(&tokenizer);
}

static const TestCase tests[] = {{"stop texts", test_stop_texts},
                                 {"texts in JSON", test_json_texts},
                                 {"scores", test_scores},
                                 {"texts as tokens", test_tokens}};
static const Suite suites[] = {SUITE("inference", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    int code = run_suites("test_inference", suites, 1);
    world_stop();
    return code;
}
