"""The KV cache, and what is known about every position in it.

The contract, in the words of docs/architecture.md: a key and value at (position, layer) is *exact* (made
from a full-depth hidden state), *approximate* (made under a plan), *pending* (not made yet) or *masked*
(not made, and later queries do not see the position there). Nothing is silently ragged.

For every position the cache also knows its *frontier*: how many leading sub-layers ran exactly. Where a
position is not exact to the end, the exact hidden state that enters its frontier is kept, so that
``recompute`` and ``verify`` resume there and nowhere earlier.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

PENDING, MASKED, APPROXIMATE, EXACT = range(4)


class KVCache:
    """Keys and values of B sequences over L layers, allocated ahead and grown by doubling.

    Attributes:
        keys, values: L tensors [B, Hkv, capacity, d].
        state: [B, capacity, L] uint8, one of PENDING, MASKED, APPROXIMATE, EXACT.
        frontier: [B, capacity] int32 in 0..2L: leading sub-layers that ran exactly.
        resume: (sequence, position) to the exact hidden state [D] entering its frontier; an entry
            for every position whose frontier is below 2L.
        lengths: [B] int64, positions held.
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
        self.lengths: npt.NDArray[np.int64] = np.zeros(batch, dtype=np.int64)
        self._clean: npt.NDArray[np.bool_] = np.ones(batch, dtype=bool)

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

    def truncate(self, sequence: int, length: int) -> None:
        """Forget every position from ``length`` on."""
        for position in range(length, int(self.lengths[sequence])):
            self.resume.pop((sequence, position), None)
        self.lengths[sequence] = length
        if not self._clean[sequence]:
            self.note_exactness(sequence)

    def is_exact(self, sequence: int) -> bool:
        """Whether every position of ``sequence`` ran every sub-layer exactly."""
        return bool(self._clean[sequence])

    def exact_length(self, sequence: int) -> int:
        """How many leading positions ran every sub-layer exactly."""
        length = int(self.lengths[sequence])
        if self._clean[sequence]:
            return length
        inexact = np.flatnonzero(self.frontier[sequence, :length] < 2 * self.num_layers)
        return int(inexact[0]) if inexact.size else length

    def note_exactness(self, sequence: int) -> None:
        """Look again whether ``sequence`` is exact throughout; called when a step or a cut has ended."""
        frontier = self.frontier[sequence, : int(self.lengths[sequence])]
        self._clean[sequence] = bool((frontier == 2 * self.num_layers).all())

    def note_inexact(self, sequence: int) -> None:
        """``sequence`` now holds a position that is not exact throughout."""
        self._clean[sequence] = False
