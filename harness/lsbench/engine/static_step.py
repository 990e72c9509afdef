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
from lsbench.engine.cache import MASKED


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
        self._layers = range((begin + 1) // 2, (end + 1) // 2)
        self._caches = len(keys) // len(self._layers) if self._layers else 0

    def seen(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Where nothing is masked, for each group and each layer whose attention runs.

        Args:
            states: [B, at most capacity, L] uint8 of every cache, as ``KVCache`` has them, or none.

        Returns:
            [layers, capacity] bool of each group, where ``states`` are; nothing for no states.
        """
        layers, every = self._layers, list[Tensor]()
        for group in self._groups if states and layers else ():
            own = states[group.cache][group.sequence, :, layers.start : layers.stop] != MASKED
            room = self._keys[group.cache].shape[2] - own.shape[0]
            every.append(torch.nn.functional.pad(own.T, (0, room), value=True))
        return every

    def __call__(self, hidden: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *seen: Tensor) -> Tensor:
        """Run it, which writes keys and values of the rows.

        Args:
            hidden: [N, D].
            positions: [N] int64, on the device.
            cos, sin: [N, 1, width] rotary factors of the positions.
            seen: as the method gives them, on the device; none where nothing is masked.

        Returns:
            new hidden states [N, D].
        """
        rotary = cos, sin
        masks: dict[tuple[int, int | None], Tensor] = {}
        for index in self._range:
            layer, is_mlp = divmod(index, 2)
            if is_mlp:
                hidden = self._blocks[layer].run_mlp(hidden)
            else:
                own = [each[layer - self._layers.start] for each in seen]
                hidden = self._attention(layer, hidden, positions, rotary, masks, own)
        return hidden

    def _attention(
        self,
        layer: int,
        hidden: Tensor,
        positions: Tensor,
        rotary: tuple[Tensor, Tensor],
        masks: dict[tuple[int, int | None], Tensor],
        seen: Sequence[Tensor],
    ) -> Tensor:
        """One attention sub-layer; ``seen`` [capacity] of each group there, or none."""
        block, at = self._blocks[layer], (layer - self._layers.start) * self._caches
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
            if seen:
                mask = mask & seen[place]
            attended.append(block.attend(queries[rows], keys, values, mask, False, self._scale))
        together = attended[0] if len(attended) == 1 else torch.cat(attended)
        return block.finish_attention(hidden, together)


def _visible(positions: Tensor, capacity: int, window: int | None) -> Tensor:
    """[n, capacity] True where a row at one of ``positions`` [n] sees a position: itself and before."""
    offered, own = torch.arange(capacity, device=positions.device), positions[:, None]
    sees = offered <= own
    return sees if window is None or window >= capacity else sees & (offered > own - window)
