/* Weights in files of other programs: safetensors written and read, whatever is wrong with one; options as config.json; pieces as
   pieces.json. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/disk.h"
#include "io/model_json.h"
#include "io/safetensors.h"
#include "io/tokenizer_json.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "src/train/config.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

/* ---- a model of three tensors ---- */

enum { TENSORS = 3, NUMBERS = 5 + 12 + 12 };

static ParamTable small_table(void)
{
    ParamTable table = {0};
    param_table_begin_group(&table);
    param_table_add_vector(&table, "a.bias", 5, 0);
    param_table_add_matrix(&table, "b.weight", 3, 4, INIT_NORMAL, 1);
    param_table_add_stack(&table, "c.weight", 2, 3, 2, INIT_NORMAL, 1);
    param_table_seal(&table);
    return table;
}

/* Numbers that floats hold, whatever real is: tensor i has first, first + 1/8, ... with first = 10 i - 7. */
static ParamStore *small_store(const ParamTable *table)
{
    ParamStore *store = param_store_create(table, NULL, STORE_VALUES);
    for (int i = 0; i < TENSORS; i++)
        for (size_t j = 0; j < table->params[i].count; j++)
            store->kept_values(store, i)[j] = (real)(10 * i - 7) + (real)j / 8;
    return store;
}

static void write_store(const char *name, ParamStore *store)
{
    Message problem = {""};
    const SafeMetadata metadata[] = {{"format", "pt"}, {"step", "12"}};
    FILE *stream = fopen(scratch_path(name), "wb");
    safetensors_write(stream, store, metadata, 2);
    check_true(disk_close(stream, name, &problem), "%s", problem.text);
}

static void check_tensor(const SafeTensors *file, size_t place, const Param *param)
{
    const SafeTensor *tensor = &file->tensors[place];
    check_true(strcmp(tensor->name, param->name) == 0 && strcmp(tensor->type, "F32") == 0, "tensor %zu is %s, %s",
               place, tensor->name, tensor->type);
    check_true(tensor_shape_equal(&tensor->shape, &param->shape), "the shape of %s", param->name);
    check_true(tensor->end - tensor->begin == 4 * param->count, "the bytes of %s", param->name);
    check_true(safetensors_find(file, param->name) == tensor, "%s is found", param->name);
}

static void test_written_and_read(void)
{
    Message problem = {""};
    struct stat status;
    ParamTable table = small_table();
    ParamStore *written = small_store(&table), *read = param_store_create(&table, NULL, STORE_VALUES);
    write_store("small.safetensors", written);
    SafeTensors *file = safetensors_open(scratch_path("small.safetensors"), &problem);
    if (!check_true(file && file->count == TENSORS, "%s", problem.text)) return;
    for (int i = 0; i < TENSORS; i++) check_tensor(file, (size_t)i, &table.params[i]);
    check_true(strcmp(safetensors_metadata(file, "step"), "12") == 0, "metadata");
    check_true(safetensors_metadata(file, "none") == NULL, "metadata that are not there");
    check_true(safetensors_find(file, "none") == NULL, "a tensor that is not there");
    check_true(safetensors_load(file, read, &problem), "%s", problem.text);
    for (int i = 0; i < TENSORS; i++)
        check_true(memcmp(written->kept_values(written, i), read->kept_values(read, i),
                          table.params[i].count * sizeof(real)) == 0,
                   "the numbers of %s", table.params[i].name);
    check_true(stat(scratch_path("small.safetensors"), &status) == 0 && (status.st_size - 4 * NUMBERS) % 8 == 0,
               "numbers begin at a multiple of 8 bytes");
    check_true((uint64_t)status.st_size <= safetensors_bytes(&table), "the bytes of the file are foreseen");
    safetensors_close(file);
    param_store_destroy(written);
    param_store_destroy(read);
    param_table_destroy(&table);
}

/* ---- files by hand ---- */

/* A file with this header and so many bytes of numbers behind it, which are those of `numbers`, or zero. */
static void write_file(const char *name, const char *header, const void *numbers, size_t count)
{
    size_t length = strlen(header);
    uint8_t *bytes = checked_calloc(8 + length + count, 1);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(length >> 8 * i);
    memcpy(bytes + 8, header, length);
    if (numbers) memcpy(bytes + 8 + length, numbers, count);
    scratch_write(name, bytes, 8 + length + count);
    free(bytes);
}

