/* Tokenizers, token files, the choice of sequences and metrics tables. */
#include <dirent.h>
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/batch_loader.h"
#include "io/disk.h"
#include "io/file_format.h"
#include "io/h5.h"
#include "io/metrics.h"
#include "io/piece_table.h"
#include "io/token_file.h"
#include "io/token_verdict.h"
#include "mpi/world.h"
#include "src/base/memory.h"
#include "tests/harness/check.h"
#include "tests/harness/scratch.h"
#include "tests/harness/suite.h"

static void expect_failure(bool good, const Message *problem, const char *word)
{
    check_true(!good, "must fail because of: %s", word);
    check_true(good || strstr(problem->text, word), "'%s' must say: %s", problem->text, word);
}

/* ---- tokenizer ---- */

static Tokenizer tokenizer_of_text(const char *name, const char *text)
{
    Tokenizer tokenizer = {0};
    Message remark, problem = {""};
    scratch_write(name, text, strlen(text));
    check_true(piece_table_read(scratch_path(name), &tokenizer, &remark, &problem), "table read: %s", problem.text);
    return tokenizer;
}

static void check_encoding(Tokenizer *tokenizer, const char *text, const int32_t *expected, size_t count)
{
    TokenList got = {0};
    Message problem = {""};
    check_true(tokenizer_encode(tokenizer, text, strlen(text), &got, &problem), "'%s': %s", text, problem.text);
    check_true(got.count == count && (count == 0 || memcmp(got.ids, expected, count * sizeof *expected) == 0),
               "'%s' has %zu tokens, the first %d", text, got.count, got.count ? (int)got.ids[0] : -1);
    free(got.ids);
}

static void test_bytes(void)
{
    Tokenizer tokenizer = tokenizer_bytes();
    size_t length = 0;
    check_true(tokenizer.vocab_size == 256 && tokenizer_has_pieces(&tokenizer), "256 pieces");
    for (int i = 0; i < 256; i++)
        check_true(tokenizer_piece(&tokenizer, i, &length)[0] == i && length == 1, "piece %d", i);
    check_encoding(&tokenizer, "Az\xff", (int32_t[]){'A', 'z', 255}, 3);
    tokenizer_destroy(&tokenizer);
}

static void test_longest_match(void)
{
    Tokenizer tokenizer = tokenizer_of_text("plain", "a\nab\nabcd\nb\nc\nbc\n<0x0A>\nb\n");
    check_true(tokenizer.vocab_size == 8, "%lld pieces", (long long)tokenizer.vocab_size);
    check_encoding(&tokenizer, "abc", (int32_t[]){1, 4}, 2); /* abcd does not fit, ab is longer than a */
    check_encoding(&tokenizer, "abcdbca", (int32_t[]){2, 5, 0}, 3);
    check_encoding(&tokenizer, "b\nb", (int32_t[]){7, 6, 7}, 3); /* of equal pieces the last */
    check_encoding(&tokenizer, "", NULL, 0);
    TokenList tokens = {0};
    Message problem;
    expect_failure(tokenizer_encode(&tokenizer, "abx", 3, &tokens, &problem), &problem, "byte 2 (value 0x78)");
    tokenizer_destroy(&tokenizer);
    Tokenizer unknown = {.name = "mine", .vocab_size = 8};
    expect_failure(tokenizer_encode(&unknown, "a", 1, &tokens, &problem), &problem, "mine");
    free(tokens.ids);
}

static void test_sentencepiece_table(void)
{
    Tokenizer tokenizer =
        tokenizer_of_text("m.vocab", "<unk>\t0\n<0xC3>\t-1\n\xe2\x96\x81the\t-2.5\n\xe2\x96\x81\xe2\x96\x81\t-3e-2\n"
                                     "\t\t-4\n");
    size_t length;
    check_true(strcmp(tokenizer.name, "m.vocab") == 0 && tokenizer.vocab_size == 5, "'%s', %lld pieces", tokenizer.name,
               (long long)tokenizer.vocab_size);
    const uint8_t *piece = tokenizer_piece(&tokenizer, 2, &length);
    check_true(length == 4 && memcmp(piece, " the", 4) == 0, "U+2581 is a space");
    piece = tokenizer_piece(&tokenizer, 1, &length);
    check_true(length == 1 && piece[0] == 0xC3, "<0xC3> is a byte");
    piece = tokenizer_piece(&tokenizer, 4, &length);
    check_true(length == 1 && piece[0] == '\t', "a TAB can be a piece");
    check_encoding(&tokenizer, "   the", (int32_t[]){3, 2}, 2);
    tokenizer_destroy(&tokenizer);
}

/* As tools write them. */
static void test_odd_tables(void)
{
    static const struct {
        const char *name, *text, *remark;
        const char *pieces[4]; /* of 3 tokens at most, then NULL */
    } taken[] = {
        {"crlf.vocab",
         "<unk>\t0\r\n\xe2\x96\x81"
         "a\t-1\r\nb\t-2\r\n",
         "",
         {"<unk>", " a", "b"}},
        {"newline.vocab", "<unk>\t0\n\n\t-1\nb\t-2\n", "", {"<unk>", "\n", "b"}},
        {"newlines.vocab", "<unk>\t0\n\n\n\t-1\n\t-2", "", {"<unk>", "\n\n", ""}},
        {"return.vocab", "<unk>\t0\n\r\t-1\n\t\t-2\n", "", {"<unk>", "\r", "\t"}},
        {"crlf.txt", "a\r\nb\r\n<0x0D>\r\n", "", {"a", "b", "\r"}},
        {"mark.txt",
         "\xef\xbb\xbf"
         "a\nb\n<0x A>",
         "byte order mark",
         {"a", "b", "<0x A>"}},
        {"blank-end.txt", "a\n<0x>\nc\n\n\n", "2 empty lines at the end", {"a", "", "c"}},
        {"cut.txt",
         "\xe2\x96\x81"
         "a\nb\nc",
         "1 pieces begin with U+2581",
         {"\xe2\x96\x81"
          "a",
          "b", "c"}},
    };
    Message problem, remark;
    Tokenizer tokenizer;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        scratch_write(taken[i].name, taken[i].text, strlen(taken[i].text));
        bool good = piece_table_read(scratch_path(taken[i].name), &tokenizer, &remark, &problem);
        if (!check_true(good, "%s: %s", taken[i].name, problem.text)) continue;
        check_true(taken[i].remark[0] ? strstr(remark.text, taken[i].remark) != NULL : remark.text[0] == 0, "%s: '%s'",
                   taken[i].name, remark.text);
        check_true(tokenizer.vocab_size == 3, "%s: %d pieces", taken[i].name, (int)tokenizer.vocab_size);
        for (int id = 0; id < 3 && id < tokenizer.vocab_size; id++) {
            size_t length;
            const uint8_t *piece = tokenizer_piece(&tokenizer, id, &length);
            check_true(length == strlen(taken[i].pieces[id]) && memcmp(piece, taken[i].pieces[id], length) == 0,
                       "%s: piece %d is '%.*s'", taken[i].name, id, (int)length, (const char *)piece);
        }
        tokenizer_destroy(&tokenizer);
    }
}

