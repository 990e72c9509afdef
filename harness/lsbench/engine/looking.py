"""Asking the policies of a step, after a layer, whether their token stops or goes another way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lsbench.engine.agreement import Decision
from lsbench.engine.plan import check_plan
from lsbench.engine.policy import ExitView, heads_of
from lsbench.engine.rows import Lane
from lsbench.engine.stack import DecoderStack


def looks(lane: Lane, layer: int) -> bool:
    """Whether a lane's policy wants to look after ``layer``, where it ran and something is still to run."""
    index = 2 * layer
    return layer in lane.check_layers and any(lane.runs[index - 2 : index]) and any(lane.runs[index:])


def ask(
    stack: DecoderStack, looking: Sequence[Lane], layer: int, entering: Tensor, hidden: Tensor
) -> tuple[dict[int, ExitView], bool]:
    """Have policies decide; what their tokens run from there on is changed as they say.

    Args:
        stack: the model; of several ranks, rank 0's policies decide.
        looking: lanes with one new row each.
        layer: what ran last.
        entering: [N, D] of all rows, before it.
        hidden: [N, D] of all rows, after it.

    Returns:
        row to what its policy saw, of those that stop; whether anybody runs anything else than before.
    """
    index = 2 * layer
    rows = [lane.rows.start for lane in looking]
    agreement = stack.agreement
    places: Sequence[int] = rows
    if agreement.size > 1:
        hidden, entering = agreement.tensor(torch.stack([hidden[rows], entering[rows]]))
        places = range(len(rows))
    heads = heads_of(
        stack.head,
        hidden if len(hidden) == len(rows) else hidden[rows],
        [lane.head for lane in looking],
    )
    views = [
        ExitView(hidden[place], entering[place], head, lane.head)
        for lane, place, head in zip(looking, places, heads, strict=True)
    ]
    decided: list[Decision] = []
    for lane, view in zip(looking, views, strict=True):
        assert lane.policy is not None  # only a policy has layers to check
        lane.tally.checks += 1
        revised = lane.policy.replan(layer, view)
        if revised is not None:
            check_plan(revised, stack.num_layers)
        decided.append((revised, lane.policy.should_exit(layer, view)))
    decisions = agreement.decisions(decided, [view.has_looked for view in views])
    stopped: dict[int, ExitView] = {}
    changed = False
    for lane, row, view, (revised, exits) in zip(looking, rows, views, decisions, strict=True):
        if revised is not None:
            lane.runs, lane.kv_fill = (*lane.runs[:index], *revised.run[index:]), revised.kv_fill
        if exits:
            lane.runs = (*lane.runs[:index], *(False,) * (len(lane.runs) - index))
            stopped[row] = view
        elif view.has_looked:
            lane.tally.spare_heads += 1
        changed |= exits or revised is not None
    return stopped, changed