/* Half as many bits, and the same numbers. */
static void test_half_types(void)
{
    enum { COUNT = 6 };
    static const double expected[COUNT] = {1, -2.5, 65504, 0x1p-24, 0, -0x1p-14};
    static const uint16_t halves[COUNT] = {0x3C00, 0xC100, 0x7BFF, 0x0001, 0x0000, 0x8400};
    uint16_t brains[COUNT];
    Message problem = {""};
    for (int i = 0; i < COUNT; i++) {
        float value = (float)expected[i];
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        brains[i] = (uint16_t)(bits >> 16);
    }
    for (int brain = 0; brain < 2; brain++) {
        char header[128];
        real values[COUNT];
        snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[6],\"data_offsets\":[0,12]}}",
                 brain ? "BF16" : "F16");
        write_file("half.safetensors", header, brain ? brains : halves, sizeof halves);
        SafeTensors *file = safetensors_open(scratch_path("half.safetensors"), &problem);
        if (!check_true(file != NULL, "%s", problem.text)) return;
        check_true(safetensors_readable(file->tensors), "%s can be read", file->tensors->type);
        check_true(safetensors_read(file, file->tensors, values, &problem), "%s", problem.text);
        for (int i = 0; i < COUNT; i++) {
            double exact = brain && i == 2 ? 65280 : expected[i]; /* 65504 has more digits than BF16 */
            check_true((double)values[i] == exact, "number %d of %s is %g", i, file->tensors->type, (double)values[i]);
        }
        safetensors_close(file);
    }
}

#define TENSOR(name, type, shape, places)                                                                              \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" places "}"

/* Headers with 8 bytes of numbers behind them, and a word of the message. */
static const struct {
    const char *header, *word;
} damaged[] = {
    {"", "no JSON object"},
    {"{", "no JSON object"},
    {"[1, 2]", "no JSON object"},
    {"{\"x\":1}", "no dtype"},
    {"{\"x\":{\"dtype\":\"F32\"}}", "no dtype"},
    {"{" TENSOR("x", "F32", "[2]", "[0]") "}", "no dtype"},
    {"{" TENSOR("x", "F33", "[2]", "[0,8]") "}", "'F33' is unknown"},
    {"{" TENSOR("x", "F32", "[]", "[0,8]") "}", "0 dimensions"},
    {"{" TENSOR("x", "F32", "[1,1,1,2]", "[0,8]") "}", "4 dimensions"},
    {"{" TENSOR("x", "F32", "[-2]", "[0,8]") "}", "number 1 of its shape"},
    {"{" TENSOR("x", "F32", "[2,\"1\"]", "[0,8]") "}", "number 2 of its shape"},
    {"{" TENSOR("x", "F32", "[1073741824,4611686018427387904]", "[0,8]") "}", "number 2 of its shape"},
    {"{" TENSOR("x", "F32", "[2]", "[0,1e1]") "}", "no two numbers"},
    {"{" TENSOR("x", "F32", "[2]", "[8,0]") "}", "no two numbers"},
    {"{" TENSOR("x", "F32", "[2]", "[-8,0]") "}", "no two numbers"},
    {"{" TENSOR("x", "F32", "[3]", "[0,8]") "}", "make 12 bytes, its data_offsets 8"},
    {"{" TENSOR("x", "F32", "[1]", "[0,4]") "}", "speaks of 4 bytes"},
    {"{" TENSOR("x", "F32", "[4]", "[0,16]") "}", "speaks of 16 bytes of numbers, but there are 8"},
    {"{" TENSOR("x", "F32", "[2]", "[0,8]") "," TENSOR("y", "F32", "[1]", "[4,8]") "}", "of another tensor too"},
    {"{" TENSOR("x", "F32", "[1]", "[4,8]") "}", "do not follow"},
    {"{" TENSOR("x", "F32", "[2]", "[0,8]") "," TENSOR("x", "F32", "[2]", "[0,8]") "}", "no JSON object"},
    {"{\"\xff\":1}", "no JSON object"},
};

