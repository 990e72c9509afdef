"""Products with int8 weights by torch alone: a few output rows are widened at a time, multiplied, and let go.

It serves many rows, for which the widening is a small part of the work, other devices, better precisions, and
machines without the compiled library.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_WIDENED_BYTES = 4 << 20
"""Widened weights held at a time: few enough to be multiplied before they leave the caches."""


def dequantized_product(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ (weight * scale[:, None]).T + bias`` in the precision of ``x``.

    Args:
        x: [..., in].
        weight: [out, in] int8.
        scale: [out].
        bias: [out] or None.

    Returns:
        [..., out].
    """
    rows = max(1, _WIDENED_BYTES // (x.element_size() * max(1, weight.shape[1])))
    scale = scale.to(x.dtype)
    pieces = [
        functional.linear(x, part.to(x.dtype)) * factors
        for part, factors in zip(weight.split(rows), scale.split(rows), strict=True)
    ]
    out = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)
    return out if bias is None else out + bias.to(x.dtype)