/* What cannot be told from an error. */
static void test_refused_tables(void)
{
    static const struct {
        const char *name, *text, *words;
    } refused[] = {
        {"bad.vocab", "a\t-1\nb\n", "bad.vocab':2: no TAB"},
        {"hole.vocab", "a\t0\n\nb\t-1\n", "hole.vocab':2: an empty"},
        {"hole.txt", "a\n\n\nb\n", "hole.txt':3: an empty"},
        {"mixed.txt", "a\nb\r\nc\n", "mixed.txt':2: this line"},
        {"mixed2.txt", "a\r\nb\n", "mixed2.txt':2: this line"},
        {"list.json", "{\"a\": 0,\n\"b\": 1}\n", "is JSON"},
        {"short.txt", "a\n", "has 1 pieces"},
        {"empty.txt", "", "has 0 pieces"},
    };
    Message problem, remark;
    Tokenizer tokenizer;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        scratch_write(refused[i].name, refused[i].text, strlen(refused[i].text));
        expect_failure(piece_table_read(scratch_path(refused[i].name), &tokenizer, &remark, &problem), &problem,
                       refused[i].words);
    }
    scratch_write("binary.model", "a\nb\0c\n", 6);
    expect_failure(piece_table_read(scratch_path("binary.model"), &tokenizer, &remark, &problem), &problem,
                   "binary.model':2: a zero byte");
    expect_failure(piece_table_read(scratch_path("no.vocab"), &tokenizer, &remark, &problem), &problem, "No such file");
    expect_failure(piece_table_read(scratch_path("."), &tokenizer, &remark, &problem), &problem, "a folder");
}

/* ---- token files ---- */

static int32_t token_at(size_t i, int64_t vocab_size) { return (int32_t)(i * i * 2654435761u % (uint64_t)vocab_size); }

/* Each half a document of its own, or without a word of documents. */
static void write_parts(const char *path, const Tokenizer *tokenizer, size_t count, bool documents)
{
    Message problem = {""};
    TokenWriter *writer = token_file_create(path, tokenizer, count, &problem);
    if (!check_true(writer != NULL, "created: %s", problem.text)) return;
    int32_t *ids = checked_calloc(count, sizeof *ids);
    for (size_t i = 0; i < count; i++) ids[i] = token_at(i, tokenizer->vocab_size);
    size_t half = count / 2;
    if (documents) token_file_begin_document(writer);
    check_true(token_file_append(writer, ids, half, &problem), "appended: %s", problem.text);
    if (documents) token_file_begin_document(writer);
    check_true(token_file_append(writer, ids + half, count - half, &problem), "appended: %s", problem.text);
    check_true(access(path, F_OK) != 0, "no file under the final name before the end");
    check_true(token_file_finish(&writer, 1, NULL, &problem), "finished: %s", problem.text);
    free(ids);
}

static void write_tokens(const char *path, const Tokenizer *tokenizer, size_t count)
{
    write_parts(path, tokenizer, count, false);
}

static void check_tokens(TokenFile *file, size_t first, size_t count)
{
    Message problem = {""};
    int32_t *ids = checked_calloc(count, sizeof *ids);
    check_true(token_file_read(file, first, count, ids, &problem), "read: %s", problem.text);
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) wrong += ids[i] != token_at(first + i, file->vocab_size);
    check_true(wrong == 0, "%zu of the %zu tokens from %zu are wrong", wrong, count, first);
    free(ids);
}

static void check_round_trip(int64_t vocab_size, int token_bytes)
{
    const size_t count = (1 << 20) + 37; /* more than a chunk */
    char name[32];
    snprintf(name, sizeof name, "v%lld.h5", (long long)vocab_size);
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = vocab_size};
    write_tokens(scratch_path(name), &tokenizer, count);
    Message problem = {""};
    TokenFile *file = token_file_open(scratch_path(name), &problem);
    if (!check_true(file != NULL, "opened: %s", problem.text)) return;
    check_true(file->count == count && file->vocab_size == vocab_size && file->token_bytes == token_bytes,
               "%zu tokens of %d bytes", file->count, file->token_bytes);
    check_true(strcmp(file->tokenizer.name, "numbers") == 0 && !tokenizer_has_pieces(&file->tokenizer), "tokenizer");
    check_tokens(file, 0, count);
    check_tokens(file, 0, 0);
    check_tokens(file, count - 1, 1);
    check_tokens(file, (1 << 20) - 3, 20);
    int32_t id;
    expect_failure(token_file_read(file, count, 1, &id, &problem), &problem, "tokens");
    token_file_close(file);
}

static void test_round_trip(void)
{
    check_round_trip(256, 1);
    check_round_trip(257, 2);
    check_round_trip(70000, 4);
}

static void test_pieces_round_trip(void)
{
    Tokenizer tokenizer =
        tokenizer_of_text("pieces", "x\n<0x>\nlonger piece\n<0x00>\n"); /* with an empty one and a zero byte */
    write_tokens(scratch_path("pieces.h5"), &tokenizer, 10);
    Message problem = {""};
    TokenFile *file = token_file_open(scratch_path("pieces.h5"), &problem);
    if (!check_true(file != NULL, "opened: %s", problem.text)) return;
    for (int i = 0; i < 4; i++) {
        size_t length, expected_length;
        const uint8_t *expected = tokenizer_piece(&tokenizer, i, &expected_length);
        const uint8_t *piece = tokenizer_piece(&file->tokenizer, i, &length);
        check_true(length == expected_length && memcmp(piece, expected, length) == 0, "piece %d", i);
    }
    token_file_close(file);
    tokenizer_destroy(&tokenizer);
}

static int temporaries_in(const char *folder)
{
    int count = 0;
    DIR *entries = opendir(scratch_path(folder));
    for (struct dirent *entry; entries && (entry = readdir(entries));) count += strstr(entry->d_name, ".tmp") != NULL;
    if (entries) closedir(entries);
    return count;
}

static void test_wrong_tokens(void)
{
    Message problem = {""};
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = 300};
    TokenWriter *writer = token_file_create(scratch_path("wrong.h5"), &tokenizer, 0, &problem);
    expect_failure(token_file_append(writer, (int32_t[]){1, 300}, 2, &problem), &problem, "token 1 is 300");
    token_file_abandon(writer);
    check_true(temporaries_in(".") == 0, "nothing is left of an abandoned file");
    expect_failure(token_file_create(scratch_path("huge.h5"), &tokenizer, (size_t)1 << 60, &problem) != NULL, &problem,
                   "MB are free");
    expect_failure(token_file_create(scratch_path("nowhere/a.h5"), &tokenizer, 0, &problem) != NULL, &problem,
                   "nowhere");
}

static bool write_both(int32_t token, const char *obsolete, Message *problem)
{
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = 300};
    TokenWriter *writers[2] = {token_file_create(scratch_path("pair/first.h5"), &tokenizer, 0, problem),
                               token_file_create(scratch_path("pair/second.h5"), &tokenizer, 0, problem)};
    for (int i = 0; i < 2; i++) token_file_append(writers[i], (int32_t[]){token, token}, 2, problem);
    return token_file_finish(writers, 2, obsolete, problem);
}

static int32_t first_token(const char *name)
{
    int32_t token = -1;
    Message problem;
    TokenFile *file = token_file_open(scratch_path(name), &problem);
    if (file && !token_file_read(file, 0, 1, &token, &problem)) token = -2;
    token_file_close(file);
    return token;
}

/* Files that belong together appear together or not at all, and earlier ones stay or go together. */
static void test_together(void)
{
    Message problem = {""};
    mkdir(scratch_path("pair"), 0777);
    mkdir(scratch_path("pair/second.h5"), 0777); /* stands in the way of the second */
    expect_failure(write_both(1, NULL, &problem), &problem, "second.h5");
    check_true(access(scratch_path("pair/first.h5"), F_OK) != 0 && temporaries_in("pair") == 0, "nothing is left");
    rmdir(scratch_path("pair/second.h5"));
    check_true(write_both(1, NULL, &problem), "written: %s", problem.text);
    scratch_write("pair/second.h5.checked", "old", 3);
    scratch_write("pair/third.h5", "old", 3);
    check_true(write_both(2, scratch_path("pair/third.h5"), &problem), "replaced: %s", problem.text);
    check_true(first_token("pair/first.h5") == 2 && first_token("pair/second.h5") == 2, "both are new");
    check_true(access(scratch_path("pair/third.h5"), F_OK) != 0 &&
                   access(scratch_path("pair/second.h5.checked"), F_OK) != 0,
               "what belonged to the old ones is gone");
    mkdir(scratch_path("pair/third.h5"), 0777);
    expect_failure(write_both(3, scratch_path("pair/third.h5"), &problem), &problem, "third.h5");
    check_true(first_token("pair/first.h5") == 2 && first_token("pair/second.h5") == 2, "both are the earlier ones");
    check_true(temporaries_in("pair") == 0, "no other name is left");
}

