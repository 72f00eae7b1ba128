#include "src/text/sentencepiece_calls.h"

#include <sentencepiece_processor.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
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

int sentencepiece_count(const SentencePieceModel *model)
{
    try {
        return model->processor.GetPieceSize();
    } catch (const std::exception &) {
        return -1;
    }
}

const char *sentencepiece_piece(const SentencePieceModel *model, int id, size_t *length, int *plain, int *byte)
{
    try {
        const auto &processor = model->processor;
        const std::string &piece = processor.IdToPiece(id);
        *length = piece.size();
        *byte = processor.IsByte(id);
        *plain = !*byte && !processor.IsControl(id) && !processor.IsUnknown(id);
        return piece.c_str();
    } catch (const std::exception &) {
        return nullptr;
    }
}

int32_t *sentencepiece_encode(const SentencePieceModel *model, const char *text, size_t length, size_t *count,
                              char *cause)
{
    try {
        std::vector<int> ids;
        const auto status = model->processor.Encode({text, length}, &ids);
        if (!status.ok()) return say(cause, status.ToString().c_str()), nullptr;
        auto *copy = static_cast<int32_t *>(std::malloc((ids.size() + 1) * sizeof(int32_t)));
        if (!copy) return say(cause, "no memory for the tokens"), nullptr;
        *count = ids.size();
        if (!ids.empty()) std::memcpy(copy, ids.data(), ids.size() * sizeof(int32_t));
        return copy;
    } catch (const std::exception &error) {
        return say(cause, error.what()), nullptr;
    }
}
