"""The table of a draft (``cycles.DraftTable``): what it would propose, place by place, for one reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine import DecoderStack, DepthPolicy, PartialHead
from lsbench.tuning.cycles import DraftTable
from lsbench.tuning.previous_logits import PreviousLogits
from lsbench.tuning.references import Reference
from lsbench.tuning.walk import Walk, Walked

_LONGEST = 64
"""Tokens of a cycle that are known in any case where they cost nothing more."""

Policies = Callable[[], DepthPolicy]
"""Makes one for each row: it may hold what it decided for the row before."""


def draft_table(
    stack: DecoderStack, reference: Reference, policies: Policies, head: PartialHead | None, longest: int
) -> DraftTable:
    """Draft from every place of a reference at once.

    All places are one pass; where a cycle's later tokens see, or decide by, what it drafted before them, the
    places where all of that was right are another, and so on.

    Args:
        stack: the model.
        reference: what is to be predicted.
        policies: of the draft.
        head: of the draft; None is the whole one.
        longest: M, tokens of a cycle at most; more are known where that takes no further pass.
    """
    rows = reference.rows
    walk = Walk(stack, reference, rows, head)
    before = PreviousLogits(stack, reference)
    made = shared_or_new(policies, rows, stack.num_layers)
    index = np.full((rows, longest), -1, dtype=np.int64)
    steps: list[_Rows] = []
    starts = np.arange(rows)
    previous: list[Callable[[], Tensor]] = [before.of(row) for row in range(rows)]
    count = 0
    for depth in range(longest):
        places = starts + depth
        walked = walk.step(places.tolist(), starts.tolist(), [made[start] for start in starts], previous)
        found = _rows_of(stack, walked, reference.targets[places])
        steps.append(found)
        index[starts, depth] = np.arange(count, count + len(starts))
        count += len(starts)
        if depth == 0 and walked.alone:
            index = _reaching_on(found.agrees, max(longest, _LONGEST))
            break
        going = found.agrees & (places + 1 < rows)
        if not going.any():
            break
        kept = walked.logits[torch.as_tensor(going, device=stack.device)]
        previous = [lambda row=row: row for row in kept]
        starts = starts[going]
    return DraftTable(
        index=index,
        choices=np.concatenate([each.choices for each in steps]),
        agrees=np.concatenate([each.agrees for each in steps]),
        chances=np.concatenate([each.chances for each in steps]),
        work=np.concatenate([each.work for each in steps]),
        frontier=np.concatenate([each.frontier for each in steps]),
        end=np.concatenate([each.end for each in steps]),
        rides=any(each.rides for each in steps),
    )


def shared_or_new(policies: Policies, rows: int, num_layers: int) -> list[DepthPolicy]:
    """A policy for each row; one for all where it never decides anything."""
    first = policies()
    if first.constant_plan(num_layers) is not None:
        return [first] * rows
    return [first, *(policies() for _ in range(rows - 1))]


@dataclass(frozen=True)
class _Rows:
    """The columns of a ``DraftTable`` for the rows of one step."""

    choices: npt.NDArray[np.int64]
    agrees: npt.NDArray[np.bool_]
    chances: npt.NDArray[np.float64]
    work: npt.NDArray[np.float64]
    frontier: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    rides: bool


@torch.inference_mode()
def _rows_of(stack: DecoderStack, walked: Walked, targets: npt.NDArray[np.int64]) -> _Rows:
    choices, chances = chosen(walked.logits)
    return _Rows(
        choices=choices,
        agrees=choices == targets,
        chances=chances,
        work=work_of_rows(stack, walked),
        frontier=walked.frontier,
        end=ends_of(walked.runs),
        rides=walked.rides,
    )


@torch.inference_mode()
def chosen(logits: Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The likeliest token of each row of logits [N, V], and its probability at temperature 1."""
    precise = logits if logits.dtype == torch.float64 else logits.float()
    most, places = precise.max(dim=-1)
    chances = (most - torch.logsumexp(precise, dim=-1)).exp()
    return places.cpu().numpy(), chances.double().cpu().numpy()


def work_of_rows(stack: DecoderStack, walked: Walked) -> npt.NDArray[np.float64]:
    """[N, 6] attention and MLP sub-layers, layers by weight, checks, heads made for them, and fills."""
    weights = np.array(stack.sublayer_bytes, dtype=np.float64).reshape(-1, 2)
    shares = (weights / weights.sum(axis=1, keepdims=True)).reshape(-1)
    runs = walked.runs
    return np.stack(
        [
            runs[:, 0::2].sum(axis=1),
            runs[:, 1::2].sum(axis=1),
            (runs * shares).sum(axis=1),
            walked.checks,
            walked.spare_heads,
            walked.filled,
        ],
        axis=1,
    ).astype(np.float64)


def ends_of(runs: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """[N] one past the last sub-layer that each row of [N, 2L] ran; 0 where it ran none."""
    last = runs.shape[1] - np.argmax(runs[:, ::-1], axis=1)
    return np.where(runs.any(axis=1), last, 0).astype(np.int64)


def _reaching_on(agrees: npt.NDArray[np.bool_], longest: int) -> npt.NDArray[np.int64]:
    """``DraftTable.index`` where each row comes to the same in any cycle: row r is that of place r."""
    rows = len(agrees)
    index = np.full((rows, longest), -1, dtype=np.int64)
    index[:, 0] = np.arange(rows)
    for depth in range(1, longest):
        before = index[:, depth - 1]
        # The row before it in the cycle must be known, right, and not the last.
        known = (before >= 0) & (before + 1 < rows)
        known[known] = agrees[before[known]]
        index[known, depth] = before[known] + 1
    return index
