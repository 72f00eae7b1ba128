#include "src/train/distance_report.h"

#include <math.h>
#include <stdio.h>

#include "io/disk.h"
#include "src/attention/distance.h"

/* NaN where no row had any weight. */
static double mean_distance(const HeadDistances *head) { return head->distance / head->tokens; }

static double uniform_distance(const HeadDistances *head) { return head->uniform / head->tokens; }

/* ---- the file ---- */

bool distance_report_try(const char *path, Message *problem)
{
    FILE *file = disk_create(path, problem);
    if (file) disk_abandon(file, path);
    return file != NULL;
}

static void print_names(FILE *file, size_t buckets)
{
    fprintf(file, "layer,head,tokens,mean_distance,uniform_distance,queries");
    for (size_t i = 0; i < buckets; i++) fprintf(file, ",from_%zu", distance_of_bucket(i));
    fprintf(file, "\n");
}

static void print_head(FILE *file, const HeadDistances *head, size_t buckets)
{
    fprintf(file, "%.0f,%.9g,%.9g,%.0f", head->tokens, mean_distance(head), uniform_distance(head), head->queries);
    for (size_t i = 0; i < buckets; i++) fprintf(file, ",%.9g", head->buckets[i] / head->queries);
    fprintf(file, "\n");
}

bool distance_report_write(const char *path, const Model *model, const HeadDistances *distances, size_t context_length,
                           Message *problem)
{
    size_t buckets = distance_buckets(context_length), H = model->heads;
    FILE *file = disk_create(path, problem);
    if (!file) return false;
    print_names(file, buckets);
    for (size_t i = 0; i < model->layer_count * H; i++) {
        fprintf(file, "%zu,%zu,", i / H, i % H);
        print_head(file, &distances[i], buckets);
    }
    return disk_replace(file, path, problem); /* a failure stays with the file */
}

/* ---- a few lines ---- */

static void say_layer(size_t layer, const HeadDistances *heads, size_t count, Facts *facts)
{
    HeadDistances sum = {0};
    double least = NAN, most = NAN; /* fmin and fmax leave out what is not a number */
    for (size_t i = 0; i < count; i++) {
        distances_add(&sum, &heads[i]);
        least = fmin(least, mean_distance(&heads[i]));
        most = fmax(most, mean_distance(&heads[i]));
    }
    facts_open(facts, NULL);
    facts_integer(facts, "layer", "%5lld", (int64_t)layer);
    facts_real(facts, "mean_distance", "  %13.1f", mean_distance(&sum));
    facts_real(facts, "least_mean_distance", "  %7.1f", least);
    facts_real(facts, "most_mean_distance", " to %7.1f", most);
    facts_real(facts, "uniform_distance", "  %17.1f\n", uniform_distance(&sum));
    facts_close(facts);
}

void distance_report_say(const Model *model, const HeadDistances *distances, Facts *facts)
{
    facts_say(facts, "layer  mean distance   of its heads       of equal weights, in tokens\n");
    facts_open_list(facts, "distances");
    for (size_t i = 0; i < model->layer_count; i++) say_layer(i, distances + i * model->heads, model->heads, facts);
    facts_close(facts);
}
