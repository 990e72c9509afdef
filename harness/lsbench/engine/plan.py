"""Depth plans: which sub-layers run for a token, and what happens to the keys and values they leave out.

Layers are numbered 1..L wherever a person writes or reads them, as an exit layer is. Sub-layers are
indexed 0..2L-1 in running order: index 2(l-1) is layer l's attention, 2(l-1)+1 its MLP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

KVFill = Literal["recompute", "propagate", "mask"]
"""What becomes of keys and values at the attention sub-layers that a token did not run:

- ``recompute``: pending; the position rides along, batched, with the next token that goes deeper (exact);
- ``propagate``: projected from the hidden state that passed by (approximate, cheap);
- ``mask``: not made; later queries do not see the position there.
"""

ATTENTION, MLP = 0, 1


def sublayer(layer: int, part: int) -> int:
    """Index of a sub-layer: ``layer`` in 1..L, ``part`` one of ATTENTION, MLP."""
    return 2 * (layer - 1) + part


@dataclass(frozen=True)
class DepthPlan:
    """The sub-layers that run for a token, fixed before its step.

    Attributes:
        run: 2L flags in running order; False means that the hidden state passes by unchanged.
        kv_fill: what becomes of keys and values at attention sub-layers that do not run.
    """

    run: tuple[bool, ...]
    kv_fill: KVFill = "recompute"

    def __post_init__(self) -> None:
        if not self.run or len(self.run) % 2:
            raise ValueError(f"a plan needs two flags for every layer, got {len(self.run)}")
        if self.kv_fill not in ("recompute", "propagate", "mask"):
            raise ValueError(f"kv_fill must be recompute, propagate or mask, not {self.kv_fill!r}")

    @classmethod
    def full(cls, num_layers: int) -> DepthPlan:
        """Every sub-layer runs."""
        return cls((True,) * (2 * num_layers))

    @classmethod
    def exit_at(cls, num_layers: int, exit_layer: int, kv_fill: KVFill = "recompute") -> DepthPlan:
        """Layers 1..``exit_layer`` run, then final norm and head.

        Raises:
            ValueError: ``exit_layer`` is outside 1..``num_layers``.
        """
        if not 1 <= exit_layer <= num_layers:
            raise ValueError(f"exit_layer must be in 1..{num_layers}, got {exit_layer}")
        run = (True,) * (2 * exit_layer) + (False,) * (2 * (num_layers - exit_layer))
        return cls(run, kv_fill)

    @classmethod
    def skipping(cls, num_layers: int, skipped: Iterable[int], kv_fill: KVFill = "recompute") -> DepthPlan:
        """Every sub-layer runs but those in ``skipped`` (indices 0..2L-1).

        Raises:
            ValueError: an index outside 0..2L-1.
        """
        left_out = frozenset(skipped)
        if any(not 0 <= index < 2 * num_layers for index in left_out):
            raise ValueError(f"sub-layer indices must be in 0..{2 * num_layers - 1}, got {sorted(left_out)}")
        return cls(tuple(j not in left_out for j in range(2 * num_layers)), kv_fill)

    @property
    def num_layers(self) -> int:
        """L."""
        return len(self.run) // 2

    @cached_property
    def is_full(self) -> bool:
        """Whether every sub-layer runs."""
        return all(self.run)

    @cached_property
    def flags(self) -> npt.NDArray[np.bool_]:
        """``run`` as an array [2L]; not to be written to."""
        array = np.array(self.run, dtype=bool)
        array.setflags(write=False)
        return array


def check_plan(plan: DepthPlan, num_layers: int) -> None:
    """Refuse a plan made for another model.

    Raises:
        ValueError: the plan has another number of layers than ``num_layers``.
    """
    if plan.num_layers != num_layers:
        raise ValueError(f"a plan for {plan.num_layers} layers on a model of {num_layers}")
