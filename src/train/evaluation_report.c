#include "src/train/evaluation_report.h"

#include <math.h>
#include <stdio.h>

#include "src/base/log.h"
#include "src/train/share_report.h"

void evaluation_report(RunFolder *folder, int64_t step, const Model *model, const Evaluation *e)
{
    char more[80] = "", heads[80];
    share_report_words(model, e->shares, heads, sizeof heads);
    if (!isnan(e->bits_per_byte)) snprintf(more, sizeof more, " | %.4f bits per byte", e->bits_per_byte);
    if (!isnan(e->accuracy))
        snprintf(more, sizeof more, " | accuracy %.4f | %.4f of sequences", e->accuracy, e->sequences_right);
    log_line("validation at step %lld | loss %.4f | perplexity %.2f%s%s | %lld tokens in %.1f s", (long long)step,
             e->loss, e->perplexity, more, heads, (long long)e->tokens, e->seconds);
    share_report_append(folder, step, model, e->shares);
    double row[] = {(double)step,      e->loss,    e->perplexity, e->bits_per_byte,
                    (double)e->tokens, e->seconds, e->accuracy,   e->sequences_right};
    run_folder_append(folder, TABLE_EVALUATIONS, row);
}