static void refuse(const char *name, const char *word)
{
    Message problem = {""};
    SafeTensors *file = safetensors_open(scratch_path(name), &problem);
    check_true(!file && strstr(problem.text, word) && strstr(problem.text, name), "'%s' must say: %s", problem.text,
               word);
    safetensors_close(file);
}

static void test_damaged(void)
{
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        write_file("damaged.safetensors", damaged[i].header, NULL, 8);
        refuse("damaged.safetensors", damaged[i].word);
    }
    scratch_write("short.safetensors", "\1\0\0", 3);
    refuse("short.safetensors", "less than 8 bytes");
    scratch_write("long.safetensors", "\xff\0\0\0\0\0\0\0{}", 10);
    refuse("long.safetensors", "255 bytes, which is more than there are");
    scratch_write("huge.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    refuse("huge.safetensors", "more than there are");
    refuse("nowhere.safetensors", "No such file");
    refuse(".", "it is no file");
}

/* ---- weights that are not the model's ---- */

static void refuse_load(const char *word)
{
    Message problem = {""};
    ParamTable table = {0};
    param_table_begin_group(&table);
    param_table_add_vector(&table, "x", 2, 0);
    param_table_seal(&table);
    ParamStore *store = param_store_create(&table, NULL, STORE_VALUES);
    SafeTensors *file = safetensors_open(scratch_path("other.safetensors"), &problem);
    if (check_true(file != NULL, "%s", problem.text))
        check_true(!safetensors_load(file, store, &problem) && strstr(problem.text, word), "'%s' must say: %s",
                   problem.text, word);
    safetensors_close(file);
    param_store_destroy(store);
    param_table_destroy(&table);
}

static void test_other_weights(void)
{
    const float infinite[2] = {1, INFINITY};
    write_file("other.safetensors", "{" TENSOR("y", "F32", "[2]", "[0,8]") "}", NULL, 8);
    refuse_load("no tensor x (1 in all)");
    write_file("other.safetensors", "{" TENSOR("x", "F32", "[1]", "[0,4]") "," TENSOR("y", "U8", "[4]", "[4,8]") "}",
               NULL, 8);
    refuse_load("does not use: y (1 in all)");
    write_file("other.safetensors", "{" TENSOR("x", "F32", "[1,2]", "[0,8]") "}", NULL, 8);
    refuse_load("x has the shape (1, 2), by config.json it has (2)");
    write_file("other.safetensors", "{" TENSOR("x", "I32", "[2]", "[0,8]") "}", NULL, 8);
    refuse_load("x is of type I32");
    write_file("other.safetensors", "{" TENSOR("x", "F32", "[2]", "[0,8]") "}", infinite, 8);
    refuse_load("element 1 of the tensor x is not finite");
}

/* ---- options and pieces ---- */

static void write_text(const char *name, const char *text) { scratch_write(name, text, strlen(text)); }

static bool read_config(const char *name, Config *config, NameList *absent, Message *problem)
{
    OptionTable table = config_defaults(config);
    *absent = (NameList){0};
    return model_json_read(scratch_path(name), &table, absent, problem);
}

static void refuse_config(const char *text, const char *word)
{
    Config config;
    NameList absent;
    Message problem = {""};
    write_text("bad.json", text);
    check_true(!read_config("bad.json", &config, &absent, &problem) && strstr(problem.text, word) &&
                   strstr(problem.text, "bad.json"),
               "'%s' must say: %s", problem.text, word);
}

