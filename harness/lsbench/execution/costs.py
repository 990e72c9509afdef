"""What the parts of a step cost on this machine: measured on the loaded model, in the engine itself.

A step is timed whole under four plans: every layer, the attention sub-layers alone, the MLPs alone, and none.
Their differences are what the layers add, with everything that running them entails, and nothing is timed
inside a step, where a device's queue would have to be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

import torch

from lsbench.engine.clock import Clock
from lsbench.engine.plan import DepthPlan
from lsbench.engine.session import Session
from lsbench.records import StepCost

if TYPE_CHECKING:
    from lsbench.engine.stack import DecoderStack

DECODING_WIDTHS = (1,)
DRAFTING_WIDTHS = (1, 2, 3, 5, 9, 17)
"""Verifying K drafts takes K + 1 tokens together; what lies between is interpolated."""
_BUDGET_S = 1.0
"""Of one width, as long as every plan has had ``_FEWEST_ROUNDS``."""
_FEWEST_ROUNDS = 3
_MOST_ROUNDS = 40


def measure_costs(stack: DecoderStack, prompt: Sequence[int], widths: Sequence[int]) -> tuple[StepCost, ...]:
    """Time the parts of a step after ``prompt`` at each width.

    Args:
        stack: the model.
        prompt: what the session holds meanwhile, a typical one of the run: attention grows with it. It is
            shortened where the widest step would not fit into the model's context.
        widths: tokens that go through together; sub-layers are told apart at width 1 alone.
    """
    held = prompt[: max(1, stack.context_length - max(widths))]
    session = Session(stack, capacity=len(held) + max(widths))
    session.prefill(torch.tensor([held], dtype=torch.int64, device=stack.device))
    return tuple(_measure(session, held, width) for width in widths)


def _measure(session: Session, held: Sequence[int], width: int) -> StepCost:
    stack, layers = session.stack, session.num_layers
    ids = torch.tensor([[held[-1]] * width], dtype=torch.int64, device=stack.device)
    hidden = stack.embed(ids[0])

    def step(plan: DepthPlan) -> Callable[[], object]:
        return lambda: session.forward(ids, plan).logits.argmax(-1).tolist()

    def plan(attention: bool, mlp: bool) -> DepthPlan:
        return DepthPlan((attention, mlp) * layers, "mask")

    parts = {
        "full": step(plan(True, True)),
        "none": step(plan(False, False)),
        "head": torch.inference_mode()(lambda: stack.head(hidden)),
    }
    if width == 1:
        parts |= {"attention": step(plan(True, False)), "mlp": step(plan(False, True))}
    seconds = _medians(session, parts)
    none = seconds["none"]
    layer = max(0.0, seconds["full"] - none) / layers
    head = min(seconds["head"], none)
    attention = mlp = None
    if width == 1:
        apart = [max(0.0, seconds[part] - none) for part in ("attention", "mlp")]
        share = apart[0] / sum(apart) if sum(apart) else 0.5
        attention, mlp = layer * share, layer * (1 - share)
    return StepCost(
        width=width,
        context=len(held),
        layer_s=layer,
        attention_s=attention,
        mlp_s=mlp,
        head_s=head,
        fixed_s=none - head,
    )


def _medians(session: Session, parts: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each part, run in turns so that a drift of the machine's speed falls on all alike."""
    clock, held = Clock(session.stack.device), session.lengths[0]
    taken: dict[str, list[int]] = {part: [] for part in parts}
    spent = 0
    for round_number in range(_MOST_ROUNDS + 1):
        for part, run in parts.items():
            begin = clock.now_ns()
            run()
            end = clock.now_ns()
            session.truncate(held)
            if round_number:  # the first warms up
                taken[part].append(end - begin)
                spent += end - begin
        if round_number >= _FEWEST_ROUNDS and spent >= _BUDGET_S * 1e9:
            break
    return {part: median(times) / 1e9 for part, times in taken.items()}
