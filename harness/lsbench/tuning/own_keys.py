"""Keys and values that branches of a reference made for themselves, beside the reference's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine.block import Block
from lsbench.tuning.references import Reference

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


class OwnKeys:
    """Those of one layer. A branch sees the reference's keys and values but where it has replaced them.

    Args:
        reference: of R rows.
        branches: how many there are.
    """

    def __init__(self, reference: Reference, branches: int) -> None:
        self._reference, self._num_branches = reference, branches
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._rows: list[Indices] = []
        self._branches: list[Indices] = []
        self._replaced: Flags | None = None
        """[branches, R] where a branch does not see the reference's."""

    def replace(self, rows: Indices, branches: Indices) -> None:
        """From now on each of these branches does not see the reference's keys and values of its row."""
        if rows.size:
            if self._replaced is None:
                self._replaced = np.zeros((self._num_branches, self._reference.rows), dtype=bool)
            self._replaced[branches, rows] = True

    def add(self, rows: Indices, branches: Indices, keys: Tensor, values: Tensor) -> None:
        """Each of these branches sees [n, Hkv, d] keys and values at its row, which it has replaced."""
        self._keys.append(keys)
        self._values.append(values)
        self._rows.append(rows)
        self._branches.append(branches)

    def seen_by(self, rows: Indices, branches: Indices) -> Flags:
        """[n] whether the branch of each row has replaced anything before it."""
        if self._replaced is None:
            return np.zeros(len(rows), dtype=bool)
        before = np.cumsum(self._replaced, axis=1) - self._replaced
        return before[branches, rows] > 0

    def attend(self, layer: int, block: Block, rows: Indices, branches: Indices, queries: Tensor) -> Tensor:
        """What each row sees: [n, H * d] of queries [n, H, d].

        Args:
            layer: this one, 0..L-1.
            block: of the layer.
            rows: [n] of the reference.
            branches: [n] of the rows.
            queries: rotated.
        """
        reference = self._reference
        prompt, length = reference.prompt_length, reference.prompt_length + reference.rows
        keys, values = reference.session.cache.read(layer, 0, length)
        last = rows[:, None]
        positions = np.arange(-prompt, reference.rows)
        sees = positions <= last
        if self._replaced is not None:
            sees[:, prompt:] &= ~self._replaced[branches]
        if self._keys:
            own = np.concatenate(self._rows)
            sees_own = (np.concatenate(self._branches) == branches[:, None]) & (own <= last)
            sees, positions = np.hstack([sees, sees_own]), np.concatenate([positions, own])
            keys, values = _joined(keys, self._keys), _joined(values, self._values)
        if block.window is not None:
            sees &= positions > last - block.window
        mask = torch.as_tensor(sees, device=queries.device)
        return block.attend(queries, keys, values, mask, False, block.shape.scale)


def _joined(held: Tensor, made: Sequence[Tensor]) -> Tensor:
    """[1, Hkv, n + M, d] of a cache's [1, Hkv, n, d] and [M, Hkv, d] in parts."""
    return torch.cat([held, torch.cat(list(made)).transpose(0, 1)[None]], dim=2)
