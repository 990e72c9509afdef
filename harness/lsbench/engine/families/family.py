"""What a family declares. Defaults are the Llama layout, which most others share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Names of a checkpoint's parts, as attribute paths.

    The block is pre-norm and sequential: ``h += attention(norm(h)); h += mlp(norm(h))``, with rotary
    positions, grouped-query attention and a gated MLP.

    Attributes:
        name: the family's name.
        model_types: values of ``config.model_type`` that have this layout.
        decoder: path of the decoder within the causal LM; the next four are paths within it.
        head: path of the output head within the causal LM.
        attention, attention_norm, mlp, mlp_norm: parts of one decoder layer.
        query, key, value, output: linear modules of the attention.
        gate, up, down: linear modules of the MLP.
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
    attention_norm: str = "input_layernorm"
    query: str = "q_proj"
    key: str = "k_proj"
    value: str = "v_proj"
    output: str = "o_proj"
    mlp: str = "mlp"
    mlp_norm: str = "post_attention_layernorm"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
