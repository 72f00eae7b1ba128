"""Texts cut by polysketch beside the packages whose tokenizers they are.

check_tokenizers.py json FOLDER TEXTS...    trains tokenizers of Hugging Face's on the texts: FOLDER/NAME.json, and their tokens
                                            of the files FOLDER/documents, which have what is hard: FOLDER/NAME.ids
check_tokenizers.py auto MODEL FOLDER IDS   AutoTokenizer of the folder MODEL makes the tokens IDS of FOLDER/documents
check_tokenizers.py saved MODEL TO          the tokenizer of MODEL as transformers saves it
check_tokenizers.py keep FOLDER TEXTS...    makes FOLDER/tokenizer.json and tokenizer_texts.jsonl anew: those of tests/data
"""
import json
import os
import random
import sys

GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BITS = (
    " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u180e", "\u0085", "\u200d", "\u2028", "'s", "'LL", "'\u017f", "don't",
    "1", "2345", "\u0663\u0664", "\u00bd", "\u2167", "\u00e9", "e\u0301", "cafe\u0301", "caf\u00e9", "\ufb01", "\u212b",
    "\u1100\u1161\u11a8", "\u65e5\u672c\u8a9e", "\u0439", "\U0001f600", "\U0001f44d\U0001f3fd", "<|endoftext|>", "<tool>",
    "<tool>s", "<mask>", " <mask>", "<|", "...", "!?", "\u2014", "_a", "\x00", "\x7f", "\ufeff", "a" * 40, "    ", "\n\n", "the",
    " alpha", "beta", " of",
)
KEPT = (
    "", "the alpha beta", " the  training\n\n of 12345 tokens, don't: IT'S\r\n", "cafe\u0301 caf\u00e9 e\u0301 \u00e9 \u212b",
    "\u65e5\u672c\u8a9e \U0001f600\U0001f44d\U0001f3fd \u00a0x\u3000\u180e\u0085y",
    "a <mask> b<tool>  c<tool>s <|endoftext|><|endoftext|>", "x" * 100 + " " * 40 + "\t\t1",
    "\x00\x01\x7f \u0663\u0664\u0665 \u2167\u00bd _-+=$", "'\u017f 'K the\u2028checkpoint\u200dof",
)


def texts():
    draw = random.Random(1)
    yield "x"
    for _ in range(400):
        yield "".join(draw.choice(BITS) for _ in range(draw.randrange(1, 40)))
    kinds = (0x250, 0x3000, 0xD800)
    for _ in range(100):
        yield "".join(chr(draw.randrange(1, draw.choice(kinds))) for _ in range(draw.randrange(1, 30)))


def write_documents(folder):
    """Those that are not left out as white space."""
    os.makedirs(f"{folder}/documents", exist_ok=True)
    kept = [text for text in texts() if text.strip(" \t\n\v\f\r")]
    for number, text in enumerate(kept):
        with open(f"{folder}/documents/{number:04d}", "w", encoding="utf-8", newline="") as file:
            file.write(text)
    return kept


def documents(folder):
    for name in sorted(os.listdir(f"{folder}/documents")):
        with open(f"{folder}/documents/{name}", encoding="utf-8", newline="") as file:
            yield file.read()


def tokenizer(kind, size, files):
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    level = pre_tokenizers.ByteLevel
    split = pre_tokenizers.Split(Regex(GPT4), "removed" if kind == "removed" else "isolated", invert=kind == "removed")
    made = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    made.pre_tokenizer = {
        "gpt2": level(add_prefix_space=False),
        "prefix": level(),
        "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level()]),
    }.get(kind, pre_tokenizers.Sequence([split, level(add_prefix_space=False, use_regex=False)]))
    if kind in ("qwen", "digits"):
        both = normalizers.Sequence([normalizers.NFD(), normalizers.NFKC()])
        made.normalizer = normalizers.NFC() if kind == "qwen" else both
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<|endoftext|>"], initial_alphabet=level.alphabet(),
                                  show_progress=False)
    made.train(files, trainer)
    if kind == "qwen":
        made.add_tokens([AddedToken("<mask>", lstrip=True, normalized=False), AddedToken("<tool>", rstrip=True),
                         AddedToken("<tool>s"), AddedToken("cafe\u0301")])
    return made


def make_json(folder, *files):
    from tokenizers import Tokenizer
    kept = write_documents(folder)
    for kind in ("gpt2", "prefix", "digits", "llama3", "qwen", "removed"):
        tokenizer(kind, 2000, list(files)).save(f"{folder}/{kind}.json")
        made = Tokenizer.from_file(f"{folder}/{kind}.json")
        with open(f"{folder}/{kind}.ids", "w", encoding="ascii") as file:
            for text in kept:
                print(*made.encode(text, add_special_tokens=False).ids, file=file)


def keep(folder, *files):
    from tokenizers import Tokenizer
    made = tokenizer("qwen", 400, list(files))
    with open(f"{folder}/tokenizer.json", "w", encoding="utf-8") as file:
        print(json.dumps(json.loads(made.to_str()), ensure_ascii=False, separators=(",", ":")), file=file)
    made = Tokenizer.from_file(f"{folder}/tokenizer.json")
    with open(f"{folder}/tokenizer_texts.jsonl", "w", encoding="ascii") as file:
        for text in KEPT:
            print(json.dumps({"text": text, "ids": made.encode(text, add_special_tokens=False).ids}), file=file)


def load(model):
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(model, trust_remote_code=True)


def auto(model, folder, ids):
    made = load(model)
    with open(ids, encoding="ascii") as file:
        for number, (text, line) in enumerate(zip(documents(folder), file, strict=True)):
            got = made(text)["input_ids"]
            if got != [int(word) for word in line.split()]:
                sys.exit(f"FAILED {model}: document {number} has the tokens {got}, not {line}")


def saved(model, folder):
    load(model).save_pretrained(folder)


if __name__ == "__main__":
    {"json": make_json, "auto": auto, "saved": saved, "keep": keep}[sys.argv[1]](*sys.argv[2:])
