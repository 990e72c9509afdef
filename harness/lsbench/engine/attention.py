"""Grouped-query attention over the cache.

Shapes: N rows, H query heads, Hkv key-value heads, G = H / Hkv, d head width, n visible positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, bool, float], Tensor]
"""``attend``, or what stands in for it."""


@dataclass(frozen=True)
class AttentionShape:
    """Head counts and widths of one attention sub-layer, and the factor of its logits."""

    heads: int
    kv_heads: int
    head_width: int
    scale: float

    @property
    def query_width(self) -> int:
        """H * d."""
        return self.heads * self.head_width


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


def capped_attend(cap: float) -> Attend:
    """``attend`` with the logits soft-capped, ``cap * tanh(logits / cap)``, as Gemma-2 does (2024).

    The softmax is taken in float32 or better, as transformers does there.
    """

    def attend_under_cap(
        queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float
    ) -> Tensor:
        rows, heads, width = queries.shape
        kv_heads = keys.shape[1]
        if causal:
            mask = torch.ones(rows, rows, dtype=torch.bool, device=queries.device).tril()
        grouped = queries.view(rows, kv_heads, heads // kv_heads, width).permute(1, 2, 0, 3)
        logits = grouped @ keys[0, :, None].transpose(-1, -2)  # [Hkv, G, N, n]
        logits = cap * torch.tanh(logits * scale / cap)
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        precision = torch.promote_types(logits.dtype, torch.float32)
        weights = torch.softmax(logits, dim=-1, dtype=precision).to(values.dtype)
        return (weights @ values[0, :, None]).permute(2, 0, 1, 3).reshape(rows, heads * width)

    return attend_under_cap
