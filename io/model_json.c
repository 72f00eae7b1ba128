#include "io/model_json.h"

#include <string.h>

#include "io/json_file.h"

static const char model_type[] = "polysketch", architecture[] = "PolysketchForCausalLM";

/* Options under other keys than section_key, and those that do not define the model but belong to it. */
static const struct {
    const char *option, *key;
} other_keys[] = {
    {"model.vocab_size", "vocab_size"},
    {"model.width", "hidden_size"},
    {"model.layers", "num_hidden_layers"},
    {"model.heads", "num_attention_heads"},
    {"model.context_length", "max_position_embeddings"},
    {"model.feedforward", "feedforward"},
    {"model.feedforward_width", "intermediate_size"},
    {"model.dropout", "dropout"},
    {"model.rotary_share", "rotary_share"},
    {"model.logit_soft_cap", "final_logit_softcapping"},
    {"train.document_mask", "document_mask"},
};
enum { OTHER_KEYS = sizeof other_keys / sizeof *other_keys };

/* The key of an option in config.json; false for one that is not in it. */
static bool key_of(const OptionRow *row, char key[128])
{
    char name[128];
    option_name(row, name);
    for (int i = 0; i < OTHER_KEYS; i++)
        if (strcmp(other_keys[i].option, name) == 0) return strcpy(key, other_keys[i].key);
    snprintf(key, 128, "%.60s_%.60s", row->section, row->key);
    return row->model_defining;
}

/* ---- writing ---- */

static json_t *value_of(const OptionRow *row, const void *values)
{
    const void *field = (const char *)values + row->offset;
    char text[OPTION_TEXT_SIZE];
    switch (row->type) {
    case OPTION_INTEGER: return json_integer((json_int_t) * (const int64_t *)field);
    case OPTION_REAL: return json_real(*(const double *)field);
    case OPTION_BOOL: return json_boolean(*(const bool *)field);
    default: option_format(row, values, text); return json_string(text);
    }
}

/* The classes that read the folder, of the files beside it. */
static void add_classes(json_t *config)
{
    json_object_set_new(config, "architectures", json_pack("[s]", architecture));
    json_object_set_new(config, "model_type", json_string(model_type));
    json_object_set_new(config, "auto_map",
                        json_pack("{s:s, s:s}", "AutoConfig", "configuration_polysketch.PolysketchConfig",
                                  "AutoModelForCausalLM", "modeling_polysketch.PolysketchForCausalLM"));
    json_object_set_new(config, "dtype", json_string("float32"));
}

static void add_end(json_t *config, int64_t end_of_document)
{
    if (end_of_document >= 0) json_object_set_new(config, "eos_token_id", json_integer((json_int_t)end_of_document));
}

void model_json_print(FILE *stream, const OptionTable *options, int64_t end_of_document)
{
    char key[128];
    json_t *config = json_object();
    add_classes(config);
    for (int i = 0; i < options->count; i++)
        if (key_of(&options->rows[i], key))
            json_object_set_new(config, key, value_of(&options->rows[i], options->values));
    add_end(config, end_of_document);
    json_file_print(stream, config, 0);
}

void generation_json_print(FILE *stream, int64_t end_of_document, int64_t drawable, int64_t vocab_size)
{
    json_t *config = json_pack("{s:b}", "do_sample", false), *suppressed = json_array();
    add_end(config, end_of_document);
    if (end_of_document >= 0) json_object_set_new(config, "pad_token_id", json_integer((json_int_t)end_of_document));
    for (int64_t id = drawable; id < vocab_size; id++) json_array_append_new(suppressed, json_integer((json_int_t)id));
    if (json_array_size(suppressed) > 0) json_object_set(config, "suppress_tokens", suppressed);
    json_decref(suppressed);
    json_file_print(stream, config, 0);
}

/* ---- reading ---- */

/* As an option is written; false when it is neither a number, a truth value nor a text. */
static bool text_of(const json_t *value, char text[OPTION_TEXT_SIZE])
{
    if (json_is_integer(value))
        return snprintf(text, OPTION_TEXT_SIZE, "%lld", (long long)json_integer_value(value)) > 0;
    if (json_is_real(value)) return snprintf(text, OPTION_TEXT_SIZE, "%.17g", json_real_value(value)) > 0;
    if (json_is_boolean(value)) return strcpy(text, json_is_true(value) ? "true" : "false");
    if (!json_is_string(value) || json_string_length(value) >= OPTION_TEXT_SIZE) return false;
    return strcpy(text, json_string_value(value));
}

/* null counts as absent. */
static bool read_option(const json_t *config, const OptionTable *options, const OptionRow *row, NameList *absent,
                        Message *cause)
{
    char key[128], name[128], text[OPTION_TEXT_SIZE];
    Message detail;
    if (!key_of(row, key)) return true;
    const json_t *value = json_object_get(config, key);
    if (!value || json_is_null(value)) {
        name_list_add(absent, key);
        return true;
    }
    option_name(row, name);
    if (!text_of(value, text)) return fail(cause, "%s is neither a number, a truth value nor a text", key);
    return option_set(options, 1, name, text, &detail) || fail(cause, "%s: %.400s", key, detail.text);
}

static bool read_options(const json_t *config, const OptionTable *options, NameList *absent, Message *cause)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    if (!type || strcmp(type, model_type) != 0)
        return fail(cause, "its model_type is %s%.60s%s, and weights of %s models alone can be read", type ? "'" : "",
                    type ? type : "missing", type ? "'" : "", model_type);
    for (int i = 0; i < options->count; i++)
        if (!read_option(config, options, &options->rows[i], absent, cause)) return false;
    return true;
}

bool model_json_read(const char *path, const OptionTable *options, NameList *absent, Message *problem)
{
    Message cause;
    json_t *config = json_file_read(path, problem);
    if (!config) return false;
    bool good = read_options(config, options, absent, &cause);
    json_decref(config);
    return good ||
           fail(problem, "'%.400s': %.500s. Use a folder that polysketch export wrote, or that was saved from one",
                path, cause.text);
}
