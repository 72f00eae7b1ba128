#!/usr/bin/env python3
"""Items for `polysketch score`, and its answers beside plain sums of the losses per token that `eval` writes.

    check_score.py make TOKENS.h5 FOLDER T       items.jsonl; the last T + 1 bytes of each of its texts as a token file text-N.h5;
                                                 prints N and the targets of each
    check_score.py check FOLDER SAMPLES.jsonl    with the losses of these in FOLDER/text-N.losses.h5, of `summary.txt`
"""
import json
import shutil
import sys

import h5py
import numpy as np


def items(text):
    """Questions and continuations of all sorts; the text is plain ASCII."""
    yield {"context": text[:40], "continuation": text[40:60]}
    yield {"query": text[100:130], "choices": [text[130:134], "zz", "the alpha and beta"], "gold": 0, "note": "é"}
    yield {"context": text[200:260] + " ", "continuation": "of"}
    yield {"context": text[300:420], "choices": ["alpha", "gamma of delta and epsilon"], "gold": 1}
    yield {"query": "é", "choices": ["to", "é", "in"], "gold": 2}
    yield {"context": text[500:700], "continuation": text[700:705]}


def texts(item):
    """(context, continuation, bytes of the answer) of an item."""
    if "choices" in item:
        context = item["query"] if "query" in item else item["context"]
        return [(context, " " + choice, len(choice.encode())) for choice in item["choices"]]
    return [(item["context"], item["continuation"], len(item["continuation"].encode()))]


def scored_bytes(context, continuation):
    """Blanks at the end of the context belong to the continuation."""
    return len((context + continuation).encode()) - len(context.rstrip().encode())


def make(tokens, folder, length):
    with h5py.File(tokens) as file:
        text = bytes(file["tokens"][:].astype(np.uint8)).decode().replace("\n", " ")
    lines = list(items(text * 4))
    with open(f"{folder}/items.jsonl", "w", encoding="utf-8") as file:
        file.write("\n".join(json.dumps(item, ensure_ascii=False) for item in lines) + "\n\n")
    number = 0
    for item in lines:
        for context, continuation, _ in texts(item):
            name = f"{folder}/text-{number}.h5"
            whole = (context + continuation).encode()[-(length + 1):]
            shutil.copy(tokens, name)
            with h5py.File(name, "r+") as file:
                del file["tokens"]
                file.create_dataset("tokens", data=np.frombuffer(whole, np.uint8), chunks=True)
            print(number, len(whole) - 1)
            print(number, len(whole) - 1)
            number += 1


def close(one, other, scale):
    assert abs(one - other) <= 64 * np.finfo(np.float32).eps * scale, f"{one} and {other}"


def check(folder, name):
    with open(f"{folder}/items.jsonl", encoding="utf-8") as file:
        asked = [json.loads(line) for line in file if line.strip()]
    with open(name, encoding="utf-8") as file:
        samples = [json.loads(line) for line in file]
    assert len(samples) == len(asked), f"{len(samples)} samples of {len(asked)} items"
    number, right, right_by_bytes = 0, [], []
    for index, (item, sample) in enumerate(zip(asked, samples)):
        assert sample["doc_id"] == index and sample["doc"] == item and sample["filter"] == "none", sample
        naive, lengths = [], []
        for place, (context, continuation, length) in enumerate(texts(item)):
            with h5py.File(f"{folder}/text-{number}.losses.h5") as file:
                losses = file["per_token_loss"][0, -scored_bytes(context, continuation):].astype(float)
            number += 1
            naive.append(-losses.sum())
            lengths.append(length)
            (said, greedy), = sample["resps"][place]
            close(float(said), naive[-1], losses.sum() + len(losses))
            assert greedy in ("True", "False") and sample["filtered_resps"][place] == [said, greedy], sample
            assert sample["arguments"][f"gen_args_{place}"] == {"arg_0": context, "arg_1": continuation}, sample
        if "choices" not in item:
            assert sample["metrics"] == ["perplexity", "acc"] and sample["target"] == item["continuation"], sample
            close(sample["perplexity"], naive[0], abs(naive[0]))
            continue
        best = int(np.argmax(naive)), int(np.argmax(np.array(naive) / lengths))
        assert sample["metrics"] == ["acc", "acc_norm"] and sample["target"] == str(item["gold"]), sample
        assert [sample["acc"], sample["acc_norm"]] == [best[0] == item["gold"], best[1] == item["gold"]], sample
        right.append(sample["acc"])
        right_by_bytes.append(sample["acc_norm"])
    with open(f"{folder}/summary.txt", encoding="utf-8") as file:
        said = dict(line.split(None, 1) for line in file)
    for key, values in ("acc", right), ("acc_norm", right_by_bytes):
        mean, error = (float(word) for word in said[key].split(" +- "))
        assert abs(mean - np.mean(values)) < 1e-5 and abs(error - np.std(values, ddof=1) / len(values) ** 0.5) < 1e-2, said
    assert len(set(right)) > 0 and number > len(asked)


if sys.argv[1] == "make":
    make(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    check(sys.argv[2], sys.argv[3])