static void test_options(void)
{
    Config config, read;
    NameList absent;
    Message problem = {""};
    OptionTable table = config_defaults(&config);
    check_true(option_set(&table, 1, "model.vocab_size", "300", &problem) &&
                   option_set(&table, 1, "attention.scale", "0.1", &problem) &&
                   option_set(&table, 1, "attention.pattern", "polysketch*3,softmax", &problem) &&
                   option_set(&table, 1, "attention.gate", "data", &problem) &&
                   option_set(&table, 1, "train.document_mask", "true", &problem) &&
                   config_finish(&config, 0, &problem),
               "%s", problem.text);
    FILE *stream = fopen(scratch_path("config.json"), "wb");
    model_json_print(stream, &table, 299);
    check_true(disk_close(stream, "config.json", &problem), "%s", problem.text);
    check_true(read_config("config.json", &read, &absent, &problem), "%s", problem.text);
    check_true(absent.count == 0, "not said: %s", absent.text);
    check_true(config_hash(&read) == config_hash(&config), "all options are read as they were written");
    write_text("little.json", "{\"model_type\":\"polysketch\",\"hidden_size\":64,\"num_attention_heads\":null}");
    check_true(read_config("little.json", &read, &absent, &problem), "%s", problem.text);
    check_true(read.model.width == 64 && read.model.heads == 4 && absent.count > 10, "the rest has its defaults");
    refuse_config("{\"model_type\":\"llama\"}", "'llama'");
    refuse_config("{\"hidden_size\":64}", "model_type is missing");
    refuse_config("{\"model_type\":\"polysketch\",\"hidden_size\":\"wide\"}", "hidden_size: model.width");
    refuse_config("{\"model_type\":\"polysketch\",\"hidden_size\":[64]}", "hidden_size is neither");
    refuse_config("{\"model_type\":\"polysketch\",\"attention_kind\":\"flash\"}", "attention_kind: attention.kind");
    refuse_config("{\"model_type\":", "no JSON");
    refuse_config("[]", "no object");
}

static void check_pieces(const Tokenizer *tokenizer, int64_t end)
{
    Message problem = {""};
    Tokenizer read;
    FILE *stream = fopen(scratch_path("pieces.json"), "wb");
    pieces_json_print(stream, tokenizer, end);
    check_true(disk_close(stream, "pieces.json", &problem), "%s", problem.text);
    check_true(pieces_json_read(scratch_path("pieces.json"), &read, &problem), "%s", problem.text);
    check_true(tokenizer_has_pieces(&read) && tokenizer_same(tokenizer, &read), "the pieces of %s", tokenizer->name);
    tokenizer_destroy(&read);
}

static void refuse_pieces(const char *text, const char *word)
{
    Message problem = {""};
    Tokenizer read;
    write_text("bad.json", text);
    check_true(!pieces_json_read(scratch_path("bad.json"), &read, &problem) && strstr(problem.text, word),
               "'%s' must say: %s", problem.text, word);
    tokenizer_destroy(&read);
}

static void test_pieces(void)
{
    static uint8_t bytes[] = "a\0b\xc3\xa9\xff</s>";
    static uint64_t ends[] = {1, 3, 3,
                              5, 6, 10}; /* "a", "\0b", "", an e with an accent, a byte that is no UTF-8, "</s>" */
    const Tokenizer table = {.name = "some \xc3\xa9", .vocab_size = 6, .bytes = bytes, .ends = ends};
    Tokenizer plain = tokenizer_bytes(), with_end = tokenizer_bytes_with_end();
    int found;
    check_true(tokenizer_find_end(&table, &found) == 5 && found == 1, "</s> ends documents");
    check_true(tokenizer_find_end(&plain, &found) == -1 && found == 0, "no byte does");
    check_true(tokenizer_find_end(&with_end, &found) == 256 && found == 1, "token 256 does");
    check_pieces(&table, 5);
    check_pieces(&plain, -1);
    check_pieces(&with_end, 256);
    tokenizer_destroy(&plain);
    tokenizer_destroy(&with_end);
    refuse_pieces("{\"name\":\"x\"}", "list of pieces");
    refuse_pieces("{\"pieces\":[\"a\"]}", "no name");
    refuse_pieces("{\"name\":\"x\",\"pieces\":[\"a\",1]}", "piece 1 ");
    refuse_pieces("{\"name\":\"x\",\"pieces\":[\"\xc4\x80\"]}", "piece 0 ");
}

static const TestCase tests[] = {{"written and read", test_written_and_read},
                                 {"half as many bits", test_half_types},
                                 {"damaged files", test_damaged},
                                 {"weights of other models", test_other_weights},
                                 {"options", test_options},
                                 {"pieces", test_pieces}};
static const Suite suites[] = {SUITE("weights", tests)};

int main(int argc, char **argv)
{
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_weights", suites, 1);
    scratch_remove();
    world_stop();
    return code;
}