/* Starts that fill more than a chunk of them; a document without tokens leaves no trace. */
static void test_documents(void)
{
    enum { DOCUMENTS = (1 << 13) + 5 };
    Message problem = {""};
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = 300};
    TokenWriter *writer = token_file_create(scratch_path("documents.h5"), &tokenizer, 0, &problem);
    int64_t *expected = checked_calloc(DOCUMENTS, sizeof *expected),
            *starts = checked_calloc(DOCUMENTS, sizeof *starts);
    int64_t total = 0;
    for (int i = 0; i < DOCUMENTS; i++) {
        expected[i] = total;
        token_file_begin_document(writer);
        if (i % 7 == 3) token_file_begin_document(writer);
        for (int t = 0; t < 1 + i % 4; t++, total++)
            check_true(token_file_append(writer, &(int32_t){t}, 1, &problem), "appended: %s", problem.text);
    }
    token_file_begin_document(writer);
    check_true(token_file_finish(&writer, 1, NULL, &problem), "finished: %s", problem.text);
    TokenFile *file = token_file_open(scratch_path("documents.h5"), &problem);
    if (!check_true(file != NULL, "opened: %s", problem.text)) return;
    check_true(file->document_count == DOCUMENTS && (int64_t)file->count == total, "%zu documents",
               file->document_count);
    check_true(token_file_check(file, &problem), "checked: %s", problem.text);
    check_true(token_file_documents(file, 0, DOCUMENTS, starts, &problem), "read: %s", problem.text);
    check_true(memcmp(starts, expected, DOCUMENTS * sizeof *starts) == 0, "all starts");
    check_true(token_file_documents(file, 8189, 8, starts, &problem), "read: %s", problem.text);
    check_true(memcmp(starts, expected + 8189, 8 * sizeof *starts) == 0, "starts on both sides of a chunk's end");
    expect_failure(token_file_documents(file, DOCUMENTS, 1, starts, &problem), &problem, "documents");
    token_file_close(file);
    free(expected);
    free(starts);
}

static bool has_verdict(const char *path)
{
    char name[600];
    snprintf(name, sizeof name, "%s.checked", path);
    return access(name, F_OK) == 0;
}

/* Changes a token behind HDF5's back, and sets the time of the change back to the one before. */
static void change_byte(const char *path, size_t place, int byte)
{
    struct stat status;
    check_true(stat(path, &status) == 0, "there");
    FILE *file = fopen(path, "r+b");
    fseek(file, (long)place, SEEK_SET);
    fputc(byte, file);
    fclose(file);
    check_true(utimensat(AT_FDCWD, path, (struct timespec[]){status.st_atim, status.st_mtim}, 0) == 0, "times");
}

static bool check_file(const char *path, Message *problem)
{
    TokenFile *file = token_file_open(path, problem);
    bool good = file && token_file_check(file, problem);
    token_file_close(file);
    return good;
}

