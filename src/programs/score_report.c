/* What score says: samples in the form of lm_eval, and means. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/json_text.h"
#include "src/base/log.h"
#include "src/programs/score.h"

static bool is_question(const ScoreItem *item) { return item->gold >= 0; }

/* Which text of an item is the most likely; `by_bytes`: per byte of the answer. Of equal ones the first. */
static size_t best_text(const ScoreList *list, const ScoreItem *item, bool by_bytes)
{
    size_t best = 0;
    double highest = -INFINITY;
    for (size_t i = 0; i < item->texts; i++) {
        const ScoreText *text = &list->texts[item->first + i];
        double value = text->score.log_likelihood / (by_bytes ? (double)text->answer_bytes : 1);
        if (!(value > highest)) continue;
        highest = value;
        best = i;
    }
    return best;
}

static bool is_right(const ScoreList *list, const ScoreItem *item, bool by_bytes)
{
    return best_text(list, item, by_bytes) == (size_t)item->gold;
}

/* ---- samples ---- */

/* ["-1.25", "False"]: Python's words, as lm_eval writes them. */
static json_t *response(const ScoreText *text)
{
    char number[32];
    snprintf(number, sizeof number, "%.9g", text->score.log_likelihood);
    return json_pack("[s, s]", number, text->score.greedy ? "True" : "False");
}

static json_t *arguments_of(const ScoreList *list, const ScoreItem *item)
{
    json_t *arguments = json_object();
    for (size_t i = 0; i < item->texts; i++) {
        const ScoreText *text = &list->texts[item->first + i];
        char name[32];
        snprintf(name, sizeof name, "gen_args_%zu", i);
        json_object_set_new(arguments, name,
                            json_pack("{s:s, s:s}", "arg_0", text->context, "arg_1", text->continuation));
    }
    return arguments;
}

static json_t *sample_of(const ScoreList *list, size_t index)
{
    const ScoreItem *item = &list->items[index];
    const ScoreText *first = &list->texts[item->first];
    json_t *responses = json_array(), *filtered = json_array();
    char gold[32];
    for (size_t i = 0; i < item->texts; i++) {
        json_array_append_new(responses, json_pack("[o]", response(first + i)));
        json_array_append_new(filtered, response(first + i));
    }
    snprintf(gold, sizeof gold, "%lld", (long long)item->gold);
    json_t *sample =
        json_pack("{s:I, s:O, s:s, s:o, s:o, s:o, s:s}", "doc_id", (json_int_t)index, "doc", item->document, "target",
                  is_question(item) ? gold : first->continuation, "arguments", arguments_of(list, item), "resps",
                  responses, "filtered_resps", filtered, "filter", "none");
    if (is_question(item)) {
        json_object_set_new(sample, "metrics", json_pack("[s, s]", "acc", "acc_norm"));
        json_object_set_new(sample, "acc", json_real(is_right(list, item, false)));
        json_object_set_new(sample, "acc_norm", json_real(is_right(list, item, true)));
    } else {
        json_object_set_new(sample, "metrics", json_pack("[s, s]", "perplexity", "acc"));
        json_object_set_new(sample, "perplexity", json_real(first->score.log_likelihood));
        json_object_set_new(sample, "acc", json_real(first->score.greedy));
    }
    return sample;
}

bool score_write_samples(const ScoreList *list, FILE *file)
{
    for (size_t i = 0; i < list->count; i++) {
        json_t *sample = sample_of(list, i);
        bool written =
            json_dumpf(sample, file, JSON_COMPACT | JSON_REAL_PRECISION(15)) == 0 && fputc('\n', file) != EOF;
        json_decref(sample);
        if (!written) return false;
    }
    return true;
}

/* ---- the summary ---- */

/* Sums over items of one sort. */
typedef struct Tally {
    size_t items;
    double right, right_by_bytes; /* questions; of continuations, those that are greedy */
    double log_likelihood, bytes; /* of continuations */
} Tally;

static Tally tally(const ScoreList *list, bool questions)
{
    Tally sums = {0};
    for (size_t i = 0; i < list->count; i++) {
        const ScoreItem *item = &list->items[i];
        const ScoreText *text = &list->texts[item->first];
        if (is_question(item) != questions) continue;
        sums.items++;
        sums.right += questions ? is_right(list, item, false) : text->score.greedy;
        sums.right_by_bytes += questions && is_right(list, item, true);
        sums.log_likelihood += text->score.log_likelihood;
        sums.bytes += (double)text->answer_bytes;
    }
    return sums;
}

/* The standard error of a mean of zeros and ones, from the deviation of the sample. */
static double error_of_share(double share, double items)
{
    return items > 1 ? sqrt(share * (1 - share) / (items - 1)) : 0;
}

static void print_share(const char *name, double right, double items)
{
    double share = right / items;
    log_line("%-16s %.6g +- %.3g", name, share, error_of_share(share, items));
}

void score_print_summary(const ScoreList *list)
{
    Tally questions = tally(list, true), continuations = tally(list, false);
    if (questions.items > 0) {
        log_line("questions        %zu", questions.items);
        print_share("acc", questions.right, (double)questions.items);
        print_share("acc_norm", questions.right_by_bytes, (double)questions.items);
    }
    if (continuations.items == 0) return;
    double items = (double)continuations.items;
    log_line("continuations    %zu", continuations.items);
    log_line("log likelihood   %.9g", continuations.log_likelihood / items);
    log_line("perplexity       %.6g", exp(-continuations.log_likelihood / items));
    log_line("bits per byte    %.6g", -continuations.log_likelihood / log(2) / continuations.bytes);
    print_share("greedy", continuations.right, items);
}
