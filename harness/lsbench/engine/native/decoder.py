"""Whole sub-layers in compiled code, for layers of the standard shape.

Standard are RMS norms written as Llama's, one product for query, key and value (with a norm of each head or
without), rotary positions paired by halves or none, a sliding window or none, and an MLP gated by SiLU. Other
layers run operator by operator, with compiled products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lsbench.engine.native.crossover import most_rows


@dataclass(frozen=True)
class NativeLayer:
    """What a layer of the standard shape is made of.

    Attributes:
        attention_norm, mlp_norm: [D] weights.
        qkv, output, gate_up, down: weight [out, in] and bias [out] or None of each product.
        query_norm, key_norm: [d] weights, or None.
        epsilons: of the attention norm, the MLP norm and the norms of heads.
        heads, kv_heads, head_width: H, Hkv, d.
        window: positions a row sees, its own included; None for all.
        scale: factor of the attention logits.
        residual: factor of what a sub-layer adds.
        turns: whether it has rotary positions.
    """

    attention_norm: Tensor
    qkv: tuple[Tensor, Tensor | None]
    output: tuple[Tensor, Tensor | None]
    mlp_norm: Tensor
    gate_up: tuple[Tensor, Tensor | None]
    down: tuple[Tensor, Tensor | None]
    query_norm: Tensor | None
    key_norm: Tensor | None
    epsilons: tuple[float, float, float]
    heads: int
    kv_heads: int
    head_width: int
    window: int | None
    scale: float
    residual: float
    turns: bool


class NativeDecoder:
    """Runs sub-layers of standard layers on a few rows.

    Args:
        layers: all the model's layers; their weights are kept where they are.
        rows: the most rows that it is worth taking it for.

    Attributes:
        most_rows: as given.
    """

    def __init__(self, layers: Sequence[NativeLayer], rows: int) -> None:
        self.most_rows = rows
        products = [(each.qkv, each.output, each.gate_up, each.down) for each in layers]
        self._decoder: Any = torch.classes.lsbench.Decoder(
            [_weights(each) for each in layers],
            [[bias for _, bias in each] for each in products],
            [list(each.epsilons) for each in layers],
            [[each.heads, each.kv_heads, each.head_width, each.window or 0] for each in layers],
            [[each.scale, each.residual] for each in layers],
            [int(each.turns) for each in layers],
        )

    def run(
        self,
        hidden: Tensor,
        begin: int,
        end: int,
        places: Tensor,
        rotary: tuple[Tensor, Tensor],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
    ) -> Tensor:
        """Run sub-layers ``begin`` to ``end``, which writes keys and values of the rows.

        Every row sees the positions of its sequence up to its own.

        Args:
            hidden: [N, D].
            begin: first sub-layer, 0..2L-1.
            end: the one after the last.
            places: [3, N] int64, contiguous: cache, sequence within it, and position of each row.
            rotary: cosines and signed sines [N, 1, width] of the rows.
            keys, values: [B, Hkv, capacity, d] of each attention sub-layer in turn, of every cache in turn.

        Returns:
            new hidden states [N, D].
        """
        return self._decoder.run(
            hidden, begin, end, places, rotary[0][:, 0], rotary[1][:, 0], list(keys), list(values)
        )


def native_decoder(
    layers: Sequence[NativeLayer | None], dtype: torch.dtype, device: torch.device
) -> NativeDecoder | None:
    """A decoder for a model whose layers are all standard; None where there is none, or it cannot serve."""
    standard = [each for each in layers if each is not None]
    rows = most_rows(dtype, device) if standard and len(standard) == len(layers) else 0
    return NativeDecoder(standard, rows) if rows else None


def _weights(layer: NativeLayer) -> list[Tensor | None]:
    return [
        layer.attention_norm,
        layer.qkv[0],
        layer.output[0],
        layer.mlp_norm,
        layer.gate_up[0],
        layer.down[0],
        layer.query_norm,
        layer.key_norm,
    ]
