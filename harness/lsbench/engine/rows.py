"""The rows of a step: whose they are, and which of them run a sub-layer together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine.cache import INEXACT, MASKED, PENDING, KVCache
from lsbench.engine.plan import DepthPlan
from lsbench.engine.step_request import Indices, StepRequest


class Lane:
    """One sequence's part of a step: its new rows, what they run, and the older positions that ride along.

    Args:
        request: what its session wants; the new positions are appended already, and are its last ones.
        sequence: which of the session's.
        first_row: the step's row of the first new position.
        plan: which sub-layers they run.

    Attributes:
        cache: where the sequence is kept.
        policy: who may stop the only new position or change its plan, or None.
        plan: as given.
        first, end: the new positions are ``first`` to before ``end``.
        rows: the step's rows of the new positions.
        runs: 2L flags; a policy may change those still to come.
        kv_fill: what becomes of keys and values that the new positions leave out.
        check_layers: after which layers (1..L-1) the policy wants to look.
        riders: rows of older positions that ride along now, in order of position.
        observer: who is told what the sequence's positions run, or None.
        head: what the new positions are predicted after with, where it is not the whole head.
        tally: what is done besides running the new positions is added to it.
        has_left: whether the new positions have left out a sub-layer; then none of them is exact.
        has_brought_up: whether the step has changed older positions.
        found: [L] bits of the states that older positions may have; None where all are exact everywhere.
        pending, masked, inexact: for each layer, whether an older position may be so there.
    """

    def __init__(self, request: StepRequest, sequence: int, first_row: int, plan: DepthPlan) -> None:
        cache, count, policy = request.cache, request.count, request.policies.get(sequence)
        self.cache, self.sequence, self.count, self.policy = cache, sequence, count, policy
        self.observer, self.head, self.tally = request.observer, request.head, request.tally
        self.rows = slice(first_row, first_row + count)
        self.end = int(cache.lengths[sequence])
        self.first = self.end - count
        self.plan = plan
        self.runs = plan.run
        self.kv_fill = plan.kv_fill
        self.check_layers = frozenset(policy.check_layers(cache.num_layers)) if policy else frozenset()
        self.riders: list[int] = []
        self.has_left = False
        self.has_brought_up = False
        self.found = None
        self.pending = self.masked = self.inexact = _nowhere(cache.num_layers)
        if self.first > cache.exact_lengths[sequence]:
            found = self.found = cache.states_before(sequence, self.first)
            self.pending = ((found & PENDING) != 0).tolist()
            self.masked = ((found & MASKED) != 0).tolist()
            self.inexact = ((found & INEXACT) != 0).tolist()

    @property
    def follows_exact(self) -> bool:
        """Whether every older position is exact everywhere."""
        return self.found is None

    @cached_property
    def places(self) -> Tensor:
        """[3, T] int64: cache 0, the sequence, and the position, of each new row."""
        table = np.zeros((3, self.count), dtype=np.int64)
        table[1], table[2] = self.sequence, np.arange(self.first, self.end)
        return torch.from_numpy(table)


@lru_cache
def _nowhere(num_layers: int) -> list[bool]:
    return [False] * num_layers


@dataclass(frozen=True)
class Part:
    """Rows of one lane that run a sub-layer together, in ascending position.

    Attributes:
        lane: whose they are.
        rows: [n], which rows of the step.
        positions: [n].
        first: the first position.
        length: how many positions the last row may see, its own included.
        contiguous: whether no position between the first and the last is left out.
        device: where they are.
    """

    lane: Lane
    rows: Indices
    positions: Indices
    first: int
    length: int
    contiguous: bool
    device: torch.device
    windows: dict[int, tuple[Tensor | None, int]] = field(default_factory=dict, repr=False)
    """What ``windowed`` gave."""

    @property
    def span(self) -> slice | Indices:
        """``positions`` as an index."""
        return slice(self.first, self.length) if self.contiguous else self.positions

    @cached_property
    def mask(self) -> Tensor | None:
        """[n, length] True where a row sees a position; None where each sees all, or ``causal``."""
        if len(self.positions) == 1 or self.causal:
            return None
        return torch.as_tensor(self.visible(None), device=self.device)

    @property
    def causal(self) -> bool:
        """Whether the rows are all the positions there are, from 0 on."""
        return self.contiguous and self.first == 0

    def visible(self, window: int | None) -> npt.NDArray[np.bool_]:
        """[n, length] what each row sees: itself and before, of a window as far as it reaches."""
        offered, own = np.arange(self.length), self.positions[:, None]
        return offered <= own if window is None else (offered <= own) & (offered > own - window)

    def windowed(self, window: int) -> tuple[Tensor | None, int]:
        """``mask`` where rows see ``window`` positions alone, from the first that anyone sees on.

        Returns:
            the mask [n, length - start], or None where each row sees all of these; ``start``.
        """
        if window not in self.windows:
            start = max(0, self.first - window + 1)
            mask = None
            if len(self.positions) > 1:
                mask = torch.as_tensor(self.visible(window)[:, start:], device=self.device)
            self.windows[window] = mask, start
        return self.windows[window]


@dataclass(frozen=True)
class Party:
    """Rows that run a sub-layer together, one part after the other.

    Attributes:
        parts: at least one.
        chosen: [n], which rows of the step; None when they are all of them in order.
        cos, sin: [n, 1, d] rotary factors.
        count: n.
    """

    parts: tuple[Part, ...]
    chosen: Tensor | None
    cos: Tensor
    sin: Tensor
    count: int

    @cached_property
    def caches(self) -> tuple[KVCache, ...]:
        """Where the rows are kept, each cache once."""
        return tuple({id(part.lane.cache): part.lane.cache for part in self.parts}.values())

    @cached_property
    def places(self) -> Tensor:
        """[3, n] int64: which of ``caches``, which sequence of it, and the position, of each row."""
        table = np.empty((3, self.count), dtype=np.int64)
        start = 0
        for part in self.parts:
            end = start + len(part.rows)
            cache = next(place for place, each in enumerate(self.caches) if each is part.lane.cache)
            table[0, start:end], table[1, start:end] = cache, part.lane.sequence
            table[2, start:end] = part.positions
            start = end
        return torch.from_numpy(table)

    def split(self, *tensors: Tensor) -> Iterator[tuple[Part, tuple[Tensor, ...]]]:
        """Each part with its own rows of tensors [n, ...]."""
        if len(self.parts) == 1:
            yield self.parts[0], tensors
            return
        start = 0
        for part in self.parts:
            end = start + len(part.rows)
            yield part, tuple(tensor[start:end] for tensor in tensors)
            start = end


def make_party(
    members: Sequence[tuple[Lane, Indices]],
    positions: Indices,
    rotary: tuple[Tensor, Tensor],
    device: torch.device,
) -> Party | None:
    """Everything that follows from which rows run together; made once for as long as they do.

    Args:
        members: lanes with their rows, in ascending position; a lane may have none.
        positions: [N], of every row of the step.
        rotary: cosines and sines of all positions.
        device: where the rows are.

    Returns:
        None when there are no rows.
    """
    parts = tuple(_make_part(lane, rows, positions[rows], device) for lane, rows in members if rows.size)
    if not parts:
        return None
    rows = parts[0].rows if len(parts) == 1 else np.concatenate([part.rows for part in parts])
    whole = len(rows) == len(positions) and (len(rows) == 1 or bool((rows == np.arange(len(rows))).all()))
    if len(parts) == 1 and parts[0].contiguous:
        cos, sin = (table[parts[0].first : parts[0].length] for table in rotary)
    else:
        index = torch.as_tensor(positions[rows], device=device)
        cos, sin = (table[index] for table in rotary)
    return Party(parts, None if whole else torch.as_tensor(rows, device=device), cos, sin, len(rows))


def _make_part(lane: Lane, rows: Indices, positions: Indices, device: torch.device) -> Part:
    first, length = int(positions[0]), int(positions[-1]) + 1
    contiguous = length - first == len(positions)
    return Part(lane, rows, positions, first, length, contiguous, device)
