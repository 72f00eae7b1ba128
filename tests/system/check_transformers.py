"""Exported models in Hugging Face's transformers, beside the program that trained them and the NumPy model.

check_transformers.py losses NAME...          each: NAME.model, the exported folder; NAME.h5, its checkpoint; NAME.losses.h5,
                                              the program's losses per token of TOKENS (environment)
check_transformers.py text NAME PROMPT TEXT   the folder NAME.model writes the bytes of the file TEXT after those of PROMPT
check_transformers.py save FROM TO DTYPE      saved anew, as a fine-tuned model would be
"""
import copy
import os
import sys

import h5py
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import numpy_reference as reference

FORMS = ("naive", "blocked")
ALLOWED = 1e-4  # of losses and logits in float
ALLOWED_DOUBLE = 1e-9


def load(name, **options):
    return AutoModelForCausalLM.from_pretrained(name + ".model", trust_remote_code=True, **options).eval()


def computed(model, tokens, **options):
    with torch.no_grad():
        return model(torch.as_tensor(tokens), **options).logits


def largest(one, other):
    """The largest difference, which is nan where a number is."""
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def require(close, what):
    if not close:
        sys.exit("FAILED " + what)


def check_losses(model, name, inputs, targets):
    """In float, both forms, against the program. Returns the largest difference."""
    with h5py.File(name + ".losses.h5") as file:
        losses = file["per_token_loss"][...]
    scored, differences = targets >= 0, []
    for form in FORMS:
        model.set_attention_form(form)
        logits = computed(model, inputs)
        own = torch.nn.functional.cross_entropy(logits.mT, torch.as_tensor(targets), reduction="none", ignore_index=-1)
        differences.append(largest(own.numpy()[scored], losses[scored]))
        require(differences[-1] < ALLOWED, f"{name}, {form}: losses differ by {differences[-1]:.2e}")
    return max(differences)


def check_logits(model, name, config, parameters, tokens):
    """In double, both forms, against NumPy; also with two documents, which no form but the naive one can."""
    documents = np.arange(len(tokens)) // 29
    for form, of in ((form, of) for form in FORMS for of in (None, documents)):
        model.set_attention_form(form)
        options = {} if of is None else {"documents": torch.as_tensor(of)[None]}
        expected = reference.logits(config, parameters, tokens, of)
        difference = largest(computed(model, tokens[None], **options)[0], expected)
        require(difference < ALLOWED_DOUBLE * np.abs(expected).max(), f"{name}, {form}: logits differ by {difference:.2e}")


def check_cache_and_padding(model, name, tokens):
    """Token by token, and padded, the logits are those of the whole."""
    tokens = torch.as_tensor(tokens)[None]
    whole, start, cache = computed(model, tokens)[0], 19, None
    parts = []
    for first, end in [(0, start)] + [(place, place + 1) for place in range(start, tokens.shape[1])]:
        with torch.no_grad():
            output = model(tokens[:, first:end], use_cache=True, **({} if cache is None else {cache_name: cache}))
        cache_name = "cache" if "cache" in output else "past_key_values"
        cache = output[cache_name]
        require(cache.get_seq_length() == end, f"{name}: the cache has {cache.get_seq_length()} of {end} tokens")
        parts.append(output.logits[0])
    require(largest(torch.cat(parts), whole) < ALLOWED_DOUBLE * whole.abs().max(), f"{name}: token by token")
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.long), tokens), dim=1)
    mask = (torch.arange(padded.shape[1]) >= 5)[None].long()
    difference = largest(computed(model, padded, attention_mask=mask)[0, 5:], whole)
    require(difference < ALLOWED_DOUBLE * whole.abs().max(), f"{name}: padding makes a difference of {difference:.2e}")


def check_gradients(model, name, tokens):
    """Both forms have the same, and every parameter has one."""
    gradients = []
    for form in FORMS:
        model.set_attention_form(form)
        model.zero_grad()
        tokens_and_labels = torch.as_tensor(tokens)[None]
        model(tokens_and_labels, labels=tokens_and_labels).loss.backward()
        gradients.append({key: value.grad.clone() for key, value in model.named_parameters()})
    for key, value in gradients[0].items():
        require(largest(value, gradients[1][key]) <= 1e-8 * float(value.abs().max()) + 1e-12, f"{name}: gradient of {key}")


def check_model(name):
    with h5py.File(name + ".h5") as file:
        config = reference.check_checkpoint(file)[0]
        parameters = {key: data[...].astype(np.float64) for key, data in file["parameters"].items()}
    inputs, targets, _, _ = reference.read_sequences(os.environ["TOKENS"], config, 3)
    model = load(name)
    require(sorted(model.state_dict()) == sorted(parameters), f"{name}: other tensors")
    difference = check_losses(model, name, inputs, targets)
    model = model.double()
    check_logits(model, name, config, parameters, inputs[0])
    check_cache_and_padding(model, name, inputs[0])
    check_gradients(model, name, inputs[0])
    print(f"{os.path.basename(name)}: losses differ by {difference:.1e}")


def check_text(name, prompt_file, text_file):
    """With and without a cache, the tokens of the program."""
    with open(prompt_file, "rb") as prompt, open(text_file, "rb") as text:
        prompt, text = prompt.read(), text.read()
    model, tokenizer = load(name), AutoTokenizer.from_pretrained(name + ".model", trust_remote_code=True)
    ids = tokenizer(prompt.decode(), return_tensors="pt")["input_ids"]
    require(tokenizer.decode(ids[0]) == prompt.decode(), f"{name}: '{tokenizer.decode(ids[0])}' is read back")
    for use_cache in (True, False):
        written = model.generate(ids, max_new_tokens=40, use_cache=use_cache)[0].tolist()
        pieces = b"".join(tokenizer.table["pieces"][token].encode("latin-1") for token in written)
        require(pieces + b"\n" == text, f"{name}: writes {pieces}, the program {text}")


def save(source, target, dtype):
    model, tokenizer = load(source, dtype=getattr(torch, dtype)), AutoTokenizer.from_pretrained(
        source + ".model", trust_remote_code=True)
    copy.deepcopy(model).save_pretrained(target + ".model")
    tokenizer.save_pretrained(target + ".model")


if __name__ == "__main__":
    torch.set_num_threads(1)
    command, *names = sys.argv[1:]
    if command == "losses":
        for one in names:
            check_model(one)
    else:
        {"text": check_text, "save": save}[command](*names)
