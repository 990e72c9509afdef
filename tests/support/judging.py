"""What candidates are judged with: a model whose exits agree now and then, its references, and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lsbench.engine import DecoderStack, Session
from lsbench.engine.mlp import GatedMLP
from lsbench.records import StepCost
from lsbench.spec import GenerateRequest, parse_strategy
from lsbench.strategy import Emitted, Preparation, Strategy
from lsbench.strategy.registry import resolve
from lsbench.tuning.references import References, make_references
from support.models import random_llama, single_thread
from support.requests import generate_request
from support.tokenizer import byte_level_tokenizer

PROMPTS = ((5, 81, 200, 17, 33, 9), (300, 2, 2, 41), (77, 78, 79, 80, 81, 82, 83, 11, 240))
CALIBRATION = ((7, 9, 11, 13, 40, 50, 3, 99), (12, 260, 33, 1, 5))
COSTS = tuple(
    StepCost(
        width=width,
        context=64,
        layer_s=1e-3 * (1 + width / 50),
        attention_s=0.22e-3 if width == 1 else None,
        mlp_s=0.8e-3 if width == 1 else None,
        head_s=3e-3 * (1 + width / 50),
        fixed_s=0.5e-3,
        check_s=0.1e-3 if width == 1 else None,
        fill_s=0.05e-3 if width == 1 else None,
        draw_s=0.0 if width == 1 else None,
    )
    for width in (1, 2, 3, 5, 9, 17)
)
"""Made up, with a head of three layers."""


@dataclass(frozen=True)
class Bench:
    """A model, what it wrote, and the means to decode with it for real."""

    stack: DecoderStack
    references: References

    def strategy(self, text: str) -> Strategy:
        """Prepared."""
        made = resolve(parse_strategy(text))
        made.check(self.stack.num_layers)
        made.prepare(Preparation(self.stack, CALIBRATION))
        return made

    def emitted(self, strategy: Strategy, request: GenerateRequest) -> tuple[list[Emitted], Session]:
        """What the strategy itself emits, and the session it did so in."""
        session = Session(self.stack, capacity=64)
        return list(strategy.generate(session, request)), session


def weaken(stack: DecoderStack, factor: float) -> None:
    """Every layer changes the hidden state less than the one before, so that a draft is often right."""
    for place, block in enumerate(stack.blocks):
        assert isinstance(block.mlp, GatedMLP)
        block.output.weight.mul_(factor**place)
        block.mlp.down.weight.mul_(factor**place)


def bench_of(stack: DecoderStack, prompts: Sequence[Sequence[int]] = PROMPTS, **request: Any) -> Bench:
    """Of a model of 350 tokens; ``request`` is what ``generate_request`` takes."""
    requests = [generate_request(prompt, 40, **request) for prompt in prompts]
    return Bench(stack, make_references(stack, byte_level_tokenizer(), requests, "of no file"))


@cache
def llama_bench() -> Bench:
    """Six layers in float64."""
    with single_thread():
        stack = DecoderStack(random_llama(3, vocab_size=350, num_hidden_layers=6).double())
        weaken(stack, 0.55)
        return bench_of(stack)


def taken_per_cycle(emitted: Sequence[Emitted]) -> tuple[int, ...]:
    """How many drafted tokens each cycle of a generation had accepted."""
    cycles: list[int] = []
    accepted = 0
    for each in emitted[1:]:
        if each.kind == "accepted":
            accepted = len(each.tokens)
        else:
            cycles.append(accepted)
            accepted = 0
    return tuple(cycles)
