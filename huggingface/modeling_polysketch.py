"""PolySketchFormer language models in PyTorch, as polysketch trains them; the formulae are those of its docs/format.md.

Attention is here in two forms: `naive`, the definition, with every pair of tokens, and `blocked`, in which the linear kinds
keep a state in place of far keys, so that time and memory are linear in the context. Both are plain PyTorch, on any device, with
gradients; `model.double()` makes either of them an oracle. Tensors have the names that they have in checkpoints.

Letters: B sequences, T queries, S keys, C width, H heads, h = C / H, r sketch size, m features, V vocabulary.
"""
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_polysketch import PolysketchConfig

LEAST_NORMALISER = 2.0**-100  # nothing is divided by zero
# What transformers calls what is kept of earlier tokens, since version 5.24 and before.
CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


def wide(x):
    """For long sums, and sums of terms of both signs."""
    return x.float() if x.device.type == "mps" else x.double()


def norm(width):
    return nn.LayerNorm(width, eps=1e-5)


def gelu(x):
    return F.gelu(x, approximate="tanh")


def rotary(x, positions, share):
    """x (B, H, T, h), turned by its positions (B, T): a share of its pairs, those of the highest frequencies."""
    half = x.shape[-1] // 2
    pairs = torch.arange(half, device=x.device)
    frequencies = 10000.0 ** (-wide(pairs) / half) * (pairs < int(share * half + 0.5))
    angles = wide(positions)[:, None, :, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, c = x.chunk(2, dim=-1)
    return torch.cat((a * cos - c * sin, a * sin + c * cos), dim=-1)


# ---- sketches: u (B, H, T, r) of queries or keys x (B, H, T, h); `side` is "query" or "key" ----


class RandomSketch(nn.Module):
    """<u(x), u(y)> is <x, y>^degree on average, degree = 2 or 4. Constant matrices."""

    def __init__(self, degree, width, r):
        super().__init__()
        self.leaves = degree == 2
        if not self.leaves:
            self.left, self.right = (RandomSketch(degree // 2, width, r) for _ in range(2))
        for name in ("g1", "g2"):
            self.register_buffer(name, torch.randn(width if self.leaves else r, r))

    def forward(self, x, side):
        y, z = (x, x) if self.leaves else (self.left(x, side), self.right(x, side))
        return (y @ self.g1) * (z @ self.g2) / self.g1.shape[1] ** 0.5


class Level(nn.ModuleDict):
    def __init__(self, width, hidden, r):
        super().__init__({"norm": norm(width), "in": nn.Linear(width, hidden, bias=False),
                          "out": nn.Linear(hidden, r, bias=False)})

    def forward(self, x):
        return self["out"](gelu(self["in"](self["norm"](x))))


class LearnedSketch(nn.Module):
    """One network for all heads, queries and keys: a product of two branches, kept below sqrt(r)."""

    def __init__(self, width, r, levels, expansion):
        super().__init__()
        self.root = r**0.5
        self.branch1, self.branch2 = (
            nn.Sequential(OrderedDict((f"level{K}", Level(width if K == 1 else r, expansion * r, r))
                                      for K in range(1, levels + 1))) for _ in range(2))

    def forward(self, x, side):
        return self.root * torch.tanh(self.branch1(x) * self.branch2(x) / self.root)


class HeadMatrices(nn.Module):
    def __init__(self, heads, rows, columns):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(heads, rows, columns) / columns**0.5)

    def forward(self, x):
        return x @ self.weight.mT


class ProjectionSketch(nn.Module):
    """A matrix of each head for its queries and one for its keys; the norms are the layer's."""

    def __init__(self, heads, width, r):
        super().__init__()
        self.query, self.key = HeadMatrices(heads, r, width), HeadMatrices(heads, r, width)
        self.query_norm, self.key_norm = norm(r), norm(r)

    def forward(self, x, side):
        y = getattr(self, side)(x)
        return getattr(self, side + "_norm")(y) / y.shape[-1] ** 0.25


class Performer(nn.Module):
    """Logarithms of positive random features of the softmax kernel. A constant matrix."""

    def __init__(self, width, m):
        super().__init__()
        self.register_buffer("projection", torch.randn(m, width))

    def forward(self, x):
        z = x / x.shape[-1] ** 0.25
        return z @ self.projection.T - (z * z).sum(-1, keepdim=True) / 2


class ConstantGate(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.bias = nn.Parameter(torch.full((heads,), 4.0))

    def forward(self, x):
        return self.bias.expand(*x.shape[:-1], -1)


# ---- attention ----


@dataclass
class Tokens:
    """All tokens so far, of which the last are queries too. Padding is anywhere, and has no position."""

    past: int  # tokens before the first query
    positions: torch.Tensor  # (B, S)
    real: torch.Tensor | None  # (B, S), false for padding; None: there is none
    documents: torch.Tensor | None  # (B, S), tokens of different documents do not see each other; None: all are one

    def visible(self, rows, keys):
        """(B or 1, 1, rows, keys): which keys a query sees; always itself."""
        i = torch.arange(rows.start, rows.stop, device=self.positions.device)[:, None]
        j = torch.arange(keys.start, keys.stop, device=self.positions.device)
        sees = (j <= i)[None]
        if self.real is not None:
            sees = sees & self.real[:, None, keys] | (j == i)
        if self.documents is not None:
            sees = sees & (self.documents[:, rows, None] == self.documents[:, None, keys])
        return sees[:, None]


class PolysketchAttention(nn.Module):
    def __init__(self, config, kind, sketch, index):
        super().__init__()
        C, H, r = config.hidden_size, config.num_attention_heads, config.attention_sketch_size
        h, p = C // H, config.attention_degree
        self.kind, self.heads, self.index, self.degree, self.form = kind, H, index, p, config.attention_form
        self.one = 0.0 if kind == "softmax" else config.attention_denominator_one
        self.scale, self.rotary_share = config.attention_scale, config.rotary_share
        self.block_length = config.attention_block_length
        self.window = config.attention_window_blocks if config.attention_local == "window" else 0
        self.exponential = config.attention_local_weight == "exp"
        self.is_linear = kind in ("polysketch", "performer")
        self.near_is_exact = kind == "polysketch" and config.attention_local != "sketch"
        self.is_random = kind == "polysketch" and sketch == "random"
        self.norms_first = kind == "softmax" and config.attention_qk_norm
        self.qkv, self.out = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        if kind == "polynomial" or self.near_is_exact or self.is_random or self.norms_first:
            self.query_norm, self.key_norm = norm(h), norm(h)
        if kind == "performer":
            self.performer = Performer(h, config.attention_features)
        if kind == "polysketch" and (sketch, p) != ("random", 2):  # of degree 2 a query is its own sketch
            makers = {"random": lambda: RandomSketch(p // 2, h, r), "projection": lambda: ProjectionSketch(H, h, r),
                      "learned": lambda: LearnedSketch(h, r, config.attention_sketch_levels,
                                                       config.attention_sketch_expansion)}
            self.sketch = nn.ModuleDict({sketch: makers[sketch]()})
        if kind == "polysketch" and config.attention_far_scale > 0:
            self.far_scale = nn.Parameter(torch.full((H,), config.attention_far_scale).log())
        if config.attention_gate != "none":
            self.gate = nn.Linear(C, H) if config.attention_gate == "data" else ConstantGate(H)

    def sketched(self, x, side):
        if self.is_random:
            x = self.scale**0.5 * getattr(self, side + "_norm")(x)
        for sketch in getattr(self, "sketch", {}).values():
            x = sketch(x, side)
        return x

    def maps(self, q, k):
        """u of queries and keys, and the factor (B, H, T, 1), against overflow, that is in those of queries."""
        if self.kind != "performer":
            return self.sketched(q, "query"), self.sketched(k, "key"), torch.ones_like(q[..., :1])
        a, c = self.performer(q), self.performer(k)
        excess = (a.amax(-1, keepdim=True) - 8).clamp(min=0)
        limit, root = 600 if c.dtype == torch.float64 else 60, a.shape[-1] ** 0.5
        return (a - excess).exp() / root, c.clamp(max=limit).exp() / root, (-excess).exp()

    def features(self, u):
        """Whose inner products are the weights, but for the far scale."""
        return u if self.kind == "performer" else (u[..., :, None] * u[..., None, :]).flatten(-2)

    def far(self, w):
        """Sketched weights or sums (B, H, ...) with the far scale."""
        return w * self.far_scale.exp()[:, None, None] if hasattr(self, "far_scale") else w

    def weights(self, q, k, decay, visible, near):
        """Weights (B, H, T, S), times a factor (B, H, T, 1) of each query that keeps them from overflow, and this factor.

        `near`, like `visible`: the pairs that are exact, where the kind has both sorts; None: all of them.
        """
        factor = torch.ones_like(q[..., :1])
        if self.kind == "softmax":
            score = (q @ k.mT / q.shape[-1] ** 0.5 + decay).masked_fill(~visible, -torch.inf)
            return (score - score.amax(-1, keepdim=True)).exp(), factor
        if self.kind == "performer" or self.kind == "polysketch" and not (self.near_is_exact and near is None):
            u, t, factor = self.maps(q, k)
            w = u @ t.mT if self.kind == "performer" else self.far((u @ t.mT) ** 2)
        if self.kind == "polynomial" or self.near_is_exact:
            score = self.scale * self.query_norm(q) @ self.key_norm(k).mT
            if self.near_is_exact and self.exponential:
                score = score.masked_fill(~(visible if near is None else visible & near), -torch.inf)
                largest = score.amax(-1, keepdim=True).clamp(min=0)
                exact, factor = (score - largest).exp(), (-largest).exp()
            else:
                exact = score.masked_fill(~visible, 0) ** self.degree
            w = exact if near is None else torch.where(near, exact, w * factor)
        return w.masked_fill(~visible, 0) * decay.exp(), factor

    def naive(self, q, k, v, G, tokens):
        """(B, H, T, h) by all pairs. G (B, H, S): sums of the gates."""
        rows, keys = slice(tokens.past, k.shape[2]), slice(0, k.shape[2])
        visible, near = tokens.visible(rows, keys), None
        if self.near_is_exact:
            block = tokens.positions // self.block_length
            near = (block[:, rows, None] - block[:, None, :] <= self.window)[:, None]
        w, factor = self.weights(q, k, self.decay(G, rows, keys, visible, q), visible, near)
        return w @ v / (self.one * factor + w.sum(-1, keepdim=True)).clamp(min=LEAST_NORMALISER)

    def decay(self, G, rows, keys, visible, like):
        """(B, H, rows, keys): logarithms of what the gates leave of the weights."""
        return (G[:, :, rows, None] - G[:, :, None, keys]).masked_fill(~visible, 0).to(like.dtype)

    def blocked(self, q, k, v, G, tokens):
        """The same, block by block of queries, for whole sequences without padding that are one document each.

        A linear kind looks at the keys of the query's block, and of the window; of those before it has the state
        sum of features(u_j) (v_j, 1)^T, on the scale of the gates of the last token in it.
        """
        T, b = q.shape[2], self.block_length
        out, state, folded = [], 0, 0
        u, t = self.maps(q, k)[:2] if self.is_linear and T > b else (q, k)
        v_one = wide(torch.cat((v, torch.ones_like(v[..., :1])), dim=-1))
        for start in range(0, T, b):
            first = max(0, start - self.window * b) if self.is_linear else 0
            rows, keys = slice(start, min(start + b, T)), slice(first, min(start + b, T))
            visible = tokens.visible(rows, keys)
            decay = self.decay(G, rows, keys, visible, q)
            w, factor = self.weights(q[:, :, rows], k[:, :, keys], decay, visible, None)
            total = wide(w) @ v_one[:, :, keys]  # numerator and normaliser
            if first > 0:
                end = G[:, :, first - 1 : first]
                kept = (end - G[:, :, folded - 1 : folded])[..., None].exp() if folded else 1
                new = slice(folded, first)
                added = wide(self.features(t[:, :, new])) * (end - G[:, :, new])[..., None].exp()
                state, folded = kept * state + added.mT @ v_one[:, :, new], first
                reads = wide(self.features(u[:, :, rows])) * (G[:, :, rows] - end)[..., None].exp()
                far = self.far(reads @ state)  # the features of a performer have the factor in them
                total = total + (far if self.kind == "performer" else far * factor)
            out.append(total[..., :-1] / (self.one * factor + total[..., -1:]).clamp(min=LEAST_NORMALISER))
        return torch.cat(out, dim=2).to(v.dtype)

    def forward(self, x, tokens, cache=None):
        B, T, C = x.shape
        q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        g = F.logsigmoid(self.gate(x)).transpose(1, 2) if hasattr(self, "gate") else torch.zeros_like(q[..., 0])
        if self.norms_first:
            q, k = self.query_norm(q), self.key_norm(k)
        positions = tokens.positions[:, tokens.past :]
        q, k = (rotary(x, positions, self.rotary_share) for x in (q, k))
        if cache is not None:  # gates travel with the values
            k, v = cache.update(k, torch.cat((v, g[..., None]), dim=-1), self.index)
            v, g = v[..., :-1], v[..., -1]
        whole = tokens.past == 0 and tokens.real is None and tokens.documents is None
        attend = self.blocked if self.form == "blocked" and whole else self.naive
        return self.out(attend(q, k, v, wide(g).cumsum(-1), tokens).transpose(1, 2).reshape(B, T, C))


# ---- the model ----


class PolysketchLayer(nn.Module):
    def __init__(self, config, kind, sketch, index):
        super().__init__()
        C, width = config.hidden_size, config.intermediate_size
        self.gated, self.dropout = config.feedforward == "glu", config.dropout
        self.attention_norm, self.feedforward_norm = norm(C), norm(C)
        self.attention = PolysketchAttention(config, kind, sketch, index)
        self.feedforward = nn.ModuleDict({"in": nn.Linear(C, 2 * width if self.gated else width, bias=False),
                                          "out": nn.Linear(width, C, bias=False)})

    def forward(self, x, tokens, cache=None):
        x = x + F.dropout(self.attention(self.attention_norm(x), tokens, cache), self.dropout, self.training)
        z = self.feedforward["in"](self.feedforward_norm(x))
        if self.gated:
            a, g = z.chunk(2, dim=-1)
            z = a * gelu(g)
        else:
            z = gelu(z)
        return x + F.dropout(self.feedforward["out"](z), self.dropout, self.training)


class PolysketchForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = PolysketchConfig
    _no_split_modules = ["PolysketchLayer"]

    def __init__(self, config):
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)  # the output layer's weight too
        self.layers = nn.ModuleList(PolysketchLayer(config, kind, sketch, i) for i, (kind, sketch) in enumerate(config.layers()))
        self.final_norm = norm(config.hidden_size)
        self.logit_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.post_init()

    def get_input_embeddings(self):
        return self.token_embedding

    def set_input_embeddings(self, value):
        self.token_embedding = value

    def set_attention_form(self, form):
        """"naive" or "blocked"."""
        for layer in self.layers:
            layer.attention.form = form

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, use_cache=None, **kwargs):
        cache = kwargs.get(CACHE)
        done = cache.get_seq_length() if cache is not None else 0
        return {"input_ids": input_ids[:, done:], "attention_mask": attention_mask, "use_cache": use_cache, CACHE: cache}

    def place(self, input_ids, attention_mask, documents, past):
        B, S = input_ids.shape[0], past + input_ids.shape[1]
        real = None if attention_mask is None or bool(attention_mask.all()) else attention_mask.bool()
        counted = torch.ones(B, S, dtype=torch.long, device=input_ids.device) if real is None else real.long()
        return Tokens(past, (counted.cumsum(-1) - 1).clamp(min=0), real, documents)

    def forward(self, input_ids, attention_mask=None, labels=None, use_cache=False, documents=None, **kwargs):
        """Logits (B, T, V) of input_ids (B, T), and with `labels` (B, T), which are the same tokens, the loss.

        attention_mask (B, S): 0 for padding. documents (B, S): numbers of documents that do not see each other. S counts the
        tokens in the cache too, which is given and returned as `cache`, or past_key_values.
        """
        cache = kwargs.get(CACHE)
        if use_cache and cache is None:
            cache = DynamicCache()
        tokens = self.place(input_ids, attention_mask, documents, cache.get_seq_length() if cache is not None else 0)
        x = self.token_embedding(input_ids)
        for layer in self.layers:
            x = layer(x, tokens, cache)
        logits = F.linear(self.final_norm(x), self.token_embedding.weight, self.logit_bias)
        if self.config.final_logit_softcapping > 0:
            logits = self.config.final_logit_softcapping * torch.tanh(logits / self.config.final_logit_softcapping)
        loss = None if labels is None else F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: cache})
