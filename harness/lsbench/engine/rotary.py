"""Rotary positions (Su et al., 2021): tables from transformers' own modules, and the rotation of heads.

Components of a head turn in pairs. *Halves* pairs i with i + d/2, *neighbours* pairs 2i with 2i + 1. Either
way, ``x * cos + partners(x) * sin`` with one sign of each pair's sines turned once, in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lsbench.errors import UnsupportedModel

Pairs = Literal["halves", "neighbours"]
Rotation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Heads [N, heads, d], and cosines and signed sines [N, 1, width] of each row's position, to turned heads."""

_FIRST, _FURTHER = 256, 64
"""Positions made at first, and at a time beyond the context."""


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn whole heads, paired by halves.

    Args:
        x: [N, heads, d].
        cos, sin: [N, 1, d], the first half of ``sin`` negated (``signed_sines``).
    """
    half = x.shape[-1] // 2
    swapped = torch.cat((x[..., half:], x[..., :half]), dim=-1)
    return torch.addcmul(x * cos, swapped, sin)


def rotate_neighbours(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn whole heads, paired by neighbours: [N, heads, d], the even ``sin`` [N, 1, d] negated."""
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin)


def signed_sines(sin: Tensor, pairs: Pairs = "halves") -> Tensor:
    """[..., d] sines, the first of each pair negated once instead of half of every vector that is turned."""
    if pairs == "neighbours":
        return sin * torch.tensor([-1.0, 1.0], dtype=sin.dtype, device=sin.device).repeat(sin.shape[-1] // 2)
    half = sin.shape[-1] // 2
    return torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)


def rotation(
    pairs: Pairs,
    head_width: int,
    table_width: int,
    precision: Literal["model", "table", "float32"] = "model",
    columns: slice | None = None,
) -> Rotation:
    """How a layer turns its heads; ``rotate`` itself where nothing is special.

    Args:
        pairs: which components turn together.
        head_width: d.
        table_width: components that turn, the first ones; the rest passes by.
        precision: of the computation: the model's; the table's; or float32, whatever comes in.
        columns: the layer's own part of the table's last dimension, where kinds of layers have their own.
    """
    turn = rotate if pairs == "halves" else rotate_neighbours
    if table_width < head_width:
        turn = _partial(turn, table_width)
    if precision != "model":
        turn = _widened(turn, precision == "float32")
    return turn if columns is None else _of_columns(turn, columns)


def unturned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """A layer without positions."""
    return x


def _partial(turn: Rotation, width: int) -> Rotation:
    def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return torch.cat((turn(x[..., :width], cos, sin), x[..., width:]), dim=-1)

    return turned


def _widened(turn: Rotation, throughout: bool) -> Rotation:
    def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return turn(x.float() if throughout else x, cos, sin).to(x.dtype)

    return turned


def _of_columns(turn: Rotation, columns: slice) -> Rotation:
    def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return turn(x, cos[..., columns], sin[..., columns])

    return turned


class RotaryTables:
    """Cosines and signed sines by position, made once by the model's own module and kept.

    Kinds of layers that turn at speeds of their own (Gemma-3's local and global ones) have their tables side
    by side in the last dimension; ``columns`` tells a layer its own.

    Frequencies that change with the length (``dynamic``) are made for every position beyond the model's
    context as transformers makes them when it decodes that very position, and stay: a position's keys do not
    depend on what came after it. Tokens equal those of transformers' ``generate`` for a prompt within the
    context; a longer prompt transformers turns as a whole by its last position.

    Args:
        module: transformers' rotary embedding.
        pairs, table: which components turn together, in the heads and in the module's table.
        context: positions the frequencies were made for.
        like: any tensor of the model's type and device.
    """

    def __init__(self, module: nn.Module, pairs: Pairs, table: Pairs, context: int, like: Tensor) -> None:
        self._module: Any = module
        self._pairs: Pairs = pairs
        self._table: Pairs = table
        self._context = context
        self._like = like
        kind: Any = getattr(module, "rope_type", None)
        self.kinds: tuple[str | None, ...] = tuple(kind) if isinstance(kind, dict) else (None,)
        kinds = tuple(kind.values()) if isinstance(kind, dict) else (kind,)
        self._grows = any("dynamic" in str(each) for each in kinds)
        self._is_bounded = any(each == "longrope" for each in kinds)
        self._tables = self._piece(0, 1)
        self.width = self._tables[0].shape[-1] // len(self.kinds)

    def columns(self, kind: str | None) -> slice | None:
        """The part of the table that layers of ``kind`` turn by; None is all of it."""
        if len(self.kinds) == 1:
            return None
        first = self.kinds.index(kind) * self.width
        return slice(first, first + self.width)

    def upto(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines [>= length, 1, width] of the positions from 0 on.

        Raises:
            UnsupportedModel: positions that would make those before them turn differently (``longrope``).
        """
        if self._is_bounded and length > self._context:
            raise UnsupportedModel(
                f"This checkpoint's rotary positions (longrope) run within {self._context} positions, not "
                f"{length}; choose shorter prompts or fewer tokens."
            )
        held = self._tables[0].shape[0]
        if held < length:
            # Up to the context by doubling; what lies beyond may cost a call for each position.
            within = max(length, min(max(2 * held, _FIRST), self._context))
            size = within if length <= self._context else length + _FURTHER
            more = self._make(held, size)
            self._tables = (torch.cat((self._tables[0], more[0])), torch.cat((self._tables[1], more[1])))
        return self._tables

    def _make(self, first: int, end: int) -> tuple[Tensor, Tensor]:
        """The positions from ``first`` to before ``end``."""
        if not self._grows:
            return self._piece(first, end)
        within = max(first, min(end, self._context))
        # Whatever the module was last asked, it is back at the frequencies of its context, here and after.
        self._piece(0, 1)
        pieces = [self._piece(first, within)] if first < within else []
        pieces.extend(self._piece(position, position + 1) for position in range(within, end))
        self._piece(0, 1)
        cosines, sines = zip(*pieces, strict=True)
        return torch.cat(cosines), torch.cat(sines)

    def _piece(self, first: int, end: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(first, end, device=self._like.device)[None]
        cosines: list[Tensor] = []
        sines: list[Tensor] = []
        for kind in self.kinds:
            arguments = () if kind is None else (kind,)
            cos, sin = self._module(self._like, positions, *arguments)
            cosines.append(self._paired(cos[0]))
            sines.append(signed_sines(self._paired(sin[0]), self._pairs))
        if len(self.kinds) == 1:
            return cosines[0][:, None], sines[0][:, None]
        return torch.cat(cosines, dim=-1)[:, None], torch.cat(sines, dim=-1)[:, None]

    def _paired(self, table: Tensor) -> Tensor:
        """A table whose pairs are those of the heads."""
        if self._table == self._pairs:
            return table
        half = table.shape[-1] // 2
        if self._pairs == "neighbours":
            return table[..., :half].repeat_interleave(2, dim=-1)
        return torch.cat((table[..., ::2], table[..., ::2]), dim=-1)
