"""What a polysketch model is: the keys of config.json, with the meaning that docs/format.md of polysketch gives its options."""
from transformers import PretrainedConfig

# Key -> default. model.* and attention.* of polysketch, some under the names that other models of transformers use.
DEFAULTS = {
    "vocab_size": 256,
    "hidden_size": 128,  # C
    "num_hidden_layers": 4,
    "num_attention_heads": 4,  # H
    "max_position_embeddings": 512,  # the context of the training; any other can be computed
    "feedforward": "glu",  # or "gelu"
    "intermediate_size": 336,  # F
    "rotary_share": 1.0,  # of the pairs of a head, those that turn with the position
    "dropout": 0.0,
    "final_logit_softcapping": 0.0,  # 0: none
    "attention_kind": "polysketch",  # softmax, polynomial, polysketch, performer
    "attention_pattern": "",  # layers of different kinds: "polysketch*3,softmax"
    "attention_degree": 4,  # p
    "attention_scale": 32**-0.5,
    "attention_denominator_one": 1.0,
    "attention_block_length": 256,  # b
    "attention_gate": "none",  # constant, data
    "attention_sketch": "learned",  # random, learned, projection
    "attention_sketch_size": 32,  # r
    "attention_sketch_levels": 2,  # L, of learned sketches
    "attention_sketch_expansion": 8,  # E, likewise
    "attention_local": "exact",  # window, sketch
    "attention_window_blocks": 1,  # W
    "attention_local_weight": "power",  # exp
    "attention_far_scale": 0.0,  # 0: no such tensor
    "attention_features": 256,  # m
    "attention_qk_norm": False,
    # How attention is computed: "blocked", with a state in place of far keys where the kind has one, or "naive", by all pairs.
    "attention_form": "blocked",
}


class PolysketchConfig(PretrainedConfig):
    model_type = "polysketch"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]

    def __init__(self, **options):
        for key, default in DEFAULTS.items():
            setattr(self, key, options.pop(key, default))
        super().__init__(**options)

    def layers(self):
        """(kind, sketch) of every layer."""
        if not self.attention_pattern:
            return [(self.attention_kind, self.attention_sketch)] * self.num_hidden_layers
        layers = []
        for entry in self.attention_pattern.split(","):
            name, _, count = entry.partition("*")
            kind, _, sketch = name.partition(":")
            layers += [(kind, sketch or self.attention_sketch)] * int(count or 1)
        return layers
