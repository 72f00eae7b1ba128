/* Says how well a model knows a text, and goes on where it ends:

       complete CHECKPOINT TEXT

   cc -o complete complete.c $(pkg-config --cflags --libs polysketch) */
#include <polysketch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_bytes(void *context, const char *bytes, size_t count)
{
    (void)context;
    fwrite(bytes, 1, count, stdout);
}

static int say_error(void)
{
    fprintf(stderr, "complete: %s\n", polysketch_error());
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: complete CHECKPOINT TEXT\n"), EXIT_FAILURE;
    const char *text = argv[2];
    size_t length = strlen(text), count;
    polysketch_model *model = polysketch_open(argv[1]);
    if (!model) return say_error();

    size_t room = 2 * length + 16; /* more tokens than any usual tokenizer makes of it */
    int32_t *tokens = calloc(room, sizeof *tokens);
    float *losses = calloc(room, sizeof *losses);
    if (polysketch_encode(model, text, length, tokens, room, &count)) return say_error();
    if (polysketch_score(model, tokens, count, losses)) return say_error();
    double sum = 0;
    for (size_t i = 0; i + 1 < count; i++) sum += losses[i];
    printf("loss %.6f over %zu tokens\n%s", sum / (double)(count - 1), count - 1, text);

    polysketch_sampling sampling = POLYSKETCH_SAMPLING;
    sampling.tokens = 40;
    sampling.temperature = 0;
    if (polysketch_generate(model, tokens, count, &sampling, print_bytes, NULL, NULL)) return say_error();
    printf("\n");

    free(tokens);
    free(losses);
    polysketch_close(model);
    return EXIT_SUCCESS;
}
