/* A needle in a book: a sentence with a number at some depth of a text, and at the end the question for that number. Tokens are
   bytes. */
#include <stdio.h>
#include <string.h>

#include "io/source_kind.h"

enum {
    DIGITS = 7,
    STRATA = SOURCE_MAX_STRATA, /* of the depth: sequence i has its needle in part i % STRATA of the text */
    LEAST_CONTEXT = 128,
    QUESTION_SIZE = 64,
};

/* What the number belongs to. */
static const char *const words[] = {
    "Amsterdam", "Athens",    "Baghdad",  "Bangkok", "Barcelona", "Beirut",   "Berlin", "Bogota", "Bombay",  "Boston",
    "Brussels",  "Budapest",  "Cairo",    "Chicago", "Dakar",     "Damascus", "Delhi",  "Dublin", "Geneva",  "Havana",
    "Helsinki",  "Istanbul",  "Jakarta",  "Kabul",   "Kyiv",      "Lagos",    "Lima",   "Lisbon", "London",  "Madrid",
    "Manila",    "Melbourne", "Montreal", "Moscow",  "Munich",    "Nairobi",  "Naples", "Oslo",   "Palermo", "Paris",
    "Prague",    "Quito",     "Riga",     "Rome",    "Samarkand", "Seoul",    "Shiraz", "Sofia",  "Sydney",  "Tallinn",
    "Tbilisi",   "Tehran",    "Tirana",   "Tokyo",   "Toronto",   "Tripoli",  "Tunis",  "Vienna", "Vilnius", "Warsaw",
    "Windhoek",  "Yerevan",   "Zagreb",   "Zurich",
};
enum { WORDS = sizeof words / sizeof *words };

typedef struct Needle {
    char question[QUESTION_SIZE], digits[DIGITS + 1], sentence[QUESTION_SIZE + DIGITS + 3];
    size_t place; /* of the sentence */
    size_t text;  /* bytes of the book around it */
    size_t start; /* of them in the file */
} Needle;

/* The sentence and the question with the first six digits take their room from the text; the last digit is only a target. */
static Needle draw_needle(const SourcePart *part)
{
    Needle needle;
    RngStream what = source_stream(part, "items"), where = source_stream(part, "places");
    const char *word = words[source_draw(what, 0, WORDS)];
    for (uint64_t i = 0; i < DIGITS; i++) needle.digits[i] = (char)('0' + source_draw(what, 1 + i, 10));
    needle.digits[DIGITS] = 0;
    snprintf(needle.question, sizeof needle.question, "\nThe magic number of %s is ", word);
    snprintf(needle.sentence, sizeof needle.sentence, "%s%s.\n", needle.question, needle.digits);
    needle.text = part->context_length - strlen(needle.sentence) - strlen(needle.question) - strlen(needle.digits) + 1;
    double depth = ((double)(part->number % STRATA) + rng_uniform(where, 0)) / STRATA;
    needle.place = (size_t)(depth * (double)(needle.text + 1));
    needle.start = (size_t)source_draw(where, 1, (int64_t)(part->source->file->count - needle.text + 1));
    return needle;
}

static size_t put_text(const SourcePart *part, size_t place, const char *text)
{
    for (size_t i = 0; text[i]; i++) source_put(part, place + i, (unsigned char)text[i]);
    return place + strlen(text);
}

/* `count` tokens of the file from `start` on, at `place`: those that belong to this part. */
static bool put_book(const SourcePart *part, size_t place, size_t start, size_t count, Message *problem)
{
    size_t first = part->range.first, end = first + part->range.count;
    size_t from = place > first ? place : first, to = place + count < end ? place + count : end;
    return from >= to || token_file_read(part->source->file, start + (from - place), to - from,
                                         part->inputs + (from - first), problem);
}

static bool make_needle(const SourcePart *part, Message *problem)
{
    Needle needle = draw_needle(part);
    size_t answer = part->context_length - DIGITS, after = put_text(part, needle.place, needle.sentence);
    if (!put_book(part, 0, needle.start, needle.place, problem)) return false;
    if (!put_book(part, after, needle.start + needle.place, needle.text - needle.place, problem)) return false;
    put_text(part, answer + 1 - strlen(needle.question), needle.question);
    put_text(part, answer + 1,
             needle.digits); /* each digit is seen once it has been asked for; the last one is beyond */
    for (size_t i = 0; i < DIGITS; i++) source_ask(part, answer + i, needle.digits[i]);
    return true;
}

static size_t counted_needle(const SourceSpec *spec)
{
    (void)spec;
    return DIGITS;
}

static bool check_needle(const SourceSpec *spec, size_t context_length, Message *problem)
{
    (void)spec;
    return context_length >= LEAST_CONTEXT ||
           fail(
               problem,
               "model.context_length = %zu is too short for data.source = needle: a sentence, a question and some text "
               "need %d",
               context_length, LEAST_CONTEXT);
}

static bool check_needle_file(const TokenFile *file, size_t context_length, Message *problem)
{
    if (file->vocab_size > 256 || file->tokenizer.file.kind || strcmp(file->tokenizer.name, "bytes") != 0)
        return fail(problem,
                    "'%s' has tokenizer '%s', but a needle is hidden among bytes. polysketch prepare without "
                    "other options makes such a file",
                    file->path, file->tokenizer.name);
    return file->count >= context_length ||
           fail(problem,
                "'%s' has %zu tokens; a needle in model.context_length = %zu needs as many. Use a longer text or a "
                "shorter context",
                file->path, file->count, context_length);
}

const SourceKind source_needle = {
    .name = "needle",
    .summary = "needle in a book: a number in a sentence at some depth of the text, asked for at the end",
    .reads_file = true,
    .alphabet = 256,
    .strata = STRATA,
    .counted = counted_needle,
    .check = check_needle,
    .check_file = check_needle_file,
    .make = make_needle,
};
