"""What a session wants of a step, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lsbench.engine.cache import KVCache
from lsbench.engine.partial_head import PartialHead
from lsbench.engine.plan import DepthPlan
from lsbench.engine.policy import DepthPolicy
from lsbench.engine.tally import Tally

Indices = npt.NDArray[np.int64]


class Observer(Protocol):
    """Told of every sub-layer that a session's positions run: new ones, and older ones that ride along."""

    def __call__(self, sublayer: int, positions: Indices, entering: Tensor, leaving: Tensor) -> None:
        """``positions`` [n] ran ``sublayer`` (0..2L-1): hidden states [n, D] before and after, not copies."""
        ...


@dataclass(frozen=True)
class StepRequest:
    """What one session wants of a step: new positions, as many to each of its sequences.

    Attributes:
        cache: the session's sequences; the new positions are appended already.
        hidden: [B * T, D] of the last T positions of each sequence, entering each row's start.
        plans: the plan of each sequence.
        policies: sequence to who may stop its single row or change its plan.
        starts: [B * T] first sub-layer of each row, 2L where none is left; None is the bottom for all.
        last_only: predict after the last position of each sequence alone, and not after every one.
        verifies: it checks what a draft proposed; where sessions step together, it may wait for others that
            are still drafting.
        observer: told what the positions run.
        head: predicts some tokens alone; None is the whole head.
        tally: what the step does besides is added to it.
    """

    cache: KVCache
    hidden: Tensor
    plans: Sequence[DepthPlan]
    policies: Mapping[int, DepthPolicy] = field(default_factory=dict[int, DepthPolicy])
    starts: Indices | None = None
    last_only: bool = False
    verifies: bool = False
    observer: Observer | None = None
    head: PartialHead | None = None
    tally: Tally = field(default_factory=Tally)

    @property
    def count(self) -> int:
        """T."""
        return self.hidden.shape[0] // len(self.plans)

    @property
    def predicting(self) -> range:
        """Which of the rows are predicted after."""
        count, end = self.count, self.hidden.shape[0]
        return range(count - 1, end, count) if self.last_only else range(end)


@dataclass(frozen=True)
class StepOutcome:
    """What came of a request.

    Attributes:
        hidden: [B * T, D] where the rows came to.
        logits: [n, V], of the rows that are predicted after: minus infinity for tokens that the head
            leaves out.
        runs: for each sequence the 2L flags of the sub-layers that all of its rows ran.
    """

    hidden: Tensor
    logits: Tensor
    runs: tuple[tuple[bool, ...], ...]


def starts_of(requests: Sequence[StepRequest]) -> Indices | None:
    """[N] first sub-layer of every row; None when all begin at the bottom."""
    if all(request.starts is None for request in requests):
        return None
    return np.concatenate(
        [
            np.zeros(request.hidden.shape[0], dtype=np.int64) if request.starts is None else request.starts
            for request in requests
        ]
    )
