"""Where the time of a decode step goes, and how much of it reading the weights would take at memory's speed.

A step is timed whole, in a session, as the run takes it. Its parts are timed by themselves, each over all
layers in turn, so that weights come from memory as they do in a step: nothing is timed inside one, where a
device's queue would have to be waited for. What a whole step takes beyond its parts is Python and the like.
Where sub-layers run in compiled code, norms and cache writes are within attention and MLP and not told apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lsbench.engine import likeliest
from lsbench.engine.clock import Clock
from lsbench.execution.bandwidth import step_bytes
from lsbench.execution.costs import session_after, step_of
from lsbench.execution.rounds import shortest

if TYPE_CHECKING:
    from lsbench.engine import Session
    from lsbench.engine.graphs import GraphedDecoder
    from lsbench.engine.native import NativeDecoder
    from lsbench.engine.stack import DecoderStack

WIDTHS = (1, 2, 3, 4, 5, 8, 16)
"""Tokens that go through together: 1 in decoding, K + 1 in verifying K drafts."""
CONTEXT = 256
"""Positions held before the step, as far as the model has as many: attention grows with them."""
_BUDGET_S = 1.0
"""For each width."""


@dataclass(frozen=True)
class PartCost:
    """One part of a step.

    Attributes:
        name: what it is.
        seconds: over all layers. Below 0 where the other parts, timed by themselves, took longer than within
            the step: the parts err by at least as much.
        weight_bytes: bytes of weights that it reads; 0 for a part that reads none.
    """

    name: str
    seconds: float
    weight_bytes: int = 0


@dataclass(frozen=True)
class StepProfile:
    """A step of one width, whole and in parts.

    Attributes:
        width: tokens that go through together.
        context: positions held before it.
        seconds: of the whole step.
        weight_bytes: bytes of weights that a token reads on its way.
        parts: which together make the step.
    """

    width: int
    context: int
    seconds: float
    weight_bytes: int
    parts: tuple[PartCost, ...]


def bound_fraction(cost: PartCost | StepProfile, bytes_per_second: float) -> float | None:
    """What reading the weights at memory's speed would take, as a share of what it takes.

    Args:
        cost: a part, or a whole step.
        bytes_per_second: memory bandwidth.

    Returns:
        None for what reads no weights, or took no time.
    """
    if not cost.weight_bytes or cost.seconds <= 0:
        return None
    return cost.weight_bytes / bytes_per_second / cost.seconds


def profile_step(stack: DecoderStack, width: int) -> StepProfile:
    """Time a step of ``width`` tokens at full depth, whole and in parts."""
    prompt = [number % stack.vocabulary_size for number in range(CONTEXT)]
    session = session_after(stack, prompt, width)
    held = session.lengths[0]
    runs: dict[str, Callable[[], object]] = {"step": step_of(session, width)}
    runs |= {name: torch.inference_mode()(run) for name, run in _passes(session, width).items()}
    took = shortest(runs, Clock(stack.device), _BUDGET_S, lambda: session.truncate(held))
    layers = stack.sublayer_bytes
    if "call" in took:
        calls = stack.num_layers * took["call"]
        parts = (
            PartCost("attention, norms and cache write", took["attention"] - calls, sum(layers[0::2])),
            PartCost("MLP and norms", took["mlp"] - calls, sum(layers[1::2])),
            PartCost("head", took["head"], stack.head_product.weight_bytes),
            PartCost("sampling", took["sampling"]),
        )
        rest = PartCost("Python, the rest", took["step"] - sum(part.seconds for part in parts))
        return StepProfile(width, held, took["step"], step_bytes(stack), (*parts, rest))
    norms = {name: took[f"norms before {name}"] for name in ("attention", "mlp", "head")}
    parts = (
        PartCost("attention", took["attention"] - norms["attention"], sum(layers[0::2])),
        PartCost("MLP", took["mlp"] - norms["mlp"], sum(layers[1::2])),
        PartCost("head", took["head"] - norms["head"], stack.head_product.weight_bytes),
        PartCost("norms", sum(norms.values())),
        PartCost("cache write", took["cache write"]),
        PartCost("sampling", took["sampling"]),
    )
    rest = PartCost("Python, the rest", took["step"] - sum(part.seconds for part in parts))
    return StepProfile(width, held, took["step"], step_bytes(stack), (*parts, rest))


def _passes(session: Session, width: int) -> dict[str, Callable[[], object]]:
    """Each part of a step over all layers, outside of any step; the norms before a part are in it too."""
    stack, cache, held = session.stack, session.cache, session.lengths[0]
    length = held + width
    cache.reserve(length)
    hidden = stack.embed(torch.tensor([session.tokens()[-1]] * width, device=stack.device))
    cos, sin = (table[held:length] for table in stack.rotary(length))
    logits = stack.head(hidden)
    always = {
        "head": lambda: stack.head(hidden),
        "sampling": lambda: likeliest(logits),
    }
    if stack.native is not None and width <= stack.native.most_rows:
        return always | _native_passes(stack.native, session, hidden, (cos, sin))
    sees = torch.arange(length)[None] <= torch.arange(held, length)[:, None]
    mask = None if width == 1 else sees.to(stack.device)
    _, new_keys, new_values = stack.blocks[0].project(hidden, cos, sin)

    def attention() -> None:
        # Sliding windows are left out: what is held is about as long as the shortest of them.
        for layer, block in enumerate(stack.blocks):
            queries, _, _ = block.project(hidden, cos, sin)
            keys, values = cache.read(layer, 0, length)
            block.finish_attention(
                hidden, block.attend(queries, keys, values, mask, False, stack.shape.scale)
            )

    def mlp() -> None:
        for block in stack.blocks:
            block.run_mlp(hidden)

    def norms(name: str) -> Callable[[], None]:
        each: list[Callable[[Tensor], Tensor]] = [getattr(block, name) for block in stack.blocks]

        def run() -> None:
            for norm in each:
                norm(hidden)

        return run

    def cache_write() -> None:
        for layer in range(stack.num_layers):
            cache.write(layer, 0, held, new_keys, new_values)

    return always | {
        "attention": attention,
        "mlp": mlp,
        "norms before attention": norms("attention_norm"),
        "norms before mlp": norms("mlp_norm"),
        "norms before head": lambda: stack.final_norm(hidden),
        "cache write": cache_write,
    }


def _native_passes(
    native: NativeDecoder | GraphedDecoder, session: Session, hidden: Tensor, rotary: tuple[Tensor, Tensor]
) -> dict[str, Callable[[], object]]:
    """Attention and MLP of all layers, one call each, and what a call costs that runs nothing."""
    cache, held, width = session.cache, session.lengths[0], hidden.shape[0]
    places = torch.zeros((3, width), dtype=torch.int64)
    places[2] = torch.arange(held, held + width)

    def each(part: int) -> Callable[[], None]:
        def run() -> None:
            for layer in range(session.num_layers):
                at = 2 * layer + part
                kept = [cache.keys[layer]], [cache.values[layer]]
                native.run(hidden, at, at + 1, places, rotary, *kept)

        return run

    return {
        "attention": each(0),
        "mlp": each(1),
        "call": lambda: native.run(hidden, 0, 0, places, rotary, [], []),
    }
