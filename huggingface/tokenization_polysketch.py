"""Tokenizers of polysketch models.

PolysketchTokenizer: a table of pieces of bytes (pieces.json), of which at each place of a text the longest is taken that fits; of
equal ones the last. `bytes`, where every byte is a token, is the table of 256 single bytes.

PolysketchSentencePiece: a model of SentencePiece of any kind (tokenizer.model), with the tokens of spm_encode: none is put before
or behind a text, and the names of control tokens are text."""
import json
import os
import shutil

from transformers import PreTrainedTokenizer


class PolysketchTokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "pieces.json"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file, **options):
        with open(vocab_file, encoding="utf-8") as file:
            self.table = json.load(file)
        # Pieces are strings of bytes, a character for each. A token is called by its piece; one without text, or whose piece
        # belongs to a later one too, by a name that is no piece.
        pieces = self.table["pieces"]
        last = {piece: token for token, piece in enumerate(pieces)}
        self.names = [piece if piece and last[piece] == token else f"\u2205{token}" for token, piece in enumerate(pieces)]
        self.ids = {name: token for token, name in enumerate(self.names)}
        self.piece_of = dict(zip(self.names, pieces))
        self.longest = max(map(len, pieces))
        if self.table.get("end_of_document") is not None:
            options.setdefault("eos_token", self.names[self.table["end_of_document"]])
        super().__init__(**options)

    @property
    def vocab_size(self):
        return len(self.names)

    def get_vocab(self):
        return self.ids | self.added_tokens_encoder

    def _tokenize(self, text, **options):
        text, start, names = text.encode("utf-8").decode("latin-1"), 0, []
        while start < len(text):
            ends = range(min(start + self.longest, len(text)), start, -1)
            end = next((end for end in ends if text[start:end] in self.ids), None)
            if end is None:
                raise ValueError(f"no piece of the tokenizer fits byte {start} of the text, {text[start]!r}")
            names.append(text[start:end])
            start = end
        return names

    def _convert_token_to_id(self, token):
        return self.ids.get(token)

    def _convert_id_to_token(self, index):
        return self.names[index]

    def convert_tokens_to_string(self, tokens):
        text = "".join(self.piece_of.get(token, token) for token in tokens)
        return text.encode("latin-1", "replace").decode("utf-8", "replace")

    def save_vocabulary(self, save_directory, filename_prefix=None):
        path = os.path.join(save_directory, (filename_prefix + "-" if filename_prefix else "") + "pieces.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.table, file)
        return (path,)


class PolysketchSentencePiece(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "tokenizer.model"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file, **options):
        # Other tokenizers do without this package: transformers asks for what a file of Python imports, but not within try.
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise ImportError("tokenizer.model is read by the package sentencepiece: pip install sentencepiece") from error

        self.vocab_file = vocab_file
        self.processor = SentencePieceProcessor(model_file=vocab_file)
        options.setdefault("split_special_tokens", True)
        super().__init__(**options)

    @property
    def vocab_size(self):
        return self.processor.get_piece_size()

    def get_vocab(self):
        return {self.processor.id_to_piece(token): token for token in range(self.vocab_size)} | self.added_tokens_encoder

    def _tokenize(self, text, **options):
        return self.processor.encode(text, out_type=str)

    def _convert_token_to_id(self, token):
        return self.processor.piece_to_id(token)

    def _convert_id_to_token(self, index):
        return self.processor.id_to_piece(index)

    def convert_tokens_to_string(self, tokens):
        return self.processor.decode(list(tokens))

    def save_vocabulary(self, save_directory, filename_prefix=None):
        path = os.path.join(save_directory, (filename_prefix + "-" if filename_prefix else "") + "tokenizer.model")
        if os.path.abspath(path) != os.path.abspath(self.vocab_file):
            shutil.copyfile(self.vocab_file, path)
        return (path,)
