"""What a family declares. Defaults are the Llama layout, which most others share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Family:
    """Where transformers keeps the parts of a checkpoint, and in what its block differs from Llama's.

    The standard block is pre-norm and sequential, ``h += attention(norm(h)); h += mlp(norm(h))``, with rotary
    positions over the whole head, grouped-query attention and a gated MLP. An MLP with ``experts`` is run as
    transformers' own module, whatever the fields on MLPs say.

    Attributes:
        name: the family's name.
        model_types: values of ``config.model_type`` that have this layout.
        decoder: path of the decoder within the causal LM; the next four are paths within it.
        head: path of the output head within the causal LM.
        attention, mlp: the two parts of one decoder layer.
        attention_norm, mlp_norm: what norms their input; None where nothing does. A layer whose ``mlp_norm``
            is missing shares ``attention_norm``.
        attention_post_norm, mlp_post_norm: what norms their output before it is added; None for nothing.
        parallel: attention and MLP both read what enters the layer; or the option of the configuration that
            says so.
        query, key, value, output: linear modules of the attention.
        qkv: one linear module in place of query, key and value.
        qkv_layout: how ``qkv`` orders its output: all queries, all keys, all values, or those three of every
            head in turn.
        query_norm, key_norm: norms of queries and keys, in the layers that have them.
        norm_over: what they norm: each head, or all heads together.
        clip: option that bounds queries, keys and values, where it is set.
        rotary_pairs: which components turn together: i and i + d/2, or 2i and 2i + 1.
        rotary_table: the same of the table that ``rotary`` makes.
        rotary_precision: what rotation computes in: the model's; the table's own float32; or float32
            throughout.
        rotates: attribute of the attention that says whether a layer has rotary positions; None for all.
        window: layers that see a window of ``config.sliding_window`` positions alone: none, all (where it is
            set), or those that ``config.layer_types`` calls sliding.
        gate, up, down: linear modules of the MLP; no gate where it is None.
        gate_up: one linear module in place of gate and up.
        activation: the MLP's activation.
        attention_cap, logit_cap: options of soft caps, c * tanh(x / c), on the attention's logits and the
            head's.
        embedding_multiplier, residual_multiplier, logit_multiplier, logit_divisor: options that scale what is
            embedded, what a sub-layer adds, and the head's logits.
    """

    name: str
    model_types: tuple[str, ...]
    decoder: str = "model"
    embedding: str = "embed_tokens"
    layers: str = "layers"
    final_norm: str = "norm"
    rotary: str = "rotary_emb"
    head: str = "lm_head"
    attention: str = "self_attn"
    attention_norm: str | None = "input_layernorm"
    attention_post_norm: str | None = None
    mlp: str = "mlp"
    mlp_norm: str | None = "post_attention_layernorm"
    mlp_post_norm: str | None = None
    parallel: bool | str = False
    query: str = "q_proj"
    key: str = "k_proj"
    value: str = "v_proj"
    qkv: str | None = None
    qkv_layout: Literal["stacked", "by_head"] = "stacked"
    output: str = "o_proj"
    query_norm: str = "q_norm"
    key_norm: str = "k_norm"
    norm_over: Literal["head", "width"] = "head"
    clip: str | None = None
    rotary_pairs: Literal["halves", "neighbours"] = "halves"
    rotary_table: Literal["halves", "neighbours"] = "halves"
    rotary_precision: Literal["model", "table", "float32"] = "model"
    rotates: str | None = None
    window: Literal["none", "all", "by_type"] = "none"
    gate: str | None = "gate_proj"
    up: str = "up_proj"
    gate_up: str | None = None
    down: str = "down_proj"
    activation: str = "act_fn"
    attention_cap: str | None = None
    logit_cap: str | None = None
    embedding_multiplier: str | None = None
    residual_multiplier: str | None = None
    logit_multiplier: str | None = None
    logit_divisor: str | None = None

    def is_parallel(self, config: Any) -> bool:
        """Whether attention and MLP both read what enters the layer, in a model of this configuration."""
        return bool(getattr(config, self.parallel)) if isinstance(self.parallel, str) else self.parallel

    def heads(self, config: Any) -> tuple[int, int]:
        """Query heads, and the key-value heads that they share, of a model of this configuration."""
        # Where every head brings its own query, key and value, there are as many of each.
        shared = None if self.qkv_layout == "by_head" else getattr(config, "num_key_value_heads", None)
        return config.num_attention_heads, shared or config.num_attention_heads

    def head_width(self, config: Any) -> int:
        """Components of a head."""
        return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def windows(self, config: Any) -> list[int | None]:
        """For each layer, how many positions a token sees, its own included; None is all of them."""
        layers, width = range(config.num_hidden_layers), getattr(config, "sliding_window", None)
        if self.window == "none" or width is None:
            return [None for _ in layers]
        if self.window == "all":
            return [width for _ in layers]
        return [width if config.layer_types[layer] == "sliding_attention" else None for layer in layers]
