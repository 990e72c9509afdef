"""What the parts of a step cost on this machine: measured on the loaded model, in the engine itself.

A step is timed whole under four plans: every layer, the attention sub-layers alone, the MLPs alone, and none.
Their differences are what the layers add, with everything that running them entails, and nothing is timed
inside a step, where a device's queue would have to be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from lsbench.engine import DepthPlan, ExitView, Sampler, Session, likeliest
from lsbench.engine.clock import Clock
from lsbench.engine.native import NativeDecoder
from lsbench.execution.rounds import shortest
from lsbench.records import StepCost
from lsbench.spec import Sampling

if TYPE_CHECKING:
    from lsbench.engine.stack import DecoderStack

_TIMES = 4
"""How often a part that is over in microseconds is run for each reading of the clock."""
_BUDGET_S = 1.0
"""For each width."""


Part = tuple[int, str]
"""A width, and what is timed there."""


def measure_costs(
    stack: DecoderStack, prompt: Sequence[int], widths: Sequence[int], sampling: Sampling | None = None
) -> tuple[StepCost, ...]:
    """Time the parts of a step after ``prompt`` at each width.

    Args:
        stack: the model.
        prompt: what the session holds meanwhile, a typical one of the run: attention grows with it. It is
            shortened where the widest step would not fit into the model's context.
        widths: tokens that go through together; sub-layers are told apart at width 1 alone, where looks,
            filling and drawing are timed too.
        sampling: how the run draws tokens; None is greedy.
    """
    session = session_after(stack, prompt, max(widths))
    parts: dict[Part, Callable[[], object]] = {}
    for width in widths:
        parts |= {(width, name): run for name, run in _parts(session, width).items()}
        if width == 1:
            extras = _extras(session, sampling or Sampling())
            parts |= {(width, name): run for name, run in extras.items()}
    length = session.lengths[0]
    seconds = shortest(
        parts,
        Clock(stack.device),
        _BUDGET_S * len(widths),
        lambda: session.truncate(length),
        stack.agreement.flag,
    )
    return tuple(
        _cost({name: seconds[at, name] for at, name in parts if at == width}, width, session)
        for width in widths
    )


def session_after(stack: DecoderStack, prompt: Sequence[int], room: int) -> Session:
    """A session that holds ``prompt``, shortened where ``room`` further positions would not fit."""
    held = prompt[: max(1, stack.context_length - room)]
    session = Session(stack, capacity=len(held) + room)
    session.prefill(torch.tensor([held], dtype=torch.int64, device=stack.device))
    return session


def step_of(
    session: Session, width: int, attention: bool = True, mlp: bool = True
) -> Callable[[], list[int]]:
    """A whole step of ``width`` tokens that runs these sub-layers of all layers, and chooses the likeliest
    next ones; it leaves the tokens in the session."""
    ids = torch.tensor([[session.tokens()[-1]] * width], dtype=torch.int64, device=session.stack.device)
    plan = DepthPlan((attention, mlp) * session.num_layers, "mask")
    return lambda: likeliest(session.forward(ids, plan).logits[0])


def _parts(session: Session, width: int) -> dict[str, Callable[[], object]]:
    stack = session.stack
    hidden = stack.embed(torch.tensor([session.tokens()[-1]] * width, device=stack.device))
    parts: dict[str, Callable[[], object]] = {
        "full": step_of(session, width),
        "none": step_of(session, width, attention=False, mlp=False),
        "head": torch.inference_mode()(lambda: stack.head(hidden)),
    }
    if width == 1:
        parts |= {"attention": step_of(session, width, mlp=False)}
        parts |= {"mlp": step_of(session, width, attention=False)}
    return parts


def _extras(session: Session, sampling: Sampling) -> dict[str, Callable[[], object]]:
    """What strategies do besides running layers, each once or, where it is very short, ``_TIMES``."""
    stack, position = session.stack, session.lengths[0] - 1
    logits = session.previous_logits()
    token = torch.tensor([session.tokens()[-1]], dtype=torch.int64, device=stack.device)
    hidden = stack.embed(token)
    cos, sin = (table[position : position + 1] for table in stack.rotary(position + 1))
    sampler, layer = Sampler(sampling, 0), position % session.num_layers
    places = torch.tensor([[0], [0], [position]])

    def fill() -> None:
        # What is written is cut off again.
        if isinstance(stack.native, NativeDecoder):
            kept = [session.cache.keys[layer]], [session.cache.values[layer]]
            stack.native.fill(hidden, layer, places, (cos, sin), *kept)
        else:
            session.cache.write(layer, 0, position, *stack.blocks[layer].project_kv(hidden, cos, sin))

    def check() -> float:
        # As CALM's softmax confidence, of logits that are there.
        precise = ExitView(hidden[0], hidden[0], lambda _: logits[None]).logits.float()
        return float((precise.max() - torch.logsumexp(precise, dim=-1)).exp())

    extras: dict[str, Callable[[], object]] = {
        "check": check,
        "fill": fill,
        "likeliest": lambda: likeliest(logits[None]),
        "draw": lambda: sampler.choose(logits),
    }
    return {name: torch.inference_mode()(_repeated(run)) for name, run in extras.items()}


def _repeated(run: Callable[[], object]) -> Callable[[], object]:
    def many() -> None:
        for _ in range(_TIMES):
            run()

    return many


def _cost(seconds: dict[str, float], width: int, session: Session) -> StepCost:
    none = seconds["none"]
    layer = max(0.0, seconds["full"] - none) / session.num_layers
    head = min(seconds["head"], none)
    attention = mlp = None
    if "mlp" in seconds:
        apart = [max(0.0, seconds[part] - none) for part in ("attention", "mlp")]
        share = apart[0] / sum(apart) if sum(apart) else 0.5
        attention, mlp = layer * share, layer * (1 - share)
    return StepCost(
        width=width,
        context=session.lengths[0],
        layer_s=layer,
        attention_s=attention,
        mlp_s=mlp,
        head_s=head,
        fixed_s=none - head,
        layer_bytes=sum(session.stack.sublayer_bytes) / session.num_layers,
        head_bytes=session.stack.head_product.weight_bytes,
        check_s=_once(seconds, "check"),
        fill_s=_once(seconds, "fill"),
        draw_s=None if "draw" not in seconds else max(0.0, seconds["draw"] - seconds["likeliest"]) / _TIMES,
    )


def _once(seconds: dict[str, float], part: str) -> float | None:
    return seconds[part] / _TIMES if part in seconds else None
