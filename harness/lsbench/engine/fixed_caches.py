"""Keys and values at places in memory that outlast a session, for steps that were recorded there.

A recorded step reads and writes the addresses that it was recorded with, and every session allocates a cache
of its own. So the contents of a cache are moved, once, to a place that an earlier session has left, or to a
new one. Sizes are powers of two, so that sessions of about the same length share them.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from lsbench.engine.cache import KVCache

_LEAST = 256
"""Positions of the smallest place."""
_MOST_FREE = 16
"""Places kept for sessions to come, over all sizes."""

_Size = tuple[int, torch.Size, torch.dtype, torch.device]


@dataclass(frozen=True)
class _Place:
    """Where the keys and values of one session after the other are.

    Attributes:
        number: smaller for those made earlier.
        size: of the caches that it takes.
        keys, values: [B, Hkv, capacity, d] of each layer.
    """

    number: int
    size: _Size
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class FixedCaches:
    """Moves caches to places that are used again and again."""

    def __init__(self) -> None:
        self._free: list[_Place] = []
        self._taken: weakref.WeakKeyDictionary[KVCache, tuple[_Place, weakref.finalize]] = (
            weakref.WeakKeyDictionary()
        )
        self._numbers = count()

    def settle(self, caches: Sequence[KVCache]) -> None:
        """Have each of ``caches`` at such a place until it is freed; what it holds goes with it."""
        for cache in caches:
            taken = self._taken.get(cache)
            if taken is not None and cache.keys[0] is taken[0].keys[0]:
                continue
            if taken is not None:
                taken[1]()  # it has outgrown its place, and leaves it
            place = self._move(cache)
            self._taken[cache] = place, weakref.finalize(cache, self._leave, place)

    def _move(self, cache: KVCache) -> _Place:
        like = cache.keys[0]
        shape = torch.Size((*like.shape[:2], capacity_for(cache.capacity), like.shape[3]))
        size = len(cache.keys), shape, like.dtype, like.device
        # The earliest made: sessions that begin together again meet the places that they had before.
        place = next((free for free in self._free if free.size == size), None)
        if place is None:
            keys, values = (_filled(own, [None] * len(own), shape) for own in (cache.keys, cache.values))
            return _Place(next(self._numbers), size, keys, values)
        self._free.remove(place)
        _filled(cache.keys, place.keys, shape)
        _filled(cache.values, place.values, shape)
        return place

    def _leave(self, place: _Place) -> None:
        self._free = sorted([*self._free, place], key=lambda each: each.number)[:_MOST_FREE]


def capacity_for(positions: int) -> int:
    """Positions of the place that a cache of so many is moved to."""
    return max(_LEAST, 1 << (positions - 1).bit_length())


def _filled(own: list[Tensor], there: Sequence[Tensor | None], shape: torch.Size) -> tuple[Tensor, ...]:
    """Put what ``own`` holds into the tensors of a place, or into new ones, and these into ``own``."""
    # One layer at a time, so that two copies of the whole cache never coexist.
    for layer, tensor in enumerate(there):
        held = own[layer].shape[2]
        target = own[layer].new_empty(shape) if tensor is None else tensor
        target[:, :, :held] = own[layer]
        target[:, :, held:] = 0
        own[layer] = target
    return tuple(own)