/* A file is read whole once; whatever happens to it or to the verdict makes it be read again. */
static void test_verdict(void)
{
    Message problem = {""};
    const char *path = scratch_path("verdict.h5");
    char verdict[600], line[300] = "", other[300] = "";
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space, tokens;
    h5_write_text(file, "format", FORMAT_TOKENS), h5_write_integer(file, "format_version", 1);
    h5_write_integer(file, "vocab_size", 100);
    space = H5Screate_simple(1, &(hsize_t){5000}, NULL);
    tokens = H5Dcreate2(file, "tokens", H5T_STD_U8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    uint8_t ids[5000] = {99};
    H5Dwrite(tokens, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids);
    size_t place = H5Dget_offset(tokens);
    H5Dclose(tokens), H5Sclose(space), H5Fclose(file);
    check_true(check_file(path, &problem) && !has_verdict(path), "a file of this moment gets none: %s", problem.text);
    sleep(3);
    check_true(check_file(path, &problem) && has_verdict(path), "an older one gets it: %s", problem.text);
    snprintf(verdict, sizeof verdict, "%s.checked", path);
    FILE *text = fopen(verdict, "r");
    check_true(text && fgets(line, sizeof line, text) && strstr(line, "bytes ") && strstr(line, " xxh3 "), "'%s'",
               line);
    if (text) fclose(text);
    struct stat before, after;
    check_true(stat(verdict, &before) == 0 && check_file(path, &problem) && stat(verdict, &after) == 0 &&
                   before.st_ino == after.st_ino,
               "a second check leaves it: it was not read again");
    change_byte(path, place, 120);
    expect_failure(check_file(path, &problem), &problem, "token 0 is 120");
    strcpy(other, line); /* cut off */
    other[strlen(other) / 2] = 0;
    scratch_write("verdict.h5.checked", other, strlen(other));
    expect_failure(check_file(path, &problem), &problem, "token 0 is 120");
    scratch_write("verdict.h5.checked", line, strlen(line)); /* about the contents before */
    expect_failure(check_file(path, &problem), &problem, "token 0 is 120");
    sleep(3);
    TokenFileState state; /* a verdict that is wrong shows that nothing else was looked at */
    check_true(token_verdict_state(path, &state), "state");
    token_verdict_write(path, &state, 1);
    check_true(check_file(path, &problem), "the verdict counts: %s", problem.text);
    TokenFile *opened = token_file_open(path, &problem);
    expect_failure(opened && token_file_examine(opened, &problem), &problem, "token 0 is 120");
    token_file_close(opened);
}

/* ---- files of others ---- */

/* False where there is no h5py to make the files with. */
static bool run_python(const char *script)
{
    scratch_write("make.py", script, strlen(script));
    char command[700];
    snprintf(command, sizeof command, "cd %s && /usr/bin/python3 make.py", scratch_path("."));
    return system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") == 0 &&
           check_true(system(command) == 0, "script runs");
}

static const char make_files[] =
    "import h5py, numpy as np\n"
    "def make(name, tokens, pieces=None, bytes_attributes=False, documents=None, compression=None, **changes):\n"
    "    attributes = dict(format='polysketch-tokens', format_version=1, tokenizer='mine', vocab_size=4) | changes\n"
    "    with h5py.File(name + '.h5', 'w') as f:\n"
    "        for key, value in attributes.items():\n"
    "            if value is not None:\n"
    "                f.attrs[key] = np.bytes_(value) if bytes_attributes and isinstance(value, str) else value\n"
    "        if tokens is not None: f.create_dataset('tokens', data=tokens, compression=compression)\n"
    "        if pieces is not None: f['pieces'] = pieces\n"
    "        if documents is not None: f['documents'] = documents\n"
    "tokens = np.array([0, 1, 2, 3, 3], np.uint16)\n"
    "texts = ['a', '', 'b\\u00e9', '\\n']\n"
    "vlen = np.empty(4, dtype=h5py.vlen_dtype(np.uint8))\n"
    "for i, t in enumerate(texts): vlen[i] = np.frombuffer(t.encode(), np.uint8)\n"
    "make('plain', tokens)\n"
    "make('fixed-attributes', tokens, bytes_attributes=True, format_version=np.int32(1), vocab_size=np.float32(4))\n"
    "make('array-attributes', tokens.astype('<u4'), vocab_size=np.array([4]))\n"
    "make('pieces-vlen', tokens.astype(np.uint8), vlen)\n"
    "make('pieces-string', tokens.astype('>u2'), np.array(texts, dtype=h5py.string_dtype()))\n"
    "make('pieces-fixed', tokens.astype(np.int32), np.array([t.encode() for t in texts]))\n"
    "make('text', np.frombuffer(b'text', np.uint8), tokenizer='bytes', vocab_size=128)\n"
    "make('no-vocabulary', tokens, vocab_size=None)\n"
    "make('small-vocabulary', tokens, vocab_size=3)\n"
    "make('negative', np.array([1, -1], np.int16))\n"
    "make('few-pieces', tokens, vlen[:3])\n"
    "make('floats', tokens.astype(np.float32))\n"
    "make('long', tokens.astype(np.int64))\n"
    "make('lzf', tokens, compression='lzf')\n"
    "make('text-vocabulary', tokens, vocab_size='4')\n"
    "make('text-version', tokens, format_version='1')\n"
    "make('long-name', tokens, tokenizer='x' * 64)\n"
    "make('square', tokens[:4].reshape(2, 2))\n"
    "make('none', None)\n"
    "starts = lambda *numbers: dict(documents=np.array(numbers, np.uint64))\n"
    "make('documents-good', tokens, **starts(0, 3))\n"
    "make('documents-late', tokens, **starts(1, 3))\n"
    "make('documents-back', tokens, **starts(0, 3, 2))\n"
    "make('documents-outside', tokens, **starts(0, 5))\n"
    "make('documents-huge', tokens, **starts(0, 2**64 - 1))\n"
    "make('documents-many', tokens, **starts(0, 1, 2, 3, 4, 5))\n"
    "make('documents-real', tokens, documents=np.array([0., 3.]))\n"
    "make('documents-empty', tokens, **starts())\n"
    "make('other-format', tokens, format='others')\n"
    "make('newer', tokens, format_version=2)\n"
    "h5py.File('foreign.h5', 'w').close()\n";

static void check_accepted(const char *name, bool has_pieces)
{
    Message problem = {""};
    TokenFile *file = token_file_open(scratch_path(name), &problem);
    if (!check_true(file != NULL, "%s is accepted: %s", name, problem.text)) return;
    int32_t ids[5] = {9, 9, 9, 9, 9}, expected[5] = {0, 1, 2, 3, 3};
    check_true(file->count == 5 && token_file_read(file, 0, 5, ids, &problem), "%s is read: %s", name, problem.text);
    check_true(memcmp(ids, expected, sizeof ids) == 0, "%s: tokens", name);
    check_true(strcmp(file->tokenizer.name, "mine") == 0, "%s: tokenizer '%s'", name, file->tokenizer.name);
    check_true(tokenizer_has_pieces(&file->tokenizer) == has_pieces, "%s: pieces", name);
    static const char *const texts[] = {"a", "", "b\xc3\xa9", "\n"};
    for (int i = 0; i < 4 && has_pieces; i++) {
        size_t length;
        const uint8_t *piece = tokenizer_piece(&file->tokenizer, i, &length);
        check_true(length == strlen(texts[i]) && memcmp(piece, texts[i], length) == 0, "%s: piece %d", name, i);
    }
    token_file_close(file);
}

static void check_refused(const char *name, const char *word)
{
    Message problem = {""};
    TokenFile *file = token_file_open(scratch_path(name), &problem);
    bool good = file != NULL;
    int32_t ids[8];
    if (file) good = token_file_read(file, 0, file->count, ids, &problem) && token_file_check(file, &problem);
    expect_failure(good, &problem, word);
    check_true(strstr(problem.text, name) != NULL, "'%s' must name %s", problem.text, name);
    token_file_close(file);
}

static void test_files_of_h5py(void)
{
    if (!run_python(make_files)) {
        printf("       without h5py in /usr/bin/python3: files of others are not tested\n");
        return;
    }
    check_accepted("plain.h5", false);
    check_accepted("fixed-attributes.h5", false);
    check_accepted("array-attributes.h5", false);
    check_accepted("documents-good.h5", false);
    check_accepted("pieces-vlen.h5", true);
    check_accepted("pieces-string.h5", true);
    check_accepted("pieces-fixed.h5", true);
    check_refused("no-vocabulary.h5", "vocab_size");
    check_refused("small-vocabulary.h5", "token 3 is 3");
    check_refused("negative.h5", "token 1 is -1");
    check_refused("few-pieces.h5", "3 entries");
    check_refused("floats.h5", "uint8");
    check_refused("floats.h5", "float32");
    check_refused("long.h5", "int64, not uint8");
    check_refused("lzf.h5", "filter lzf (32000)");
    check_refused("text-vocabulary.h5", "vocab_size that is a number");
    check_refused("text-version.h5", "format_version that is a number");
    check_refused("long-name.h5", "at most 63 bytes");
    check_refused("square.h5", "2 dimensions");
    check_refused("none.h5", "no dataset tokens");
    check_refused("documents-late.h5", "document 0 starts at token 1");
    check_refused("documents-back.h5", "document 2 starts at token 2");
    check_refused("documents-outside.h5", "document 1 starts at token 5");
    check_refused("documents-huge.h5", "document 1 starts at token");
    check_refused("documents-many.h5", "6 starts for 5 tokens");
    check_refused("documents-real.h5", "uint64");
    check_refused("documents-empty.h5", "0 starts");
    check_refused("other-format.h5", "others");
    check_refused("newer.h5", "version 2");
    check_refused("foreign.h5", "no attribute format");
    Message problem = {""};
    TokenFile *file = token_file_open(scratch_path("text.h5"), &problem);
    if (!check_true(file != NULL, "text: %s", problem.text)) return;
    check_true(tokenizer_has_pieces(&file->tokenizer) && file->tokenizer.vocab_size == 128, "bytes below 128");
    token_file_close(file);
}

/* Shapes, links and types that are sound HDF5, and would make a trusting reader take all memory, follow links to other
   files, or wait for ever. */
static const char make_hostile_files[] =
    "import h5py, numpy as np, os\n"
    "def begin(name, **changes):\n"
    "    f = h5py.File(name + '.h5', 'w')\n"
    "    f.attrs.update(dict(format='polysketch-tokens', format_version=1, tokenizer='mine', vocab_size=4) | changes)\n"
    "    return f\n"
    "tokens = np.array([0, 1, 2, 3, 3], np.uint8)\n"
    "with begin('good') as f: f['tokens'] = tokens\n"
    "os.mkfifo('pipe.h5')\n"
    "with begin('endless') as f: f.create_dataset('tokens', (1 << 60,), 'u1', chunks=(1 << 20,))\n"
    "with begin('wide-chunk') as f: f.create_dataset('tokens', (5,), 'u1', chunks=(1 << 30,), maxshape=(None,), "
    "compression=1)\n"
    "with begin('soft') as f: f['a'], f['tokens'] = tokens, h5py.SoftLink('/a')\n"
    "with begin('external') as f: f['tokens'] = h5py.ExternalLink('pipe.h5', 'tokens')\n"
    "with begin('virtual') as f:\n"
    "    layout = h5py.VirtualLayout((5,), 'u1')\n"
    "    layout[:] = h5py.VirtualSource('good.h5', 'tokens', (5,))\n"
    "    f.create_virtual_dataset('tokens', layout)\n"
    "with begin('elsewhere') as f: f.create_dataset('tokens', (5,), 'u1', external=[('good.h5', 0, 5)])\n"
    "with begin('compound') as f: f['tokens'] = np.zeros(5, [('a', 'u1')])\n"
    "with begin('null') as f: f['tokens'] = h5py.Empty('u1')\n"
    "with begin('group') as f: f.create_group('tokens')\n"
    "with begin('words', vocab_size=np.zeros(1, [('a', 'u1')])[0]) as f: f['tokens'] = tokens\n"
    "with begin('wide-pieces') as f: f['tokens'], f['pieces'] = tokens, h5py.Empty('S9')\n"
    "with begin('many-pieces') as f:\n"
    "    f['tokens'] = tokens\n"
    "    f.create_dataset('pieces', (4,), 'S1000000000')\n"
    "def pieces(name, count, ends):\n"
    "    with begin(name) as f:\n"
    "        f['tokens'], f['tokenizer/bytes'], f['tokenizer/ends'] = tokens, np.zeros(count, np.uint8), "
    "np.array(ends, "
    "'u8')\n"
    "pieces('ends-outside', 4, [1, 2, 3, 5])\n"
    "pieces('ends-back', 4, [1, 2, 1, 4])\n"
    "pieces('three-ends', 4, [1, 2, 4])\n";

static void test_hostile_files(void)
{
    static const struct {
        const char *name, *word;
    } cases[] = {
        {"endless.h5", "does not hold"},   {"wide-chunk.h5", "does not hold"}, {"soft.h5", "no dataset"},
        {"external.h5", "no dataset"},     {"virtual.h5", "in other files"},   {"elsewhere.h5", "in other files"},
        {"compound.h5", "uint8"},          {"null.h5", "0 dimensions"},        {"group.h5", "no dataset"},
        {"words.h5", "vocab_size"},        {"wide-pieces.h5", "dimensions"},   {"many-pieces.h5", "does not hold"},
        {"ends-outside.h5", "at token 3"}, {"ends-back.h5", "at token 2"},     {"three-ends.h5", "3 entries"}};
    if (!run_python(make_hostile_files)) return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_refused(cases[i].name, cases[i].word);
}

/* Another token below vocab_size, as a bad disk or a careless script leaves it: nothing but the digest can tell. */
static void test_changed_token(void)
{
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = 300};
    Message problem = {""};
    const char *path = scratch_path("changed.h5");
    const size_t count = (1 << 20) + 5; /* more than a chunk */
    write_tokens(path, &tokenizer, count);
    for (int changed = 0; changed < 2; changed++) {
        TokenFile *file = token_file_open(path, &problem);
        if (!check_true(file != NULL, "opened: %s", problem.text)) return;
        bool same = token_file_check(file, &problem);
        if (changed)
            expect_failure(same, &problem, "not those that were written");
        else
            check_true(same, "unchanged: %s", problem.text);
        token_file_close(file);
        hid_t handle = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), tokens = H5Dopen2(handle, "tokens", H5P_DEFAULT);
        hid_t space = H5Dget_space(tokens), one = H5Screate(H5S_SCALAR);
        H5Sselect_elements(space, H5S_SELECT_SET, 1, &(hsize_t){count - 2});
        int other = -1;
        H5Dread(tokens, H5T_NATIVE_INT, one, space, H5P_DEFAULT, &other);
        other = other > 0 ? other - 1 : 1;
        check_true(H5Dwrite(tokens, H5T_NATIVE_INT, one, space, H5P_DEFAULT, &other) >= 0, "changed");
        H5Sclose(one), H5Sclose(space), H5Dclose(tokens), H5Fclose(handle);
    }
}

