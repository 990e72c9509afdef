"""A range of sub-layers as a fixed sequence of operators on tensors that keep their shapes and places.

Where a row stands in its sequence is read from a tensor on the device, never by Python: every row's attention
goes over the whole capacity of its cache, and a mask takes away what the row does not see. So the same
operators serve every token, and a device can record them once and replay them (``graphs``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lsbench.engine.block import Block


@dataclass(frozen=True)
class Group:
    """Consecutive rows that belong to one sequence.

    Attributes:
        cache: which of the step's caches.
        sequence: which of that cache's sequences.
        first, end: its rows of the step are ``first`` to before ``end``.
    """

    cache: int
    sequence: int
    first: int
    end: int


def groups_of(places: Tensor) -> tuple[Group, ...]:
    """The rows of a step by sequence; ``places`` [3, N] int64 on the CPU, as of ``Party.places``."""
    caches, sequences = places[0].tolist(), places[1].tolist()
    homes = list(zip(caches, sequences, strict=True))
    starts = [row for row, home in enumerate(homes) if row == 0 or home != homes[row - 1]]
    ends = [*starts[1:], len(homes)]
    return tuple(Group(*homes[start], start, end) for start, end in zip(starts, ends, strict=True))


class StaticStep:
    """Sub-layers ``begin`` to ``end`` of rows that stand in ``groups``.

    Nothing in it depends on a number that the device holds: it neither waits for the device nor makes a
    tensor whose shape changes from one token to the next.

    Args:
        blocks: all the model's layers, none of them ``parallel`` or a mixture of experts.
        scale: factor of the attention logits.
        begin, end: 0..2L.
        groups: of all rows, in order.
        keys, values: [B, Hkv, capacity, d] of each attention sub-layer in turn, of every cache in turn; what
            was never written in them must be finite, because it is multiplied by a weight of 0.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        scale: float,
        begin: int,
        end: int,
        groups: Sequence[Group],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
    ) -> None:
        self._blocks, self._scale = blocks, scale
        self._range = range(begin, end)
        self._groups, self._keys, self._values = groups, keys, values
        layers = (end + 1) // 2 - (begin + 1) // 2
        self._caches = len(keys) // layers if layers else 0

    def __call__(self, hidden: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Run it, which writes keys and values of the rows.

        Args:
            hidden: [N, D].
            positions: [N] int64, on the device.
            cos, sin: [N, 1, width] rotary factors of the positions.

        Returns:
            new hidden states [N, D].
        """
        rotary = cos, sin
        masks: dict[tuple[int, int | None], Tensor] = {}
        first = (self._range.start + 1) // 2
        for index in self._range:
            layer, is_mlp = divmod(index, 2)
            if is_mlp:
                hidden = self._blocks[layer].run_mlp(hidden)
            else:
                at = (layer - first) * self._caches
                hidden = self._attention(layer, at, hidden, positions, rotary, masks)
        return hidden

    def _attention(
        self,
        layer: int,
        at: int,
        hidden: Tensor,
        positions: Tensor,
        rotary: tuple[Tensor, Tensor],
        masks: dict[tuple[int, int | None], Tensor],
    ) -> Tensor:
        """One attention sub-layer; the keys of the first cache at it are ``keys[at]``."""
        block = self._blocks[layer]
        queries, new_keys, new_values = block.project(hidden, *rotary)
        attended: list[Tensor] = []
        for place, group in enumerate(self._groups):
            rows, chosen = slice(group.first, group.end), slice(group.sequence, group.sequence + 1)
            keys, values = self._keys[at + group.cache][chosen], self._values[at + group.cache][chosen]
            own = positions[rows]
            keys[0].index_copy_(1, own, new_keys[rows].transpose(0, 1))
            values[0].index_copy_(1, own, new_values[rows].transpose(0, 1))
            if (place, block.window) not in masks:
                masks[place, block.window] = _visible(own, keys.shape[2], block.window)
            mask = masks[place, block.window]
            attended.append(block.attend(queries[rows], keys, values, mask, False, self._scale))
        together = attended[0] if len(attended) == 1 else torch.cat(attended)
        return block.finish_attention(hidden, together)


def _visible(positions: Tensor, capacity: int, window: int | None) -> Tensor:
    """[n, capacity] True where a row at one of ``positions`` [n] sees a position: itself and before."""
    offered, own = torch.arange(capacity, device=positions.device), positions[:, None]
    sees = offered <= own
    return sees if window is None or window >= capacity else sees & (offered > own - window)
