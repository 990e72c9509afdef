"""The KV cache, and what is known about every position in it.

The contract, in the words of docs/architecture.md: a key and value at (position, layer) is *exact* (made
from a full-depth hidden state), *approximate* (made under a plan), *pending* (not made yet) or *masked*
(not made, and later queries do not see the position there). Nothing is silently ragged.

For every position the cache also knows its *frontier*: how many leading sub-layers ran exactly. Where a
position is not exact to the end, the exact hidden state that enters its frontier is kept, so that
``recompute`` and ``verify`` resume there and nowhere earlier. Of a draft's positions it is kept after the
last sub-layer too, where it enters the head: what they predict may not have been asked yet.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

PENDING, MASKED, APPROXIMATE, EXACT = 1, 2, 4, 8
"""States of a key and value; bits, so that several positions can be summed up in one number."""
INEXACT = PENDING | MASKED | APPROXIMATE
_NO_DRAFT = sys.maxsize
"""Where a draft begins if there is none: after any position."""


class KVCache:
    """Keys and values of B sequences over L layers, allocated ahead and grown by doubling.

    Attributes:
        keys, values: L tensors [B, Hkv, capacity, d]; 0 where nothing was written, because a masked
            position is multiplied by a weight of 0, and that must not meet a NaN.
        state: [B, capacity, L] uint8, one of PENDING, MASKED, APPROXIMATE, EXACT.
        frontier: [B, capacity] int32 in 0..2L: leading sub-layers that ran exactly.
        resume: (sequence, position) to the exact hidden state [D] entering its frontier; an entry
            for every position whose frontier is below 2L, and for every one of a draft.
        draft_starts: for each sequence, the position that its draft begins at; a large number where there
            is none, so that nothing is kept for it.
        lengths: [B] int64, positions held.
        exact_lengths: for each sequence, how many leading positions ran every sub-layer exactly.
    """

    def __init__(
        self,
        num_layers: int,
        batch: int,
        kv_heads: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device,
        capacity: int,
    ) -> None:
        self.num_layers = num_layers
        self.capacity = max(capacity, 1)
        shape = (batch, kv_heads, self.capacity, head_width)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.state: npt.NDArray[np.uint8] = np.zeros((batch, self.capacity, num_layers), dtype=np.uint8)
        self.frontier: npt.NDArray[np.int32] = np.zeros((batch, self.capacity), dtype=np.int32)
        self.resume: dict[tuple[int, int], Tensor] = {}
        self.draft_starts = [_NO_DRAFT] * batch
        self.lengths: npt.NDArray[np.int64] = np.zeros(batch, dtype=np.int64)
        self.exact_lengths = [0] * batch
        self._states: npt.NDArray[np.uint8] = np.zeros((batch, num_layers), dtype=np.uint8)
        """Every state that a position from ``exact_lengths`` on may have at a layer."""

    @property
    def num_bytes(self) -> int:
        """Bytes allocated for keys and values."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.keys, *self.values))

    def reserve(self, length: int) -> None:
        """Make room for ``length`` positions; doubles the capacity until they fit."""
        if length <= self.capacity:
            return
        old, kept = self.capacity, int(self.lengths.max())
        while self.capacity < length:
            self.capacity *= 2
        # One layer at a time, so that the old and the new copy never coexist for the whole cache.
        for tensors in (self.keys, self.values):
            for index, tensor in enumerate(tensors):
                grown = tensor.new_zeros((*tensor.shape[:2], self.capacity, tensor.shape[3]))
                grown[:, :, :kept] = tensor[:, :, :kept]
                tensors[index] = grown
        extra = self.capacity - old
        self.state = np.pad(self.state, ((0, 0), (0, extra), (0, 0)))
        self.frontier = np.pad(self.frontier, ((0, 0), (0, extra)))

    def append(self, sequence: int, count: int) -> None:
        """Add ``count`` positions to ``sequence``, pending at every layer."""
        start = int(self.lengths[sequence])
        self.reserve(start + count)
        self.state[sequence, start : start + count] = PENDING
        self.frontier[sequence, start : start + count] = 0
        self.lengths[sequence] = start + count

    def begin_draft(self, sequence: int) -> None:
        """The positions to come are a draft; of an earlier one, what entered the head is forgotten."""
        length = int(self.lengths[sequence])
        for position in range(self.draft_starts[sequence], length):
            if self.frontier[sequence, position] == 2 * self.num_layers:
                self.resume.pop((sequence, position), None)
        self.draft_starts[sequence] = length

    def truncate(self, sequence: int, length: int) -> None:
        """Forget every position from ``length`` on."""
        first = min(self.exact_lengths[sequence], self.draft_starts[sequence])
        for position in range(max(length, first), int(self.lengths[sequence])):
            self.resume.pop((sequence, position), None)
        self.lengths[sequence] = length
        self.exact_lengths[sequence] = min(self.exact_lengths[sequence], length)
        self.settle(sequence)

    # -- keys and values ----------------------------------------------------------------------------

    def read(self, layer: int, sequence: int, length: int) -> tuple[Tensor, Tensor]:
        """Views [1, Hkv, ``length``, d] of the keys and values of the first positions."""
        chosen = slice(sequence, sequence + 1)
        return self.keys[layer][chosen, :, :length], self.values[layer][chosen, :, :length]

    def write(self, layer: int, sequence: int, first: int, keys: Tensor, values: Tensor) -> None:
        """Store [n, Hkv, d] keys and values at the positions from ``first`` on."""
        end = first + keys.shape[0]
        self.keys[layer][sequence, :, first:end] = keys.transpose(0, 1)
        self.values[layer][sequence, :, first:end] = values.transpose(0, 1)

    def scatter(
        self, layer: int, sequence: int, positions: npt.NDArray[np.int64], keys: Tensor, values: Tensor
    ) -> None:
        """Store [n, Hkv, d] keys and values at any ``positions`` [n]."""
        index = torch.as_tensor(positions, device=keys.device)
        self.keys[layer][sequence][:, index] = keys.transpose(0, 1)
        self.values[layer][sequence][:, index] = values.transpose(0, 1)

    def mark(
        self,
        sequence: int,
        positions: slice | npt.NDArray[np.int64],
        layers: slice,
        states: npt.NDArray[np.uint8] | int,
    ) -> None:
        """Keys and values of some positions [n] are made at ``layers``, and are what ``states`` says: of each
        position [n, 1], or of all."""
        self.state[sequence, positions, layers] = states

    # -- exactness ----------------------------------------------------------------------------------

    def keep(self, sequence: int, position: int, frontier: int, hidden: Tensor) -> None:
        """A position is exact up to sub-layer ``frontier`` and no further; ``hidden`` [D] enters it."""
        self.frontier[sequence, position] = frontier
        self.resume[sequence, position] = hidden

    def complete(
        self, sequence: int, positions: npt.NDArray[np.int64], hidden: Tensor, rows: npt.NDArray[np.int64]
    ) -> None:
        """Some positions ran every sub-layer exactly.

        Args:
            sequence: whose.
            positions: [n].
            hidden: [N, D] what enters the head, of these and others.
            rows: [n] of ``hidden``, where each of the positions is.
        """
        self.frontier[sequence, positions] = 2 * self.num_layers
        start = self.draft_starts[sequence]
        if not self.resume and start == _NO_DRAFT:
            return
        for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
            if position < start:
                self.resume.pop((sequence, position), None)
            else:
                # A view: hidden states are never written to.
                self.resume[sequence, position] = hidden[row]

    def complete_newest(self, sequence: int, first: int, hidden: Tensor) -> None:
        """The positions from ``first`` on ran every sub-layer exactly, and nothing was done to earlier ones.

        What ``complete`` and ``settle`` do, for what nearly every step is. ``hidden`` [n, D] enters the head.
        """
        length = int(self.lengths[sequence])
        if self.resume or self.draft_starts[sequence] != _NO_DRAFT:
            rows = np.arange(length - first)
            self.complete(sequence, rows + first, hidden, rows)
        else:
            self.frontier[sequence, first:length] = 2 * self.num_layers
        if self.exact_lengths[sequence] >= first:
            self.exact_lengths[sequence] = length
            self._states[sequence] = 0
        else:
            self._states[sequence] |= EXACT

    def settle(self, sequence: int, since: int = 0) -> None:
        """Sum up ``sequence`` again after a step or a cut that changed nothing before position ``since``."""
        exact, length = self.exact_lengths[sequence], int(self.lengths[sequence])
        inexact = np.flatnonzero(self.frontier[sequence, exact:length] < 2 * self.num_layers)
        exact = exact + int(inexact[0]) if inexact.size else length
        self.exact_lengths[sequence] = exact
        states = np.bitwise_or.reduce(self.state[sequence, max(exact, since) : length], axis=0)
        self._states[sequence] = states if since <= exact else states | self._states[sequence]

    def states_before(self, sequence: int, position: int) -> npt.NDArray[np.uint8]:
        """[L] bits of the states that inexact positions before ``position`` may have at each layer."""
        if position <= self.exact_lengths[sequence]:
            return np.zeros(self.num_layers, dtype=np.uint8)
        return self._states[sequence]
