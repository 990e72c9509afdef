"""What ranks that share a model decide as one: rank 0 decides, and all of them are told.

A group of ranks runs one program over the same requests. What comes out of a sum over ranks has the same bits
on each of them, and so has all that follows from it alone. Where a rank could be led astray nevertheless (by
a clock, by numbers of a processor of another kind, by a strategy that draws without a seed) what rank 0 found
holds. Every message says where its rank stands, so that ranks which no longer run the same program find out,
and stop, in place of adding up what does not belong together.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine.plan import DepthPlan, KVFill
from lsbench.errors import LsbenchError

Number = TypeVar("Number", bound=np.generic)

_LIMB = 24
"""Bits of a whole number that float32 holds exactly, so that a sum over ranks carries it unchanged."""
_SHORT = 12
"""Numbers of a message that are sent at once with its heading; a longer one takes a second sum."""
_FILLS: tuple[KVFill, ...] = ("recompute", "propagate", "mask")
_WAIT_S = 10.0
"""How much later than another a rank may fail of the same cause."""

Decision = tuple[DepthPlan | None, bool]
"""Another plan for the rest of a token's way, or None, and whether it stops."""


class Disagreement(LsbenchError):
    """Ranks that share a model no longer do the same: their group cannot go on."""


class Store(Protocol):
    """Words that all ranks read, as torch's TCP store keeps them."""

    def set(self, key: str, value: str) -> None:
        """Say something."""
        ...

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        """Until all are said; raises after ``timeout``."""
        ...