/* Of what is no longer there HDF5 makes zeros, which are tokens, and no starts of documents. */
static void test_cut_while_open(void)
{
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = 70000};
    Message problem = {""};
    const char *path = scratch_path("cut-open.h5");
    write_parts(path, &tokenizer, 5000, true);
    TokenFile *file = token_file_open(path, &problem);
    if (!check_true(file != NULL, "opened: %s", problem.text)) return;
    check_tokens(file, 0, 5000);
    check_true(truncate(path, file->file_bytes - 40) == 0, "cut");
    int32_t ids[10];
    int64_t starts[2];
    expect_failure(token_file_read(file, 4990, 10, ids, &problem), &problem, "was cut while it is read");
    expect_failure(token_file_documents(file, 0, 2, starts, &problem), &problem, "was cut while it is read");
    token_file_close(file);
}

static void test_bad_files(void)
{
    Message problem;
    char format[64];
    int64_t version;
    check_refused("missing.h5", "no such file");
    scratch_write("empty.h5", "", 0);
    check_refused("empty.h5", "empty");
    scratch_write("text.txt", "Once upon a time", 16);
    check_refused("text.txt", "not an HDF5 file");
    mkdir(scratch_path("folder"), 0777);
    check_refused("folder", "folder");
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = 300};
    write_tokens(scratch_path("cut.h5"), &tokenizer, 5000);
    check_true(file_format_read(scratch_path("cut.h5"), format, &version, &problem) &&
                   strcmp(format, FORMAT_TOKENS) == 0 && version == FORMAT_VERSION,
               "format");
    check_true(truncate(scratch_path("cut.h5"), 2000) == 0, "cut");
    check_refused("cut.h5", "truncated");
    if (geteuid() == 0) return; /* root may read everything */
    write_tokens(scratch_path("locked.h5"), &tokenizer, 50);
    chmod(scratch_path("locked.h5"), 0);
    check_refused("locked.h5", "no permission");
}

/* ---- which tokens a step uses ---- */

enum { T = 5, TOKENS = 44 }; /* 8 windows, 3 tokens left over */

static TokenFile *numbered_tokens(size_t count)
{
    Message problem = {""};
    Tokenizer tokenizer = {.name = "numbers", .vocab_size = 1000};
    char name[32];
    snprintf(name, sizeof name, "numbered%zu.h5", count);
    TokenWriter *writer = token_file_create(scratch_path(name), &tokenizer, 0, &problem);
    for (size_t i = 0; i < count; i++) token_file_append(writer, &(int32_t){(int32_t)i}, 1, &problem);
    check_true(token_file_finish(&writer, 1, NULL, &problem), "finished: %s", problem.text);
    TokenFile *file = token_file_open(scratch_path(name), &problem);
    check_true(file != NULL, "opened: %s", problem.text);
    return file;
}

static void test_epochs(void)
{
    TokenFile *file = numbered_tokens(TOKENS);
    Message problem = {""};
    BatchLoader *loader = batch_loader_create(file, T, &(TokenRange){0, T}, 1, 3, &problem);
    check_true(loader && batch_loader_windows(loader) == 8, "8 windows: %s", problem.text);
    int phases_seen = 0, orders_differ = 0;
    int32_t inputs[8 * T], targets[8 * T], first_order[8] = {0};
    for (uint64_t epoch = 0; epoch < 20; epoch++) {
        check_true(batch_loader_training(loader, 8 * epoch, 8, &(TokenBatch){inputs, targets, NULL}, &problem),
                   "read: %s", problem.text);
        int phase = inputs[0] % T, windows = 0;
        for (int i = 0; i < 8; i++) {
            check_true(inputs[i * T] % T == phase, "one phase in an epoch");
            windows |= 1 << inputs[i * T] / T;
            for (int t = 0; t < T; t++)
                check_true(inputs[i * T + t] == inputs[i * T] + t && targets[i * T + t] == inputs[i * T + t] + 1,
                           "tokens follow each other");
            if (epoch == 0)
                first_order[i] = inputs[i * T] / T;
            else
                orders_differ |= first_order[i] != inputs[i * T] / T;
        }
        check_true(windows == 255, "each window once in epoch %d", (int)epoch);
        check_true(phase <= 3, "phase %d", phase);
        phases_seen |= 1 << phase;
    }
    check_true(phases_seen == 15 && orders_differ, "phases and orders change from epoch to epoch");
    batch_loader_destroy(loader);
    token_file_close(file);
}

