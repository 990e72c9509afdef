"""A step for one session or for several together, and what is predicted after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lsbench.engine.stack import DecoderStack
from lsbench.engine.step import Step
from lsbench.engine.step_request import StepOutcome, StepRequest


def take_step(stack: DecoderStack, requests: Sequence[StepRequest]) -> list[StepOutcome]:
    """Run what one or several sessions ask for as one step: every weight is read once for all of them."""
    step = Step(stack, requests)
    step.run()
    logits = _predictions(step, requests)
    outcomes: list[StepOutcome] = []
    lane = row = predicted = 0
    for request in requests:
        size, width = request.hidden.shape[0], len(request.predicting)
        runs = [each.runs for each in step.lanes[lane : lane + len(request.plans)]]
        outcomes.append(
            StepOutcome(
                step.hidden[row : row + size],
                logits[predicted : predicted + width],
                np.repeat(np.array(runs, dtype=bool), request.count, axis=0),
            )
        )
        lane, row, predicted = lane + len(request.plans), row + size, predicted + width
    return outcomes


def _predictions(step: Step, requests: Sequence[StepRequest]) -> Tensor:
    """Logits of every row predicted after; what a policy has looked at where it stopped is not made again."""
    rows: list[int] = []
    begin = 0
    for request in requests:
        rows.extend(begin + row for row in request.predicting)
        begin += request.hidden.shape[0]
    known = {
        row: view.computed_logits for row, view in step.views.items() if view.computed_logits is not None
    }
    hidden = step.hidden[: step.num_new]
    if not known:
        return step.stack.head(hidden if len(rows) == step.num_new else hidden[rows])
    unknown = [row for row in rows if row not in known]
    made = [known[row] for row in rows if row in known]
    if unknown:
        made.extend(step.stack.head(hidden[unknown]))
    order = np.argsort([*(row for row in rows if row in known), *unknown])
    return torch.stack([made[place] for place in order])
