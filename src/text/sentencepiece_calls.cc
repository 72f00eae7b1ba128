#include "src/text/sentencepiece_calls.h"

#include <sentencepiece_processor.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

struct SentencePieceModel {
    sentencepiece::SentencePieceProcessor processor;
};

static_assert(sizeof(int) == sizeof(int32_t), "tokens of the library are those of this program");

/* Strings are only taken from the library: making some here would put functions of theirs into what our library shows. */
static void say(char *cause, const char *text) { std::snprintf(cause, SENTENCEPIECE_CAUSE, "%s", text); }

SentencePieceModel *sentencepiece_open(const void *file, size_t bytes, char *cause)
{
    SentencePieceModel *model = nullptr;
    try {
        model = new SentencePieceModel;
        const auto status = model->processor.LoadFromSerializedProto({static_cast<const char *>(file), bytes});
        if (status.ok()) return model;
        say(cause, status.ToString().c_str());
    } catch (const std::exception &error) {
        say(cause, error.what());
    }
    delete model;
    return nullptr;
}

void sentencepiece_close(SentencePieceModel *model) { delete model; }

int sentencepiece_count(const SentencePieceModel *model) { return model->processor.GetPieceSize(); }

const char *sentencepiece_piece(const SentencePieceModel *model, int id, size_t *length, int *plain, int *byte)
{
    const auto &processor = model->processor;
    const std::string &piece = processor.IdToPiece(id);
    *length = piece.size();
    *byte = processor.IsByte(id);
    *plain = !*byte && !processor.IsControl(id) && !processor.IsUnknown(id);
    return piece.c_str();
}

int sentencepiece_encode(const SentencePieceModel *model, const char *text, size_t length,
                         void (*sink)(void *context, const int32_t *ids, size_t count), void *context, char *cause)
{
    try {
        std::vector<int> ids;
        const auto status = model->processor.Encode({text, length}, &ids);
        if (status.ok()) return sink(context, ids.data(), ids.size()), 0;
        say(cause, status.ToString().c_str());
    } catch (const std::exception &error) {
        say(cause, error.what());
    }
    return -1;
}