/* Any batch size and any part of the sequence give the same tokens. */
static void test_parts_of_a_sequence(void)
{
    TokenFile *file = numbered_tokens(TOKENS);
    Message problem = {""};
    BatchLoader *whole = batch_loader_create(file, T, &(TokenRange){0, T}, 1, 3, &problem);
    BatchLoader *part = batch_loader_create(file, T, &(TokenRange){2, 3}, 1, 3, &problem);
    int32_t inputs[12 * T], targets[12 * T], part_inputs[3], part_targets[3];
    check_true(batch_loader_training(whole, 3, 12, &(TokenBatch){inputs, targets, NULL}, &problem), "read: %s",
               problem.text);
    for (int i = 0; i < 12; i++) {
        check_true(
            batch_loader_training(part, (uint64_t)(3 + i), 1, &(TokenBatch){part_inputs, part_targets, NULL}, &problem),
            "read: %s", problem.text);
        check_true(memcmp(part_inputs, inputs + i * T + 2, sizeof part_inputs) == 0, "inputs of sequence %d", i);
        check_true(memcmp(part_targets, targets + i * T + 2, sizeof part_targets) == 0, "targets of sequence %d", i);
    }
    check_true(batch_loader_sequential(part, 7, 1, &(TokenBatch){part_inputs, part_targets, NULL}, &problem),
               "read: %s", problem.text);
    check_true(part_inputs[0] == 37 && part_targets[2] == 40, "window 7, from its token 2");
    batch_loader_destroy(part);
    const TokenRange ranges[] = {{0, 1}, {3, 2}};
    part = batch_loader_create(file, T, ranges, 2, 3, &problem);
    check_true(batch_loader_training(part, 3, 1, &(TokenBatch){part_inputs, part_targets, NULL}, &problem), "read: %s",
               problem.text);
    check_true(part_inputs[0] == inputs[0] && part_inputs[1] == inputs[3] && part_inputs[2] == inputs[4],
               "two ranges, one after another: inputs");
    check_true(part_targets[0] == targets[0] && part_targets[1] == targets[3] && part_targets[2] == targets[4],
               "two ranges, one after another: targets");
    batch_loader_destroy(whole);
    batch_loader_destroy(part);
    token_file_close(file);
}

static void test_short_files(void)
{
    TokenFile *one = numbered_tokens(T + 1), *none = numbered_tokens(T);
    Message problem = {""};
    BatchLoader *loader = batch_loader_create(one, T, &(TokenRange){0, T}, 1, 3, &problem);
    check_true(loader && batch_loader_windows(loader) == 1, "T + 1 tokens are one sequence: %s", problem.text);
    int32_t inputs[3 * T], targets[3 * T];
    check_true(batch_loader_training(loader, 41, 3, &(TokenBatch){inputs, targets, NULL}, &problem), "read: %s",
               problem.text);
    for (int i = 0; i < 3; i++) check_true(inputs[i * T] == 0 && targets[i * T + T - 1] == T, "used at every step");
    batch_loader_destroy(loader);
    expect_failure(batch_loader_create(none, T, &(TokenRange){0, T}, 1, 3, &problem) != NULL, &problem, "at least 6");
    token_file_close(one);
    token_file_close(none);
}

/* In an evaluation each target counts once, with at least T - stride tokens before it unless the file has fewer, and what is read
   beyond the file is token 0. */
static void check_windows(TokenFile *file, size_t context_length, size_t stride)
{
    Message problem = {""};
    size_t scored = 0;
    TokenRange all = {0, context_length};
    BatchLoader *loader = batch_loader_create_evaluation(file, context_length, stride, &all, 1, &problem);
    check_true(loader != NULL, "loader: %s", problem.text);
    int32_t inputs[8], targets[8];
    for (uint64_t w = 0; w < batch_loader_windows(loader); w++) {
        check_true(batch_loader_sequential(loader, w, 1, &(TokenBatch){inputs, targets, NULL}, &problem), "read: %s",
                   problem.text);
        for (size_t t = 0; t < context_length; t++) {
            size_t token = w * stride + t;
            check_true(inputs[t] == (int32_t)(token < file->count ? token : 0), "window %d, input %zu", (int)w, t);
            if (!batch_loader_scores(loader, w, t)) continue;
            scored++;
            check_true(targets[t] == (int32_t)scored, "T %zu, stride %zu, window %d: target %zu is %d, not %zu",
                       context_length, stride, (int)w, t, targets[t], scored);
            check_true(w == 0 || t >= context_length - stride, "target %zu has little context", t);
        }
    }
    check_true(scored == file->count - 1, "T %zu, stride %zu: %zu targets of %zu tokens", context_length, stride,
               scored, file->count);
    batch_loader_destroy(loader);
}

static void test_evaluation_windows(void)
{
    const size_t counts[] = {2, 3, 5, 6, 7, 8, 11, 16, 17, 18};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        TokenFile *file = numbered_tokens(counts[i]);
        for (size_t context_length = 1; context_length <= 8; context_length += 2)
            for (size_t stride = 1; stride <= context_length; stride++) check_windows(file, context_length, stride);
        token_file_close(file);
    }
    TokenFile *one = numbered_tokens(1);
    Message problem = {""};
    TokenRange all = {0, T};
    expect_failure(batch_loader_create_evaluation(one, T, T, &all, 1, &problem) != NULL, &problem, "at least 2");
    token_file_close(one);
}

/* ---- metrics ---- */

static const MetricsKind steps_table = {"steps", "metrics.csv", 1, "loss", {"step", "loss", "seconds"}};

static Metrics *open_metrics(const char *folder, int64_t last_step)
{
    Message problem = {""};
    Metrics *metrics = metrics_open(scratch_path(folder), &steps_table, last_step, &problem);
    check_true(metrics != NULL, "opened: %s", problem.text);
    return metrics;
}

static void append_steps(Metrics *metrics, int first, int last)
{
    for (int step = first; step <= last; step++)
        metrics_append(metrics, (double[]){step, 1.0 / step, step == 3 ? NAN : 0.5});
}

static void store(Metrics *metrics)
{
    Message problem = {""};
    check_true(metrics_store(&metrics, 1, &problem), "stored: %s", problem.text);
}

static void store_and_close(Metrics *metrics)
{
    store(metrics);
    metrics_close(metrics);
}

typedef struct Seen {
    int columns;
    size_t rows;
    double steps[64], losses[64];
} Seen;

static void see_column(void *context, const char *group, const char *column, const double *values, size_t rows)
{
    Seen *seen = context;
    if (strcmp(group, "steps")) return;
    check_true(seen->columns == 0 || rows == seen->rows, "equally long columns");
    seen->columns++;
    seen->rows = rows;
    if (strcmp(column, "step") == 0) memcpy(seen->steps, values, rows * sizeof *values);
    if (strcmp(column, "loss") == 0) memcpy(seen->losses, values, rows * sizeof *values);
}

/* metrics.h5 and the CSV file both have steps 1 .. rows, and the losses to the last bit. */
static void check_rows(const char *folder, size_t rows)
{
    Message problem = {""};
    Seen seen = {0};
    char name[64], line[256] = "";
    snprintf(name, sizeof name, "%s/metrics.h5", folder);
    check_true(metrics_visit(scratch_path(name), see_column, &seen, &problem), "visited: %s", problem.text);
    check_true(seen.columns == 3 && seen.rows == rows, "%s: %d columns, %zu rows", folder, seen.columns, seen.rows);
    for (size_t i = 0; i < seen.rows; i++)
        check_true(seen.steps[i] == (double)i + 1 && seen.losses[i] == 1.0 / ((double)i + 1), "%s: row %zu", folder, i);
    snprintf(name, sizeof name, "%s/metrics.csv", folder);
    FILE *csv = fopen(scratch_path(name), "r");
    check_true(csv && fgets(line, sizeof line, csv) && strcmp(line, "step,loss,seconds\n") == 0, "header '%s'", line);
    size_t lines = 0;
    for (; csv && fgets(line, sizeof line, csv); lines++) {
        double loss;
        long step;
        check_true(sscanf(line, "%ld,%lf,", &step, &loss) == 2 && step == (long)lines + 1 && loss == 1.0 / (double)step,
                   "line '%s'", line);
    }
    check_true(lines == rows, "%s: %zu lines", folder, lines);
    if (csv) fclose(csv);
}

