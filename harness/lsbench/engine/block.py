"""The standard decoder block, on rows: one row is one token of one sequence, [N, D] in all.

Rows of a step may belong to several sequences and stand at several depths; only attention cares which
sequence a row belongs to. Shapes: N rows, D hidden width, H query heads, Hkv key-value heads, G = H / Hkv,
d head width, n visible positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsbench.engine.families import Family
from lsbench.engine.linear import Linear, fuse

Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AttentionShape:
    """Head counts and widths of one attention sub-layer."""

    heads: int
    kv_heads: int
    head_width: int
    scale: float

    @property
    def query_width(self) -> int:
        """H * d."""
        return self.heads * self.head_width


class Block:
    """One decoder layer: two sub-layers, each a norm and its products."""

    def __init__(self, layer: nn.Module, family: Family, shape: AttentionShape) -> None:
        attention = layer.get_submodule(family.attention)
        mlp = layer.get_submodule(family.mlp)
        self.shape = shape
        self.attention_norm = norm_of(layer.get_submodule(family.attention_norm))
        self.mlp_norm = norm_of(layer.get_submodule(family.mlp_norm))
        self.qkv = fuse([_linear(attention, name) for name in (family.query, family.key, family.value)])
        self.output = _linear(attention, family.output)
        self.gate_up = fuse([_linear(mlp, family.gate), _linear(mlp, family.up)])
        self.down = _linear(mlp, family.down)
        self.activation: Norm = mlp.act_fn  # type: ignore[assignment]

    @property
    def attention_bytes(self) -> int:
        """Bytes of weights a token reads in the attention sub-layer."""
        return self.qkv.weight_bytes + self.output.weight_bytes

    @property
    def mlp_bytes(self) -> int:
        """Bytes of weights a token reads in the MLP sub-layer."""
        return self.gate_up.weight_bytes + self.down.weight_bytes

    def project(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states [N, D] to rotated queries [N, H, d], rotated keys and values [N, Hkv, d]."""
        shape = self.shape
        qkv = self.qkv(self.attention_norm(hidden)).view(hidden.shape[0], -1, shape.head_width)
        rotated = rotate(qkv[:, : shape.heads + shape.kv_heads], cos, sin)
        return rotated[:, : shape.heads], rotated[:, shape.heads :], qkv[:, shape.heads + shape.kv_heads :]

    def project_kv(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values alone, [N, Hkv, d] each: what ``propagate`` makes of a hidden state."""
        shape = self.shape
        kv = self.qkv.rows(self.attention_norm(hidden), shape.query_width)
        kv = kv.view(hidden.shape[0], 2, shape.kv_heads, shape.head_width)
        return rotate(kv[:, 0], cos, sin), kv[:, 1]

    def finish_attention(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Residual sum [N, D] after the output product over attended values [N, H * d]."""
        return hidden + self.output(attended)

    def run_mlp(self, hidden: Tensor) -> Tensor:
        """The whole MLP sub-layer with its residual, [N, D] to [N, D]."""
        gate, up = self.gate_up(self.mlp_norm(hidden)).chunk(2, dim=-1)
        return hidden + self.down(self.activation(gate) * up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al., 2021) in transformers' half-split layout.

    Args:
        x: [N, heads, d].
        cos, sin: [N, 1, d], the first half of ``sin`` negated (``signed_sines``).
    """
    half = x.shape[-1] // 2
    swapped = torch.cat((x[..., half:], x[..., :half]), dim=-1)
    return torch.addcmul(x * cos, swapped, sin)


def signed_sines(sin: Tensor) -> Tensor:
    """[..., d] sines whose first half is negated once, instead of half of every vector that is rotated."""
    half = sin.shape[-1] // 2
    return torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """Grouped-query attention of one sequence's rows.

    Args:
        queries: [N, H, d].
        keys, values: [1, Hkv, n, d], views of the cache.
        mask: [N, n] bool, True where a row sees a position; None when every row sees all.
        causal: rows are positions 0..n-1 in order (a prefill); ``mask`` is None then.
        scale: factor of the logits.

    Returns:
        [N, H * d].
    """
    rows, heads, width = queries.shape
    kv_heads = keys.shape[1]
    groups = heads // kv_heads
    product = functional.scaled_dot_product_attention
    if rows == 1:
        out = product(queries.view(1, kv_heads, groups, width), keys, values, attn_mask=mask, scale=scale)
        return out.reshape(1, heads * width)
    if causal:
        heads_first = queries.transpose(0, 1)[None]
        out = product(heads_first, keys, values, is_causal=True, scale=scale, enable_gqa=groups > 1)
        return out[0].transpose(0, 1).reshape(rows, heads * width)
    # The query heads that share a key-value head are laid out as further rows of it: no key is repeated.
    grouped = queries.view(rows, kv_heads, groups, width).permute(1, 2, 0, 3)
    grouped = grouped.reshape(1, kv_heads, groups * rows, width)
    if mask is not None and groups > 1:
        mask = mask.repeat(groups, 1)
    out = product(grouped, keys, values, attn_mask=mask, scale=scale)
    return out.view(kv_heads, groups, rows, width).permute(2, 0, 1, 3).reshape(rows, heads * width)


def norm_of(module: nn.Module) -> Norm:
    """The module's norm, as one fused operator where that gives what the module gives.

    An RMS norm of transformers computes in float32 whatever its input; in float64 only the module
    itself rounds exactly as transformers does, so there it is called as it is.
    """
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", None)
    if (
        type(module).__name__ != "LlamaRMSNorm"
        or weight is None
        or epsilon is None
        or weight.dtype == torch.float64
    ):
        return module
    width = tuple(weight.shape)
    return lambda x: functional.rms_norm(x, width, weight, epsilon)


def _linear(parent: nn.Module, name: str) -> Linear:
    module = parent.get_submodule(name)
    if not isinstance(module, Linear):
        raise TypeError(
            f"{name} of {type(parent).__name__} is a {type(module).__name__}, not the engine's Linear"
        )
    return module
