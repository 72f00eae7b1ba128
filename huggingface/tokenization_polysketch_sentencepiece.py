"""The tokenizer of a polysketch model that is one of SentencePiece, of any kind (tokenizer.model), with the tokens of spm_encode:
none is put before or behind a text, and the names of control tokens are text. A file of its own, since transformers wants all
packages that a file imports."""
import os
import shutil

from sentencepiece import SentencePieceProcessor
from transformers import PreTrainedTokenizer


class PolysketchSentencePiece(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "tokenizer.model"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file, **options):
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