static void test_metrics_grow(void)
{
    Metrics *metrics = open_metrics("grow", -1);
    check_true(metrics_last_step(metrics) == -1, "no rows");
    append_steps(metrics, 1, 5);
    store(metrics);
    check_rows("grow", 5);
    store(metrics); /* nothing new */
    append_steps(metrics, 6, 6);
    check_true(metrics_last_step(metrics) == 6, "the last step");
    store_and_close(metrics);
    check_rows("grow", 6);
    store_and_close(open_metrics("grow", -1));
    check_rows("grow", 0);
}

/* Stops without storing, as a killed run does: metrics.h5 has not got the newest rows, the CSV file has. */
static void test_metrics_continue(void)
{
    Metrics *metrics = open_metrics("kill", -1);
    append_steps(metrics, 1, 5);
    store(metrics);
    append_steps(metrics, 6, 9);
    /* The first one is still open: it was killed, as far as the files can tell. */
    store_and_close(open_metrics("kill", 8));
    check_rows("kill", 8);
    FILE *csv = fopen(scratch_path("kill/metrics.csv"), "a");
    fputs("9,0.11", csv); /* torn by the crash */
    fclose(csv);
    Metrics *again = open_metrics("kill", 100);
    append_steps(again, 9, 10);
    store_and_close(again);
    check_rows("kill", 10);
    store_and_close(open_metrics("kill", 4)); /* back to an earlier checkpoint */
    check_rows("kill", 4);
    unlink(scratch_path("kill/metrics.csv"));
    store_and_close(open_metrics("kill", 4));
    check_rows("kill", 4);
    metrics_close(metrics);
}

/* Whatever was done to metrics.h5, the CSV file has all rows. */
static void test_metrics_damaged(void)
{
    Metrics *metrics = open_metrics("damaged", -1);
    append_steps(metrics, 1, 7);
    store_and_close(metrics);
    check_true(truncate(scratch_path("damaged/metrics.h5"), 600) == 0, "cut");
    store_and_close(open_metrics("damaged", 7));
    check_rows("damaged", 7);
}

static void test_metrics_full_disk(void)
{
    Message problem = {""};
    Metrics *metrics = open_metrics("full", -1);
    append_steps(metrics, 1, 5);
    store(metrics);
    scratch_limit_files(60); /* in the middle of a line */
    append_steps(metrics, 6, 8);
    check_true(!metrics_store(&metrics, 1, &problem) && strstr(problem.text, "metrics.h5"), "said: %s", problem.text);
    check_true(access(scratch_path("full/metrics.h5"), R_OK) == 0, "the old file is there");
    scratch_unlimit_files();
    append_steps(metrics, 9, 9);
    store_and_close(metrics);
    check_rows("full", 9);
}

static void test_metrics_tables(void)
{
    Message problem = {""};
    Metrics *tables[2] = {open_metrics("two", -1)};
    static const MetricsKind other = {
        "evaluations", "evaluations.csv", 1, "validation_loss", {"step", "validation_loss"}};
    tables[1] = metrics_open(scratch_path("two"), &other, -1, &problem);
    append_steps(tables[0], 1, 3);
    metrics_append(tables[1], (double[]){3, 2.5});
    check_true(metrics_store(tables, 2, &problem), "stored: %s", problem.text);
    metrics_close(tables[0]);
    metrics_close(tables[1]);
    check_rows("two", 3);
    /* A new column: old rows have nothing in it. */
    static const MetricsKind more = {
        "evaluations", "evaluations.csv", 1, "validation_loss", {"step", "accuracy", "validation_loss"}};
    tables[1] = metrics_open(scratch_path("two"), &more, 3, &problem);
    check_true(tables[1] != NULL, "opened: %s", problem.text);
    metrics_close(tables[1]);
    check_rows("two", 3);
    char line[64] = "";
    FILE *csv = fopen(scratch_path("two/evaluations.csv"), "r");
    check_true(csv && fgets(line, sizeof line, csv) && fgets(line, sizeof line, csv) &&
                   strcmp(line, "3,nan,2.5\n") == 0,
               "line '%s'", line);
    if (csv) fclose(csv);
    scratch_write("no-folder", "", 0);
    expect_failure(metrics_open(scratch_path("no-folder"), &other, -1, &problem) != NULL, &problem, "folder");
}

/* Several rows of a step: as many as there are heads. A run is killed among them; what is kept goes on with the very next one. */
static void test_metrics_several_rows(void)
{
    Message problem = {""};
    static const MetricsKind heads = {"attention", "attention.csv", 3, "share", {"step", "layer", "head", "share"}};
    Metrics *metrics = metrics_open(scratch_path("heads"), &heads, -1, &problem);
    double row[] = {0, 0, 0, 0.5};
    for (int i = 0; i < 11; i++) { /* 4 heads at steps 10 and 20, 3 of them at step 30 */
        row[0] = 10 * (i / 4 + 1), row[1] = i / 2 % 2, row[2] = i % 2;
        metrics_append(metrics, row);
        if (i == 5) store(metrics); /* metrics.h5 has half of step 20 */
    }
    for (int last_step = 30; last_step >= 10; last_step -= 10) {
        Metrics *again = metrics_open(scratch_path("heads"), &heads, last_step, &problem);
        store_and_close(again);
        char line[64] = "";
        int lines = 0;
        FILE *csv = fopen(scratch_path("heads/attention.csv"), "r");
        while (csv && fgets(line, sizeof line, csv)) lines++;
        check_true(lines == 1 + (last_step == 30 ? 11 : 4 * last_step / 10), "step %d: %d lines", last_step, lines);
        check_true(strcmp(line, last_step == 30   ? "30,1,0,0.5\n"
                                : last_step == 20 ? "20,1,1,0.5\n"
                                                  : "10,1,1,0.5\n") == 0,
                   "step %d ends with '%s'", last_step, line);
        if (csv) fclose(csv);
    }
    metrics_close(metrics);
}

static size_t lines_of(const char *name)
{
    size_t lines = 0;
    FILE *file = fopen(scratch_path(name), "r");
    for (int c; file && (c = getc(file)) != EOF;) lines += c == '\n';
    if (file) fclose(file);
    return lines;
}

/* Whoever opens a table with fewer rows than an earlier run left keeps the others in a file of their own. */
static void test_metrics_kept_aside(void)
{
    const char *place;
    Metrics *metrics = open_metrics("aside", -1);
    append_steps(metrics, 1, 9);
    check_true(metrics_left_out(metrics, &place) == 0, "a new table leaves nothing out");
    store_and_close(metrics);
    for (int round = 1, last = 6; last >= -1; round++, last -= 7) {
        char name[64];
        snprintf(name, sizeof name, "aside/metrics.csv.%d", round);
        if (last < 0) unlink(scratch_path("aside/metrics.csv")); /* metrics.h5 has the rows, too */
        metrics = open_metrics("aside", last);
        size_t left_out = metrics_left_out(metrics, &place);
        check_true(left_out == (round == 1 ? 3 : 6), "up to step %d: %zu left out", last, left_out);
        check_true(strcmp(place, scratch_path(name)) == 0, "called '%s'", place);
        check_true(lines_of(name) == 1 + left_out, "%s: %zu lines", name, lines_of(name));
        store_and_close(metrics);
    }
    check_true(access(scratch_path("aside/metrics.csv.3"), F_OK) != 0, "nothing more");
}

