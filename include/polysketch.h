/* Models of polysketch in other programs: open a checkpoint, score text, generate.

   One process and its OpenMP threads; MPI need not be started, and nothing here ends the process or prints. Calls must come
   from one thread at a time. A function that can fail returns 0 when it has not; polysketch_error() then says what was wrong
   and what helps. The memory that a call had taken before an error such as "no memory" is lost; the model is still good. The
   OpenMP threads that a call starts take denormal numbers for zero, from then on; the caller's own thread does so only during
   the call, and in its sinks.

   Tokens are numbers from 0 to polysketch_vocab_size() - 1. A loss is -log p of a token after those before it, natural logarithm.

       cc program.c $(pkg-config --cflags --libs polysketch)             examples/complete.c is one */
#ifndef POLYSKETCH_H
#define POLYSKETCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POLYSKETCH_API __attribute__((visibility("default")))

/* Of the library that is loaded: release and commit, 1.0.0+0123abc. */
POLYSKETCH_API const char *polysketch_version(void);

/* What was wrong in the last call of this thread that failed: one line, valid until the next failure. */
POLYSKETCH_API const char *polysketch_error(void);

typedef struct polysketch_model polysketch_model;

/* Reads a checkpoint, a file of a run folder's checkpoints/, and checks its values. NULL on failure. */
POLYSKETCH_API polysketch_model *polysketch_open(const char *checkpoint);
POLYSKETCH_API void polysketch_close(polysketch_model *model); /* NULL allowed */

POLYSKETCH_API size_t polysketch_vocab_size(const polysketch_model *model);
POLYSKETCH_API size_t polysketch_context_length(const polysketch_model *model); /* as trained; texts may be longer */

/* The tokens of `length` bytes of text, as the tokenizer of its data cuts them. `tokens` has room for `room` of them: `length`
   are enough where a token has at least a byte, but some tokenizers put a space before a text, or normalise it to a longer one.
   *count says how many there are, also when they are too many, which is a failure. */
POLYSKETCH_API int polysketch_encode(polysketch_model *model, const char *text, size_t length, int32_t *tokens,
                                     size_t room, size_t *count);

/* The bytes a token stands for, *length of them and no zero behind; they are the model's. NULL where it has no table of
   pieces, or no such token. */
POLYSKETCH_API const char *polysketch_piece(const polysketch_model *model, int32_t token, size_t *length);

/* losses (count - 1): of tokens 1, 2, ... of `count` > 1, each after all before it. */
POLYSKETCH_API int polysketch_score(polysketch_model *model, const int32_t *tokens, size_t count, float *losses);

/* How text is drawn. */
typedef struct polysketch_sampling {
    size_t tokens;      /* to write, at most */
    double temperature; /* 0: always the most likely token */
    size_t top_k;       /* only the k most likely ones; 0: all */
    double top_p;       /* of these only the most likely that together have this share of their probability; 1: all */
    uint64_t seed;      /* equal seeds, prompts and builds give equal texts */
    const char *stop;   /* end before this text; NULL or "": only at `tokens` */
} polysketch_sampling;

/* 200 tokens as `polysketch generate` draws them. */
#define POLYSKETCH_SAMPLING                                                                                            \
    {                                                                                                                  \
        200, 0.8, 0, 1.0, 1, 0                                                                                         \
    }

/* Gets the bytes of a text as they are written: of some tokens none, when they may belong to the stop text. */
typedef void (*polysketch_sink)(void *context, const char *bytes, size_t count);

/* Goes on after `count` > 0 tokens, which are not repeated. *written, unless NULL: how many tokens were. Numbers with a blank
   behind each reach the sink where the model has no table of pieces; a stop text is then refused. The sink must return. */
POLYSKETCH_API int polysketch_generate(polysketch_model *model, const int32_t *prompt, size_t count,
                                       const polysketch_sampling *sampling, polysketch_sink sink, void *context,
                                       size_t *written);

#ifdef __cplusplus
}
#endif

#endif