class Agreement:
    """Of a process that runs the model alone: what it decides holds, and nothing is sent.

    Attributes:
        rank, size: which of how many.
    """

    rank: int = 0
    size: int = 1

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place of ``tensor``, which it may be; the same bits on each."""
        return tensor

    def number(self, value: float) -> float:
        """Rank 0's number: for seconds that decide, and whatever else may differ."""
        return value

    def flag(self, value: bool) -> bool:
        """Whether it is so on rank 0."""
        return value

    def whole_numbers(self, values: Sequence[int]) -> tuple[int, ...]:
        """Rank 0's, as many as on every rank."""
        return tuple(values)

    def total(self, value: int) -> int:
        """The sum of a whole number over all ranks."""
        return value

    def array(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Rank 0's, of the same shape on every rank."""
        return values

    def tensor(self, values: Tensor) -> Tensor:
        """Rank 0's, of the same shape on every rank."""
        return values

    def largest(self, values: Tensor) -> Tensor:
        """[n] of each the largest on any rank."""
        return values

    def step(self, tokens: Any, firsts: Sequence[int], plans: Sequence[DepthPlan]) -> Sequence[DepthPlan]:
        """Before a step: whether all ranks are about to take the same one; rank 0's plans.

        Args:
            tokens: [B, T] ids.
            firsts: where they stand in each sequence.
            plans: of each sequence; none where it needs none.

        Raises:
            Disagreement: the tokens, or where they stand, are not the same on all ranks.
        """
        return plans

    def decisions(self, decided: Sequence[Decision], looked: Sequence[bool]) -> Sequence[Decision]:
        """Rank 0's, of the policies that were asked after a layer.

        Args:
            decided: of each.
            looked: whether each has made logits for it, in which all ranks take part.

        Raises:
            Disagreement: on some ranks others have looked than on rank 0.
        """
        return decided

    def same(self, what: str, values: Sequence[int]) -> None:
        """Raise ``Disagreement`` unless these are the same on every rank."""

    def failed(self, error: BaseException) -> None:
        """This rank gives up what it was doing because of ``error``, and goes on if all others do too.

        Raises:
            Disagreement: some rank does not within seconds, and is left in the middle of it.
        """

    def wait_for_all(self, what: str, seconds: float) -> None:
        """Until every rank has come here; said by words, because how long it takes is not known.

        Args:
            what: was done.
            seconds: to wait at most.

        Raises:
            Disagreement: some rank does not come.
        """


ALONE = Agreement()


class GroupAgreement(Agreement):
    """Of one rank among several.

    Args:
        rank, size: which of how many.
        sum: adds a tensor up over all ranks, in place, to the same bits on each; returns it.
        store: for what cannot wait for a sum that others may never take part in.
        wait_s: how much later than another a rank may fail of the same cause.
    """

    def __init__(
        self, rank: int, size: int, sum: Callable[[Tensor], Tensor], store: Store, wait_s: float = _WAIT_S
    ) -> None:
        self.rank, self.size = rank, size
        self._sum, self._store, self._wait_s = sum, store, wait_s
        self._messages = self._steps = self._failures = self._waits = 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place where that can be; the same bits on each."""
        return self._sum(tensor)

    def number(self, value: float) -> float:
        """Rank 0's."""
        low, middle, high = self._of_rank_0("a number", _limbs(_bits(value), 3))
        return _from_bits(low | middle << _LIMB | high << 2 * _LIMB)

    def flag(self, value: bool) -> bool:
        """Rank 0's."""
        return bool(self._of_rank_0("a decision", [int(value)])[0])

    def whole_numbers(self, values: Sequence[int]) -> tuple[int, ...]:
        """Rank 0's."""
        limbs = [limb for value in values for limb in _limbs(value % (1 << 64), 3)]
        first = self._of_rank_0("whole numbers", limbs)
        found = (
            first[i] | first[i + 1] << _LIMB | first[i + 2] << 2 * _LIMB for i in range(0, len(first), 3)
        )
        return tuple(value - (1 << 64) if value >> 63 else value for value in found)

    def total(self, value: int) -> int:
        """Over all ranks."""
        rows = self._exchange("a total", _limbs(value, 3))
        return sum(row[0] + (row[1] << _LIMB) + (row[2] << 2 * _LIMB) for row in rows)

    def array(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Rank 0's."""
        return self.tensor(torch.from_numpy(np.ascontiguousarray(values))).numpy().astype(values.dtype)

    def tensor(self, values: Tensor) -> Tensor:
        """Rank 0's: a sum to which the others add nothing."""
        self._exchange("an array", [values.numel() % (1 << _LIMB)])
        mine = values.contiguous().clone() if self.rank == 0 else torch.zeros_like(values.contiguous())
        return self._sum(mine)

    def largest(self, values: Tensor) -> Tensor:
        """Over all ranks."""
        table = values.new_zeros(self.size, *values.shape)
        table[self.rank] = values
        return self._sum(table).amax(0)

    def step(self, tokens: Any, firsts: Sequence[int], plans: Sequence[DepthPlan]) -> Sequence[DepthPlan]:
        """Rank 0's plans; see ``Agreement``."""
        self._steps += 1
        digest = _digest([*tokens.shape, *tokens.reshape(-1).tolist(), *firsts])
        mine = [*digest, *(number for plan in plans for number in _written(plan))]
        rows = self._exchange(f"step {self._steps}", mine)
        for rank, row in enumerate(rows):
            if row[:2] != rows[0][:2]:
                raise self._apart(rank, f"run other tokens in step {self._steps}")
        if rows[0][2:] == mine[2:] or not plans:
            return plans
        width = len(mine[2:]) // len(plans)
        layers = len(plans[0].run)
        return [_read(rows[0][2 + i * width : 2 + (i + 1) * width], layers) for i in range(len(plans))]

    def decisions(self, decided: Sequence[Decision], looked: Sequence[bool]) -> Sequence[Decision]:
        """Rank 0's; see ``Agreement``."""
        flags = [int(stops) | int(plan is not None) << 1 for plan, stops in decided]
        seen = [int(has) for has in looked]
        rows = self._exchange("decisions", [*seen, *flags])
        for rank, row in enumerate(rows):
            if row[: len(seen)] != rows[0][: len(seen)]:
                raise self._apart(rank, "look at other logits")
        first = rows[0][len(seen) :]
        found: list[Decision] = []
        for place, (plan, _) in enumerate(decided):
            revised = self._plan(plan) if first[place] & 2 else None
            found.append((revised, bool(first[place] & 1)))
        return found

    def same(self, what: str, values: Sequence[int]) -> None:
        """Raise ``Disagreement`` unless they are."""
        rows = self._exchange(what, _digest(values))
        for rank, row in enumerate(rows):
            if row != rows[0]:
                raise self._apart(rank, f"came to other {what}")

    def failed(self, error: BaseException) -> None:
        """Wait for the others to say the same; see ``Agreement``."""
        if isinstance(error, Disagreement):
            raise error
        self._failures += 1
        said = [f"failure {self._failures} of rank {rank}" for rank in range(self.size)]
        reason = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
        try:
            self._store.set(said[self.rank], reason)
            self._store.wait(said, timedelta(seconds=self._wait_s))
        except Exception as unheard:
            raise Disagreement(
                f"Rank {self.rank} of {self.size} failed where others did not: {reason}"
            ) from (error if isinstance(error, Exception) else unheard)

    def wait_for_all(self, what: str, seconds: float) -> None:
        """Of all ranks; see ``Agreement``."""
        self._waits += 1
        said = [f"wait {self._waits} of rank {rank}" for rank in range(self.size)]
        try:
            self._store.set(said[self.rank], "done")
            self._store.wait(said, timedelta(seconds=seconds))
        except Exception as error:
            raise Disagreement(f"Rank {self.rank} of {self.size} has {what}, but others did not") from error

    # -- within -------------------------------------------------------------------------------------

    def _plan(self, mine: DepthPlan | None) -> DepthPlan:
        """Rank 0's plan, which a rank may have none in place of."""
        length = self._of_rank_0("a length", [0 if mine is None else len(mine.run)])[0]
        width = 1 + -(-length // _LIMB)
        has_one = mine is not None and len(mine.run) == length
        return _read(self._of_rank_0("a plan", _written(mine) if has_one and mine else [0] * width), length)

    def _of_rank_0(self, what: str, values: Sequence[int]) -> list[int]:
        return self._exchange(what, values)[0]

    def _exchange(self, what: str, values: Sequence[int]) -> list[list[int]]:
        """Each rank's values, each below 2 ** 24, as many on every rank.

        Raises:
            Disagreement: another rank sends something else now.
        """
        self._messages += 1
        heading = [zlib.crc32(what.encode()) >> 8, self._messages % (1 << _LIMB), len(values)]
        short = values if len(values) <= _SHORT else ()
        rows = self._gathered([*heading, *short, *[0] * (_SHORT - len(short))])
        for rank, row in enumerate(rows):
            if row[: len(heading)] != heading:
                raise self._apart(rank if rank != self.rank else 0, f"do not send {what} now")
        if len(values) > _SHORT:
            return self._gathered(values)
        return [row[len(heading) : len(heading) + len(values)] for row in rows]

    def _gathered(self, values: Sequence[int]) -> list[list[int]]:
        table = torch.zeros(self.size, len(values), dtype=torch.float32)
        table[self.rank] = torch.tensor(values, dtype=torch.float32)
        # What is no number was never sent as such, and fits no heading.
        return torch.nan_to_num(self._sum(table), -1, -1, -1).long().tolist()

    def _apart(self, rank: int, how: str) -> Disagreement:
        others = f"rank {rank} and rank 0" if rank else "some ranks"
        return Disagreement(
            f"The {self.size} ranks that share the model parted: {others} {how} (seen by rank {self.rank}). "
            "What a strategy decides may rest on what it is given and on numbers drawn with the request's "
            "seed alone; seconds go through stack.agreement.number."
        )


def _digest(values: Sequence[int]) -> list[int]:
    checked = zlib.crc32(np.asarray(values, dtype=np.int64).tobytes())
    return _limbs(checked, 2)


def _limbs(value: int, count: int) -> list[int]:
    return [value >> _LIMB * place & (1 << _LIMB) - 1 for place in range(count)]


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def _from_bits(bits: int) -> float:
    return float(struct.unpack("<d", bits.to_bytes(8, "little"))[0])


def _written(plan: DepthPlan) -> list[int]:
    """How keys and values are filled, then a bit for each sub-layer."""
    bits = sum(int(runs) << place for place, runs in enumerate(plan.run))
    return [_FILLS.index(plan.kv_fill), *_limbs(bits, -(-len(plan.run) // _LIMB))]


def _read(numbers: Sequence[int], sublayers: int) -> DepthPlan:
    bits = sum(limb << _LIMB * place for place, limb in enumerate(numbers[1:]))
    return DepthPlan(tuple(bool(bits >> place & 1) for place in range(sublayers)), _FILLS[numbers[0]])