/* A CSV file that the table cannot hold whole stays as it was; what the table has, and a line that was cut off, is no reason. */
static void test_metrics_of_others(void)
{
    static const struct {
        const char *text;
        size_t rows; /* that are kept, up to step 2 */
        bool whole;
    } cases[] = {
        {"my notes\nof today\n", 0, false},
        {"step,loss,seconds\n1,5,1\n2,4,1\nthree\n", 2, false},
        {"step,loss,note,seconds\n1,5,7,1\n", 1, false},
        {"step,loss,seconds\n1,5,1\n2,4,1\n1,3,1\n", 2, false},
        {"step,loss,seconds\n-1,5,1\n", 0, false},
        {"step,loss\n1,5\n2,4\n1,5\n2,3", 2, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64], folder[32];
        snprintf(folder, sizeof folder, "others-%zu", i);
        mkdir(scratch_path(folder), 0777);
        snprintf(name, sizeof name, "%s/metrics.csv", folder);
        scratch_write(name, cases[i].text, strlen(cases[i].text));
        Metrics *metrics = open_metrics(folder, 2);
        check_true(lines_of(name) == 1 + cases[i].rows, "case %zu: %zu lines", i, lines_of(name));
        strcat(name, ".1");
        bool kept = access(scratch_path(name), F_OK) == 0;
        check_true(kept != cases[i].whole, "case %zu: %s", i, kept ? "kept aside" : "gone");
        metrics_close(metrics);
    }
}

/* A program that knows fewer columns keeps the files aside; one that knows more has no reason to. */
static void test_metrics_of_versions(void)
{
    static const MetricsKind less = {"steps", "metrics.csv", 1, "loss", {"step", "loss"}},
                             more = {"steps", "metrics.csv", 1, "loss", {"step", "new", "loss", "seconds"}};
    Message problem = {""};
    Metrics *metrics = open_metrics("versions", -1);
    append_steps(metrics, 1, 3);
    store_and_close(metrics);
    metrics = metrics_open(scratch_path("versions"), &more, 3, &problem);
    check_true(access(scratch_path("versions/metrics.h5.1"), F_OK) != 0 &&
                   access(scratch_path("versions/metrics.csv.1"), F_OK) != 0,
               "nothing is lost");
    store_and_close(metrics);
    metrics = metrics_open(scratch_path("versions"), &less, 3, &problem);
    check_true(access(scratch_path("versions/metrics.h5.1"), F_OK) == 0 && lines_of("versions/metrics.csv.1") == 4,
               "both files are kept");
    store_and_close(metrics);
}

/* Files that are there and cannot be read are not replaced. */
static void test_metrics_unreadable(void)
{
    Message problem = {""};
    mkdir(scratch_path("unreadable"), 0777);
    check_true(symlink("metrics.csv", scratch_path("unreadable/metrics.csv")) == 0, "a link to itself");
    expect_failure(metrics_open(scratch_path("unreadable"), &steps_table, 3, &problem) != NULL, &problem,
                   "cannot read");
    unlink(scratch_path("unreadable/metrics.csv"));
    check_true(!metrics_exist(scratch_path("unreadable"), "metrics.csv"), "nothing is there");
    Metrics *metrics = open_metrics("unreadable", -1);
    store(metrics);
    check_true(!metrics_exist(scratch_path("unreadable"), "metrics.csv"), "no rows are there");
    append_steps(metrics, 1, 3);
    check_true(metrics_exist(scratch_path("unreadable"), "metrics.csv"), "rows are there");
    store_and_close(metrics);
    unlink(scratch_path("unreadable/metrics.csv"));
    check_true(metrics_exist(scratch_path("unreadable"), "metrics.csv"), "metrics.h5 has them");
    check_true(truncate(scratch_path("unreadable/metrics.h5"), 600) == 0, "cut");
    check_true(metrics_exist(scratch_path("unreadable"), "metrics.csv"), "it cannot be read");
    metrics_close(open_metrics("unreadable", 3));
    check_true(access(scratch_path("unreadable/metrics.h5.1"), F_OK) == 0, "it is kept aside");
}

/* ---- names on the disk ---- */

static void test_same_file(void)
{
    Message problem = {""};
    char place[DISK_PATH_SIZE];
    mkdir(scratch_path("names"), 0777);
    scratch_write("names/one", "1", 1);
    scratch_write("names/two", "1", 1);
    check_true(symlink(scratch_path("names/one"), scratch_path("names/soft")) == 0, "linked");
    check_true(disk_same_file(scratch_path("names/one"), scratch_path("names/soft")), "a link leads to its file");
    check_true(!disk_same_file(scratch_path("names/one"), scratch_path("names/two")), "equal contents are two files");
    check_true(!disk_same_file(scratch_path("names/none"), scratch_path("names/none")) && !disk_same_file("", ""),
               "no file at all");
    for (int i = 1; i <= 2; i++) {
        check_true(disk_keep_aside(scratch_path("names/one"), place, &problem), "kept: %s", problem.text);
        check_true(strcmp(place + strlen(place) - 6, i == 1 ? "/one.1" : "/one.2") == 0 &&
                       disk_same_file(place, scratch_path("names/one")),
                   "a second name: '%s'", place);
    }
    expect_failure(disk_keep_aside(scratch_path("names/none"), place, &problem), &problem, "No such file");
}

static void test_read_all(void)
{
    enum { MANY = 100000 };
    static char many[MANY];
    Message cause;
    size_t length;
    for (int i = 0; i < MANY; i++) many[i] = (char)i; /* zeros too */
    scratch_write("all", many, MANY);
    for (int most = MANY; most >= MANY - 1; most--) {
        char *text = disk_read_all(scratch_path("all"), (size_t)most, &length, &cause);
        if (most == MANY)
            check_true(text && length == MANY && !text[MANY] && memcmp(text, many, MANY) == 0, "%zu bytes", length);
        else
            expect_failure(text != NULL, &cause, "it has more than 99999 bytes");
        free(text);
    }
    scratch_write("empty", "", 0);
    char *text = disk_read_all(scratch_path("empty"), MANY, &length, &cause);
    check_true(text && length == 0 && !text[0], "an empty file");
    free(text);
    expect_failure(disk_read_all(scratch_path("none"), MANY, &length, &cause), &cause, "No such file");
    expect_failure(disk_read_all(scratch_path("."), MANY, &length, &cause), &cause, "it is a folder");
    expect_failure(disk_read_all("/proc/self/mem", MANY, &length, &cause), &cause, "Input/output error");
}

int main(int argc, char **argv)
{
    static const TestCase tokenizer[] = {
        {"bytes", test_bytes},
        {"longest match", test_longest_match},
        {"SentencePiece table", test_sentencepiece_table},
        {"odd tables", test_odd_tables},
        {"refused tables", test_refused_tables},
    };
    static const TestCase tokens[] = {
        {"round trip", test_round_trip},
        {"pieces", test_pieces_round_trip},
        {"documents", test_documents},
        {"verdict", test_verdict},
        {"together", test_together},
        {"wrong tokens", test_wrong_tokens},
        {"files of h5py", test_files_of_h5py},
        {"bad files", test_bad_files},
        {"hostile files", test_hostile_files},
        {"a changed token", test_changed_token},
        {"a file that is cut while it is open", test_cut_while_open},
    };
    static const TestCase loader[] = {
        {"epochs", test_epochs},
        {"parts of a sequence", test_parts_of_a_sequence},
        {"short files", test_short_files},
        {"windows of an evaluation", test_evaluation_windows},
    };
    static const TestCase metrics[] = {
        {"rows are added", test_metrics_grow},
        {"a killed run continues", test_metrics_continue},
        {"damaged file", test_metrics_damaged},
        {"full disk", test_metrics_full_disk},
        {"two tables, new columns", test_metrics_tables},
        {"several rows of a step", test_metrics_several_rows},
        {"later rows are kept", test_metrics_kept_aside},
        {"files of others", test_metrics_of_others},
        {"files of other versions", test_metrics_of_versions},
        {"unreadable", test_metrics_unreadable},
    };
    static const TestCase names[] = {{"the same file, a second name", test_same_file}, {"a file whole", test_read_all}};
    static const Suite suites[] = {
        SUITE("tokenizer", tokenizer), SUITE("token file", tokens),       SUITE("batch loader", loader),
        SUITE("metrics", metrics),     SUITE("names on the disk", names),
    };
    world_start(&argc, &argv);
    scratch_make();
    int code = run_suites("test_io", suites, 5);
    scratch_remove();
    world_stop();
    return code;
}
