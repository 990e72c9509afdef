"""Whole sub-layers in compiled code, for layers of the standard shape.

Standard are RMS norms written as Llama's, one product for query, key and value (with a norm of each head or
without), rotary positions paired by halves or none, a sliding window or none, and an MLP gated by SiLU. Other
layers run operator by operator, with compiled products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lsbench.engine.native.crossover import most_rows


class Product(NamedTuple):
    """What a product multiplies with.

    Attributes:
        weight: [out, in].
        bias: [out] or None.
        scale: [out] of int8 weights; None for others.
    """

    weight: Tensor
    bias: Tensor | None
    scale: Tensor | None


@dataclass(frozen=True)
class NativeLayer:
    """What a layer of the standard shape is made of.

    Attributes:
        attention_norm, mlp_norm: [D] weights.
        qkv, output, gate_up, down: what each product multiplies with; all of one precision.
        query_norm, key_norm: [d] weights, or None.
        epsilons: of the attention norm, the MLP norm and the norms of heads.
        heads, kv_heads, head_width: H, Hkv, d.
        window: positions a row sees, its own included; None for all.
        scale: factor of the attention logits.
        residual: factor of what a sub-layer adds.
        carries: whether what it adds to is in what comes out; of several ranks that sum up, it is on one.
        turns: whether it has rotary positions.
    """

    attention_norm: Tensor
    qkv: Product
    output: Product
    mlp_norm: Tensor
    gate_up: Product
    down: Product
    query_norm: Tensor | None
    key_norm: Tensor | None
    epsilons: tuple[float, float, float]
    heads: int
    kv_heads: int
    head_width: int
    window: int | None
    scale: float
    residual: float
    carries: bool
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
        products = [_products(each) for each in layers]
        self._decoder: Any = torch.classes.lsbench.Decoder(
            [_weights(each) for each in layers],
            [[product.bias for product in each] for each in products],
            [[product.scale for product in each] for each in products],
            [list(each.epsilons) for each in layers],
            [[each.heads, each.kv_heads, each.head_width, each.window or 0] for each in layers],
            [[each.scale, each.residual] for each in layers],
            [[int(each.carries), int(each.turns)] for each in layers],
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
        states: Sequence[Tensor] = (),
    ) -> Tensor:
        """Run sub-layers ``begin`` to ``end``, which writes keys and values of the rows.

        Every row sees the positions of its sequence up to its own that are not masked.

        Args:
            hidden: [N, D].
            begin: first sub-layer, 0..2L-1.
            end: the one after the last.
            places: [3, N] int64, contiguous: cache, sequence within it, and position of each row.
            rotary: cosines and signed sines [N, 1, width] of the rows.
            keys, values: [B, Hkv, capacity, d] of each attention sub-layer in turn, of every cache in turn.
            states: [B, capacity, L] uint8 of every cache, as ``KVCache`` has them; none where no position is
                masked.

        Returns:
            new hidden states [N, D].
        """
        return self._decoder.run(hidden, begin, end, places, *rotary, list(keys), list(values), list(states))

    def fill(
        self,
        hidden: Tensor,
        first: int,
        places: Tensor,
        rotary: tuple[Tensor, Tensor],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
    ) -> None:
        """Write the keys and values that layers make of hidden states [N, D], without their attention.

        Args:
            hidden: what enters every one of them.
            first: the first layer, 0..L-1.
            places, rotary: as for ``run``; all rows are in one cache.
            keys, values: [B, Hkv, capacity, d] of that cache at each layer in turn.
        """
        self._decoder.fill(hidden, first, places, *rotary, list(keys), list(values))


class SummingDecoder(NativeDecoder):
    """Of one rank among several that hold a part of every layer: each sub-layer ends with a sum.

    Args:
        layers, rows: as ``NativeDecoder`` has them.
        sum: over ranks, in place.
    """

    def __init__(self, layers: Sequence[NativeLayer], rows: int, sum: Callable[[Tensor], Tensor]) -> None:
        super().__init__(layers, rows)
        self._sum = sum

    def run(
        self,
        hidden: Tensor,
        begin: int,
        end: int,
        places: Tensor,
        rotary: tuple[Tensor, Tensor],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        states: Sequence[Tensor] = (),
    ) -> Tensor:
        """As ``NativeDecoder.run``, one sub-layer after the other."""
        attentions = (end + 1) // 2 - (begin + 1) // 2
        caches, first = len(keys) // attentions if attentions else 0, 0
        for index in range(begin, end):
            mine = slice(first, first + (0 if index % 2 else caches))
            hidden = self._sum(
                super().run(hidden, index, index + 1, places, rotary, keys[mine], values[mine], states)
            )
            first = mine.stop
        return hidden


def native_decoder(
    layers: Sequence[NativeLayer | None], sum: Callable[[Tensor], Tensor] | None = None
) -> NativeDecoder | None:
    """A decoder for a model whose layers are all standard; None where there is none, or it cannot serve.

    Args:
        layers: of the model; None for those that are not standard.
        sum: over ranks that hold a part of every layer each, in place; None for a model held whole.
    """
    standard = [each for each in layers if each is not None]
    weights = [product.weight for each in standard for product in _products(each)]
    if len(standard) < len(layers) or len({(weight.dtype, weight.device) for weight in weights}) != 1:
        return None
    rows = most_rows(weights[0].dtype, weights[0].device)
    if not rows:
        return None
    return NativeDecoder(standard, rows) if sum is None else SummingDecoder(standard, rows, sum)


def _products(layer: NativeLayer) -> tuple[Product, ...]:
    return layer.qkv, layer.output, layer.gate_up, layer.down


def _weights(layer: NativeLayer) -> list[Tensor | None]:
    return [
        layer.attention_norm,
        layer.qkv.weight,
        layer.output.weight,
        layer.mlp_norm,
        layer.gate_up.weight,
        layer.down.weight,
        layer.query_norm,
        layer.key_norm,
    ]
