#include "src/text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/digest.h"
#include "src/base/memory.h"

/* What becomes of a pair; `pair` has the left token in its upper half. */
typedef struct MergeSlot {
    uint64_t pair;
    uint32_t rank;
    int32_t merged; /* -1: the slot is free */
} MergeSlot;

struct Bpe {
    BpeSettings settings;
    MergeSlot *slots; /* (1 << bits), open addressing, at most half of them taken */
    int bits;
    const Pieces *words;
    int32_t *order; /* of them */
};

/* ---- rules ---- */

static MergeSlot *find_slot(const Bpe *bpe, uint64_t pair)
{
    size_t mask = ((size_t)1 << bpe->bits) - 1, place = pair * UINT64_C(0x9E3779B97F4A7C15) >> (64 - bpe->bits);
    while (bpe->slots[place].merged >= 0 && bpe->slots[place].pair != pair) place = (place + 1) & mask;
    return &bpe->slots[place];
}

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)left << 32 | (uint32_t)right; }

Bpe *bpe_create(const BpeSettings *settings, const BpeMerge *merges, size_t count, const Pieces *words)
{
    Bpe *bpe = checked_calloc(1, sizeof *bpe);
    *bpe = (Bpe){.settings = *settings, .bits = 4, .words = words};
    while ((size_t)1 << bpe->bits < 2 * count) bpe->bits++;
    bpe->slots = checked_calloc((size_t)1 << bpe->bits, sizeof *bpe->slots);
    for (size_t i = 0; i < (size_t)1 << bpe->bits; i++) bpe->slots[i].merged = -1;
    for (size_t i = 0; i < count; i++) {
        uint64_t pair = pair_of(merges[i].left, merges[i].right);
        *find_slot(bpe, pair) = (MergeSlot){pair, (uint32_t)i, merges[i].merged};
    }
    if (words) bpe->order = pieces_sort(words);
    return bpe;
}

void bpe_destroy(Bpe *bpe)
{
    if (!bpe) return;
    free(bpe->slots);
    free(bpe->order);
    free(bpe);
}

/* ---- a word ---- */

/* A token of the word under way; those that are left form a chain. */
typedef struct Symbol {
    int32_t id;             /* -1: it became part of its left neighbour */
    int32_t previous, next; /* -1: none */
} Symbol;

/* A pair that can be merged: the symbol at `place` and its right neighbour, as they were when this was noted. */
typedef struct Candidate {
    uint32_t rank;
    int32_t place, merged;
} Candidate;

enum { CACHE_SLOTS = 1 << 16, CACHED_BYTES = 30, CACHED_TOKENS = 8 };

/* A word and its tokens: one cache line. */
typedef struct CachedWord {
    uint8_t length, count; /* length 0: nothing yet */
    uint8_t word[CACHED_BYTES];
    int32_t ids[CACHED_TOKENS];
} CachedWord;

struct BpeWorker {
    const Bpe *bpe;
    Symbol *symbols;
    size_t symbol_count, symbol_capacity;
    Candidate *heap; /* the least comes first */
    size_t heap_count, heap_capacity;
    CachedWord *cache; /* (CACHE_SLOTS): each word has one place, which the last one takes */
};

BpeWorker *bpe_worker_create(const Bpe *bpe)
{
    BpeWorker *worker = checked_calloc(1, sizeof *worker);
    worker->bpe = bpe;
    worker->cache = checked_block(CACHE_SLOTS * sizeof *worker->cache);
    return worker;
}

void bpe_worker_destroy(BpeWorker *worker)
{
    if (!worker) return;
    free(worker->symbols);
    free(worker->heap);
    free(worker->cache);
    free(worker);
}

static bool before(Candidate a, Candidate b) { return a.rank < b.rank || (a.rank == b.rank && a.place < b.place); }

static void push(BpeWorker *worker, Candidate candidate)
{
    worker->heap = checked_grow(worker->heap, worker->heap_count, &worker->heap_capacity, sizeof *worker->heap);
    size_t place = worker->heap_count++;
    for (; place > 0 && before(candidate, worker->heap[(place - 1) / 2]); place = (place - 1) / 2)
        worker->heap[place] = worker->heap[(place - 1) / 2];
    worker->heap[place] = candidate;
}

static Candidate pop(BpeWorker *worker)
{
    Candidate *heap = worker->heap, least = heap[0], last = heap[--worker->heap_count];
    size_t place = 0, child;
    while ((child = 2 * place + 1) < worker->heap_count) {
        if (child + 1 < worker->heap_count && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], last)) break;
        heap[place] = heap[child];
        place = child;
    }
    heap[place] = last;
    return least;
}

