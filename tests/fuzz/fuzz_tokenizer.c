/* The reader of tokenizer.json, and what it has read cutting a text: the file itself, and bytes that are no UTF-8. */
#include <stdlib.h>

#include "src/text/byte_bpe.h"
#include "tests/fuzz/fuzz_file.h"

static void cut(const Cutter *cutter, const char *text, size_t length)
{
    Message problem;
    TokenList tokens = {0};
    CutterWorker *worker = cutter_worker_create(cutter);
    cutter_encode(worker, text, length, &tokens, &problem);
    for (size_t i = 0; i < tokens.count; i++)
        CHECK(tokens.ids[i] >= 0 && tokens.ids[i] < cutter_pieces(cutter)->count, "token %d is none", tokens.ids[i]);
    free(tokens.ids);
    cutter_worker_destroy(worker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hard[] = " the\xff\xc3\xa9 e\xcc\x81 <|endoftext|>  12\xed\xa0\x80\n\n\t'LL \xe2\x80\xa8x";
    enum { LONGEST = 4000 }; /* expressions that are slow on purpose are not what is looked for */
    Message problem;
    error_set_exit_hook(abort); /* with a stack */
    Cutter *cutter = cutter_create(&cutter_byte_bpe, data, size, "fuzz", NULL, &problem);
    if (!cutter) return 0;
    cut(cutter, (const char *)data, size < LONGEST ? size : LONGEST);
    cut(cutter, hard, sizeof hard);
    cutter_destroy(cutter);
    return 0;
}
