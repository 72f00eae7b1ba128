#include "src/train/share_report.h"

#include <math.h>
#include <stdio.h>

#include "src/attention/linear.h"

static const AttentionLayer *attention_of(const Model *model, size_t layer) { return &model->layers[layer].attention; }

void share_report_append(RunFolder *folder, int64_t step, const Model *model, const HeadShares *shares)
{
    for (size_t i = 0; i < model->layer_count * model->heads; i++) {
        double row[] = {(double)step,
                        (double)(i / model->heads),
                        (double)(i % model->heads),
                        shares_exact(&shares[i]),
                        shares_sketched(&shares[i]),
                        shares_gate_length(&shares[i])};
        run_folder_append(folder, TABLE_ATTENTION, row);
    }
}

/* Of a number of several heads, those that have it. */
typedef struct Range {
    double least, most;
} Range;

static Range range_of(const HeadShares *heads, size_t count, double (*number)(const HeadShares *))
{
    Range range = {NAN, NAN}; /* fmin and fmax leave out what is not a number */
    for (size_t i = 0; i < count; i++) {
        double value = number(&heads[i]);
        range = (Range){fmin(range.least, value), fmax(range.most, value)};
    }
    return range;
}

static HeadShares sum_of(const HeadShares *heads, size_t count)
{
    HeadShares sum = {0};
    for (size_t i = 0; i < count; i++) shares_add(&sum, &heads[i]);
    return sum;
}

static int decimals(double tokens) { return tokens < 10; }

/* text = `before` and the range of the gates' lengths; "" without gates. */
static void write_gates(const HeadShares *heads, size_t count, const char *before, char *text, size_t size)
{
    Range gates = range_of(heads, count, shares_gate_length);
    text[0] = 0;
    if (isnan(gates.least)) return;
    snprintf(text, size, "%sgates %.*f to %.*f tokens", before, decimals(gates.least), gates.least,
             decimals(gates.most), gates.most);
}

/* ---- a few words ---- */

/* Where all is sketched, or nothing, there is nothing to say. */
static bool has_both(const AttentionLayer *layer) { return layer->map && linear_exact_local(layer); }

void share_report_words(const Model *model, const HeadShares *shares, char *text, size_t size)
{
    HeadShares sum = {0};
    for (size_t i = 0; i < model->layer_count; i++) {
        HeadShares layer = sum_of(shares + i * model->heads, model->heads);
        if (has_both(attention_of(model, i))) shares_add(&sum, &layer);
    }
    char sketched[32] = "", gates[64];
    if (sum.rows > 0) snprintf(sketched, sizeof sketched, " | sketched %.0f %%", 100 * shares_sketched(&sum));
    write_gates(shares, model->layer_count * model->heads, " | ", gates, sizeof gates);
    snprintf(text, size, "%s%s", sketched, gates);
}

/* ---- a table ---- */

static bool is_plain(const HeadShares *heads, size_t count)
{
    HeadShares sum = sum_of(heads, count);
    return sum.exact == sum.rows && isnan(shares_gate_length(&sum));
}

static void say_layer(size_t layer, const HeadShares *heads, size_t count, Facts *facts)
{
    HeadShares sum = sum_of(heads, count);
    Range sketched = range_of(heads, count, shares_sketched), gates = range_of(heads, count, shares_gate_length);
    char words[64];
    write_gates(heads, count, "    ", words, sizeof words);
    facts_open(facts, NULL);
    facts_integer(facts, "layer", "%5lld", (int64_t)layer);
    facts_real(facts, "exact_percent", "    %8.1f %%", 100 * shares_exact(&sum));
    facts_real(facts, "sketched_percent", "  %8.1f %%", 100 * shares_sketched(&sum));
    facts_real(facts, "least_sketched_percent", "  %5.1f", 100 * sketched.least);
    facts_real(facts, "most_sketched_percent", " to %5.1f %%", 100 * sketched.most);
    facts_real(facts, "least_gate_tokens", NULL, gates.least);
    facts_real(facts, "most_gate_tokens", NULL, gates.most);
    facts_say(facts, "%s\n", words);
    facts_close(facts);
}

void share_report_say(const Model *model, const HeadShares *shares, Facts *facts)
{
    if (is_plain(shares, model->layer_count * model->heads)) return;
    facts_say(facts, "layer         exact    sketched     of its heads\n");
    facts_open_list(facts, "layers");
    for (size_t i = 0; i < model->layer_count; i++) say_layer(i, shares + i * model->heads, model->heads, facts);
    facts_close(facts);
}