/* What the symbol at `place` and the one behind it become; NULL: there is no such pair, or it is not merged. */
static const MergeSlot *merge_at(const BpeWorker *worker, int32_t place)
{
    if (place < 0) return NULL;
    const Symbol *symbol = &worker->symbols[place];
    if (symbol->id < 0 || symbol->next < 0) return NULL;
    const MergeSlot *slot = find_slot(worker->bpe, pair_of(symbol->id, worker->symbols[symbol->next].id));
    return slot->merged >= 0 ? slot : NULL;
}

static void push_pair(BpeWorker *worker, int32_t place)
{
    const MergeSlot *merge = merge_at(worker, place);
    if (merge) push(worker, (Candidate){merge->rank, place, merge->merged});
}

/* The tokens of the bytes. */
static bool begin(BpeWorker *worker, const uint8_t *word, size_t length, Message *problem)
{
    const BpeSettings *settings = &worker->bpe->settings;
    bool was_unknown = false;
    worker->symbol_count = 0;
    worker->symbols = checked_room(worker->symbols, length, &worker->symbol_capacity, sizeof *worker->symbols);
    for (size_t i = 0; i < length; i++) {
        int32_t id = settings->byte_ids[word[i]], place = (int32_t)worker->symbol_count;
        bool unknown = id < 0;
        if (unknown && settings->unknown < 0)
            return fail(problem,
                        "the tokenizer has no token for the byte 0x%02x. Leave this character out, or train the "
                        "tokenizer with all of pre_tokenizers.ByteLevel.alphabet()",
                        word[i]);
        bool fused = unknown && was_unknown && settings->fuse_unknown;
        was_unknown = unknown;
        if (fused) continue;
        worker->symbols[place] = (Symbol){unknown ? settings->unknown : id, place - 1, place + 1};
        worker->symbol_count++;
    }
    worker->symbols[worker->symbol_count - 1].next = -1;
    return true;
}

static void merge_all(BpeWorker *worker)
{
    Symbol *symbols = worker->symbols;
    worker->heap_count = 0;
    for (size_t i = 0; i + 1 < worker->symbol_count; i++) push_pair(worker, (int32_t)i);
    while (worker->heap_count > 0) {
        Candidate best = pop(worker);
        const MergeSlot *merge = merge_at(worker, best.place);
        if (!merge || merge->merged != best.merged) continue; /* one of the two has been merged since */
        Symbol *symbol = &symbols[best.place], *gone = &symbols[symbol->next];
        symbol->id = best.merged;
        symbol->next = gone->next;
        if (gone->next >= 0) symbols[gone->next].previous = best.place;
        gone->id = -1;
        push_pair(worker, symbol->previous);
        push_pair(worker, best.place);
    }
}

static bool encode_anew(BpeWorker *worker, const uint8_t *word, size_t length, TokenList *tokens, Message *problem)
{
    if (length > INT32_MAX) return fail(problem, "a word of %zu bytes is too long. Divide the text", length);
    if (!begin(worker, word, length, problem)) return false;
    merge_all(worker);
    for (int32_t place = 0; place >= 0; place = worker->symbols[place].next)
        token_list_append(tokens, &worker->symbols[place].id, 1);
    return true;
}

/* The token whose piece is the whole word, -1: there is none. */
static int32_t find_whole(const Bpe *bpe, const uint8_t *word, size_t length)
{
    size_t longest = 0;
    int32_t id = pieces_longest(bpe->words, bpe->order, word, length, &longest);
    return longest == length ? id : -1;
}

static bool encode_uncached(BpeWorker *worker, const uint8_t *word, size_t length, TokenList *tokens, Message *problem)
{
    int32_t whole = worker->bpe->settings.whole_words ? find_whole(worker->bpe, word, length) : -1;
    if (whole < 0) return encode_anew(worker, word, length, tokens, problem);
    token_list_append(tokens, &whole, 1);
    return true;
}

bool bpe_encode(BpeWorker *worker, const uint8_t *word, size_t length, TokenList *tokens, Message *problem)
{
    if (length > CACHED_BYTES) return encode_uncached(worker, word, length, tokens, problem);
    CachedWord *cached = &worker->cache[digest_bytes(word, length) % CACHE_SLOTS];
    if (cached->length == length && memcmp(cached->word, word, length) == 0) {
        token_list_append(tokens, cached->ids, cached->count);
        return true;
    }
    size_t first = tokens->count;
    if (!encode_uncached(worker, word, length, tokens, problem)) return false;
    size_t count = tokens->count - first;
    if (count > CACHED_TOKENS) return true;
    cached->length = (uint8_t)length;
    cached->count = (uint8_t)count;
    memcpy(cached->word, word, length);
    memcpy(cached->ids, tokens->ids + first, count * sizeof *cached->ids);
    return true;
}
