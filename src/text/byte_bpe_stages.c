/* Normalizers and pre-tokenizers of tokenizer.json (src/text/byte_bpe.h). */
#include <string.h>
#include <utf8proc.h>

#include "src/text/byte_bpe_parts.h"

/* ---- normalizers ---- */

static const struct {
    const char *type;
    int options; /* of utf8proc_map() */
} forms[] = {
    {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
    {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
    {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
    {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
};

bool byte_bpe_read_normalizer(ByteBpe *rules, const json_t *normalizer, Message *problem)
{
    const char *type = byte_bpe_type(normalizer);
    if (!normalizer || json_is_null(normalizer)) return true;
    if (strcmp(type, "Sequence") == 0) {
        const json_t *parts = json_object_get(normalizer, "normalizers"), *part;
        size_t i;
        json_array_foreach(parts, i, part) if (!byte_bpe_read_normalizer(rules, part, problem)) return false;
        return true;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(type, forms[i].type) != 0) continue;
        if (rules->normal_form_count == MOST_NORMAL_FORMS)
            return fail(problem, "it has more than %d normalizers. Leave those out that others repeat",
                        MOST_NORMAL_FORMS);
        rules->normal_forms[rules->normal_form_count++] = forms[i].options;
        byte_bpe_mix(rules, type, strlen(type));
        return true;
    }
    return fail(
        problem,
        "its normalizer %.60s is not known here (NFC, NFD, NFKC and NFKD are). Prepare token numbers with its own "
        "program, and give them with --ids",
        type);
}

/* ---- pre-tokenizers ---- */

static bool add_stage(ByteBpe *rules, CutStage stage, const char *expression, Message *problem)
{
    if (rules->stage_count == MOST_STAGES)
        return fail(problem, "its pre_tokenizer has more than %d steps. Prepare token numbers with its own program",
                    MOST_STAGES);
    rules->stages[rules->stage_count++] = stage;
    byte_bpe_mix(rules, expression, strlen(expression));
    byte_bpe_mix(rules, (bool[]){stage.pattern != NULL, stage.keep_matches, stage.keep_gaps}, 3 * sizeof(bool));
    return true;
}

/* Adds a step that cuts by an expression. */
static bool add_pattern(ByteBpe *rules, const char *expression, bool literal, bool keep_matches, bool keep_gaps,
                        Message *problem)
{
    Message cause;
    Pattern *pattern = pattern_create(expression, literal, &cause);
    if (!pattern)
        return fail(problem, "%.700s. Prepare token numbers with its own program, and give them with --ids",
                    cause.text);
    bool good = add_stage(rules, (CutStage){pattern, keep_matches, keep_gaps}, expression, problem);
    byte_bpe_mix(rules, &literal, sizeof literal);
    if (!good) pattern_destroy(pattern);
    return good;
}

static bool is_true(const json_t *part, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(part, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static bool add_byte_level(ByteBpe *rules, const json_t *part, Message *problem)
{
    static const char of_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    if (is_true(part, "add_prefix_space", true) && !add_stage(rules, (CutStage){NULL, true, true}, "", problem))
        return false;
    return !is_true(part, "use_regex", true) || add_pattern(rules, of_gpt2, false, true, true, problem);
}

static bool add_split(ByteBpe *rules, const json_t *part, Message *problem)
{
    const json_t *pattern = json_object_get(part, "pattern"), *text = json_object_get(pattern, "String");
    const char *expression = json_string_value(text ? text : json_object_get(pattern, "Regex"));
    const char *behavior = json_string_value(json_object_get(part, "behavior"));
    bool removes = behavior && strcmp(behavior, "Removed") == 0, inverted = is_true(part, "invert", false);
    if (!expression || !behavior) return fail(problem, "its pre_tokenizer Split has no pattern. Copy the file again");
    if (!removes && strcmp(behavior, "Isolated") != 0)
        return fail(problem,
                    "its pre_tokenizer Split with \"behavior\" %.60s is not known here (Isolated and Removed are). "
                    "Prepare token numbers with its own program, and give them with --ids",
                    behavior);
    return add_pattern(rules, expression, text != NULL, !removes || inverted, !removes || !inverted, problem);
}

static bool add_digits(ByteBpe *rules, const json_t *part, Message *problem)
{
    return add_pattern(rules, is_true(part, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", false, true, true,
                       problem);
}

static const struct {
    const char *type;
    bool (*add)(ByteBpe *rules, const json_t *part, Message *problem);
} steps[] = {
    {"ByteLevel", add_byte_level},
    {"Split", add_split},
    {"Digits", add_digits},
};

/* `byte_level`: bytes have become characters, which ends what is known here. */
static bool add_step(ByteBpe *rules, const json_t *part, bool *byte_level, Message *problem)
{
    const char *type = byte_bpe_type(part);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *parts = json_object_get(part, "pretokenizers"), *one;
        size_t i;
        json_array_foreach(parts, i, one) if (!add_step(rules, one, byte_level, problem)) return false;
        return true;
    }
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (strcmp(type, steps[i].type) != 0) continue;
        if (*byte_level)
            return fail(problem,
                        "its pre_tokenizer has %.60s behind ByteLevel, which is not known here. Prepare token numbers "
                        "with its own program, and give them with --ids",
                        type);
        *byte_level = i == 0;
        return steps[i].add(rules, part, problem);
    }
    return fail(problem,
                "its pre_tokenizer %.60s is not known here (ByteLevel, Split, Digits and Sequence are). Give "
                "its tokenizer.model if there is one, or token numbers of its own program with --ids",
                type);
}

bool byte_bpe_read_stages(ByteBpe *rules, const json_t *pre_tokenizer, Message *problem)
{
    bool byte_level = false;
    if (!add_step(rules, pre_tokenizer, &byte_level, problem)) return false;
    return byte_level ||
           fail(problem, "its pre_tokenizer has no ByteLevel, so its pieces are no bytes. Give its "
                         "tokenizer.model if there is one, or token numbers of its own program with --ids");
}
