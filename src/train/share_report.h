/* What the heads of a model attend with (src/attention/shares.h): as rows of the run folder, in a few words, as a table. */
#ifndef POLYSKETCH_TRAIN_SHARE_REPORT_H
#define POLYSKETCH_TRAIN_SHARE_REPORT_H

#include "src/attention/shares.h"
#include "src/base/facts.h"
#include "src/model/model.h"
#include "src/train/run_folder.h"

/* Rows of TABLE_ATTENTION; shares (layers, H). */
void share_report_append(RunFolder *folder, int64_t step, const Model *model, const HeadShares *shares);

/* " | sketched 31 % | gates 56 to 148 tokens": of layers that have both exact and sketched pairs, of gates. "" where there are
   neither. */
void share_report_words(const Model *model, const HeadShares *shares, char *text, size_t size);

/* A line for each layer with the range of its heads, in JSON a list "layers"; nothing when every layer is plain softmax. */
void share_report_say(const Model *model, const HeadShares *shares, Facts *facts);

#endif
