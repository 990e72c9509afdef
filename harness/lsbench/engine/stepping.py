"""A step for one session or for several together, and what is predicted after it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lsbench.engine.partial_head import PartialHead
from lsbench.engine.rows import Lane
from lsbench.engine.stack import DecoderStack
from lsbench.engine.step import Step
from lsbench.engine.step_request import StepOutcome, StepRequest
from lsbench.engine.straight import take_straight_step


def take_step(stack: DecoderStack, requests: Sequence[StepRequest]) -> list[StepOutcome]:
    """Run what one or several sessions ask for as one step: every weight is read once for all of them."""
    if len(requests) == 1:
        outcome = take_straight_step(stack, requests[0])
        if outcome is not None:
            return [outcome]
    step = Step(stack, requests)
    step.run()
    logits = _predictions(step, requests)
    if len(requests) == 1:
        return [StepOutcome(_new_rows(step), logits, _runs_of(step.lanes))]
    outcomes: list[StepOutcome] = []
    lane = row = predicted = 0
    for request in requests:
        size, width = request.hidden.shape[0], len(request.predicting)
        outcomes.append(
            StepOutcome(
                step.hidden[row : row + size],
                logits[predicted : predicted + width],
                _runs_of(step.lanes[lane : lane + len(request.plans)]),
            )
        )
        lane, row, predicted = lane + len(request.plans), row + size, predicted + width
    return outcomes


def _runs_of(lanes: Sequence[Lane]) -> tuple[tuple[bool, ...], ...]:
    return tuple(tuple(lane.runs) for lane in lanes)


def _new_rows(step: Step) -> Tensor:
    """[n, D] of the new rows; older positions that rode along stand after them."""
    hidden = step.hidden
    return hidden if hidden.shape[0] == step.num_new else hidden[: step.num_new]


def _predictions(step: Step, requests: Sequence[StepRequest]) -> Tensor:
    """Logits of every row predicted after; what a policy has looked at where it stopped is not made again."""
    rows: list[int] = []
    partial: dict[int, PartialHead] = {}
    begin = 0
    for request in requests:
        wanted = [begin + row for row in request.predicting]
        rows.extend(wanted)
        if request.head is not None:
            partial.update(dict.fromkeys(wanted, request.head))
        begin += request.hidden.shape[0]
    known = {row: view.logits for row, view in step.views.items() if view.has_looked}
    hidden = _new_rows(step)
    if not known and not partial:
        return step.stack.head(hidden if len(rows) == step.num_new else hidden[rows])
    # Rows that are predicted after with the same head share its product.
    unknown: dict[PartialHead | None, list[int]] = {}
    for row in rows:
        if row not in known:
            unknown.setdefault(partial.get(row), []).append(row)
    for head, together in unknown.items():
        entering = hidden if len(together) == step.num_new else hidden[together]
        made = step.stack.head(entering) if head is None else head.spread(head(entering))
        known.update(zip(together, made, strict=True))
    return torch.stack([known[row] for row in rows]) if len(rows) > 1 else known[rows[0]][None]
