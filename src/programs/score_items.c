/* Lines of JSON as texts to score, cut into tokens as lm_eval does it. */
#include <stdlib.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/programs/score.h"

void score_list_free(ScoreList *list)
{
    for (size_t i = 0; i < list->text_count; i++) free(list->texts[i].continuation), free(list->texts[i].tokens);
    for (size_t i = 0; i < list->count; i++) json_decref(list->items[i].document);
    free(list->texts);
    free(list->items);
    *list = (ScoreList){0};
}

/* ---- tokens ---- */

/* Without blanks at its end: those count to the continuation, whose first token may begin with them. */
static size_t length_without_blanks(const char *text)
{
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\n\v\f\r", text[length - 1])) length--;
    return length;
}

/* The tokens of the context into `tokens`, or where it has none the one that stands before texts. */
static bool begin_tokens(const ScoreReader *reader, const char *whole, size_t context, TokenList *tokens,
                         size_t *context_count, Message *problem)
{
    if (!tokenizer_encode(reader->tokenizer, whole, context, tokens, problem)) return false;
    *context_count = tokens->count;
    if (tokens->count > 0) return true;
    if (reader->start < 0)
        return fail(problem,
                    "the context is empty, and nothing comes before its first token. Give --start=TOKEN, the token "
                    "that stands before texts");
    token_list_append(tokens, &(int32_t){(int32_t)reader->start}, 1);
    return true;
}

/* The tokens of the context, then what those of the whole have beyond as many; *first: how many come before the scored ones. */
static bool join_tokens(const ScoreReader *reader, const ScoreText *text, TokenList *tokens, size_t *first,
                        Message *problem)
{
    size_t context = length_without_blanks(text->context), length = strlen(text->context) + strlen(text->continuation);
    size_t context_count = 0;
    TokenList all = {0};
    char *whole = checked_calloc(length + 1, 1);
    strcat(strcpy(whole, text->context), text->continuation);
    bool good = tokenizer_encode(reader->tokenizer, whole, length, &all, problem) &&
                begin_tokens(reader, whole, context, tokens, &context_count, problem);
    if (good && all.count <= context_count)
        good = fail(problem, "the continuation is empty, or adds no token to its context");
    *first = tokens->count;
    if (good) token_list_append(tokens, all.ids + context_count, all.count - context_count);
    free(all.ids);
    free(whole);
    return good;
}

/* The beginning of a text that is too long for the context is left out. */
static bool make_request(ScoreList *list, const ScoreReader *reader, ScoreText *text, Message *problem)
{
    TokenList tokens = {0};
    size_t first, room = reader->context_length + 1;
    bool joined = join_tokens(reader, text, &tokens, &first, problem);
    text->tokens = tokens.ids;
    if (!joined) return false;
    size_t count = tokens.count, dropped = count > room ? count - room : 0;
    if (dropped >= first)
        return fail(problem,
                    "the continuation has %zu tokens, more than the context of %zu. Give --model.context_length=N",
                    count - first, reader->context_length);
    list->shortened += dropped > 0;
    text->request = (ScoreRequest){text->tokens + dropped, count - dropped, first - dropped};
    return true;
}

/* ---- lines ---- */

static bool add_text(ScoreList *list, const ScoreReader *reader, const char *context, const char *delimiter,
                     const char *answer, Message *problem)
{
    list->texts = checked_grow(list->texts, list->text_count, &list->text_capacity, sizeof *list->texts);
    ScoreText *text = &list->texts[list->text_count++];
    *text = (ScoreText){.context = context, .answer_bytes = strlen(answer)};
    text->continuation = checked_calloc(strlen(delimiter) + text->answer_bytes + 1, 1);
    strcat(strcpy(text->continuation, delimiter), answer);
    return make_request(list, reader, text, problem);
}

static bool add_question(ScoreList *list, const ScoreReader *reader, ScoreItem *item, const char *query,
                         const json_t *choices, Message *problem)
{
    const json_t *gold = json_object_get(item->document, "gold");
    size_t index;
    json_t *choice;
    item->texts = json_array_size(choices);
    item->gold = json_is_integer(gold) ? json_integer_value(gold) : -1;
    if (item->gold < 0 || (size_t)item->gold >= item->texts)
        return fail(problem, "\"gold\" must be the number of the right one of \"choices\", from 0 on");
    json_array_foreach(choices, index, choice)
    {
        Message cause;
        if (!json_is_string(choice)) return fail(problem, "choice %zu is no string", index);
        if (!add_text(list, reader, query, reader->delimiter, json_string_value(choice), &cause))
            return fail(problem, "choice %zu: %.800s", index, cause.text);
    }
    return true;
}

static bool add_item(ScoreList *list, const ScoreReader *reader, json_t *document, Message *problem)
{
    list->items = checked_grow(list->items, list->count, &list->capacity, sizeof *list->items);
    ScoreItem *item = &list->items[list->count++];
    *item = (ScoreItem){.document = document, .first = list->text_count, .texts = 1, .gold = -1};
    const char *context = json_string_value(json_object_get(document, "context"));
    const char *query = json_string_value(json_object_get(document, "query"));
    const char *continuation = json_string_value(json_object_get(document, "continuation"));
    const json_t *choices = json_object_get(document, "choices");
    if (json_is_array(choices) && (query || context))
        return add_question(list, reader, item, query ? query : context, choices, problem);
    if (!choices && context && continuation) return add_text(list, reader, context, "", continuation, problem);
    return fail(problem,
                "neither {\"context\": TEXT, \"continuation\": TEXT} nor {\"query\": TEXT, \"choices\": [TEXT, ...], "
                "\"gold\": NUMBER}");
}

static bool is_blank(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!strchr(" \t\r", line[i]) || !line[i]) return false;
    return true;
}

bool score_list_read(ScoreList *list, const ScoreReader *reader, const char *text, size_t length, Message *problem)
{
    size_t number = 0;
    for (size_t start = 0; start < length;) {
        const char *line = text + start, *end = memchr(line, '\n', length - start);
        size_t line_length = end ? (size_t)(end - line) : length - start;
        json_error_t error;
        Message cause;
        number++;
        start += line_length + 1;
        if (is_blank(line, line_length)) continue;
        json_t *document = json_loadb(line, line_length, 0, &error);
        if (!document) return fail(problem, "line %zu is no JSON: %.200s", number, error.text);
        if (!add_item(list, reader, document, &cause)) return fail(problem, "line %zu: %.900s", number, cause.text);
    }
    return list->count > 0 || fail(problem, "there is no line in it");
}
