/* At what distance the heads of a model attend (src/attention/distance.h): as a CSV file, and in a few lines. */
#ifndef POLYSKETCH_TRAIN_DISTANCE_REPORT_H
#define POLYSKETCH_TRAIN_DISTANCE_REPORT_H

#include "src/attention/shares.h"
#include "src/base/facts.h"
#include "src/model/model.h"

/* Whether distance_report_write() will be able to: tried. Leaves nothing. */
bool distance_report_try(const char *path, Message *problem);

/* A row for each head of each layer (docs/format.md, section 8); distances (layers, H) of sequences of so many tokens. The file
   appears when it is complete. */
bool distance_report_write(const char *path, const Model *model, const HeadDistances *distances, size_t context_length,
                           Message *problem);

/* A line for each layer with the range of its heads, in JSON a list "distances". */
void distance_report_say(const Model *model, const HeadDistances *distances, Facts *facts);

#endif
