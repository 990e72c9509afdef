"""One prompt under one strategy, timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.engine.clock import Clock
from lsbench.engine.session import Session
from lsbench.errors import LsbenchError
from lsbench.execution.memory import PeakMemory
from lsbench.execution.stopping import StopRule
from lsbench.records import StopReason
from lsbench.spec import GenerateRequest
from lsbench.strategy import Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack


class BrokenStrategy(LsbenchError):
    """A strategy broke the contract of ``generate``."""


@dataclass(frozen=True)
class Generation:
    """What one generation gave; ``SampleRecord`` says what each figure means."""

    token_ids: tuple[int, ...]
    text: str
    stop_reason: StopReason
    ttft_s: float
    decode_s: float
    layers_run: tuple[float, ...] | None
    drafted: int | None
    accepted: int | None
    verify_passes: int | None
    peak_bytes: int | None
    kv_bytes: int


def generate(
    stack: DecoderStack, tokenizer: PreTrainedTokenizerBase, strategy: Strategy, request: GenerateRequest
) -> Generation:
    """Run ``strategy`` on ``request`` until a stop condition holds.

    The clock starts before the session is made and is read at every emission; looking for stop
    conditions is part of decoding, under every strategy alike.

    Raises:
        BrokenStrategy: it ended before any stop condition, or its depths do not fit its tokens.
    """
    clock, memory = Clock(stack.device), PeakMemory(stack.device)
    rule = StopRule(request, tokenizer, stack.context_length)
    depths: list[float] | None = []
    drafted: int | None = None
    accepted = verified = 0
    reason: StopReason | None = None
    first = last = 0
    memory.begin()
    begin = clock.now_ns()
    session = Session(stack, capacity=len(request.prompt_tokens) + request.max_new_tokens)
    for emission in strategy.generate(session, request):
        last = clock.now_ns()
        first = first or last
        if not emission.tokens or (emission.depth is not None and len(emission.depth) != len(emission.tokens)):
            raise BrokenStrategy(f"emitted {len(emission.tokens)} tokens with depths {emission.depth}")
        taken = 0
        for token in emission.tokens:
            reason = rule.push(token)
            taken += 1
            if reason is not None:
                break
        depths = None if depths is None or emission.depth is None else [*depths, *emission.depth[:taken]]
        if emission.drafted is not None:
            drafted = (drafted or 0) + emission.drafted
        accepted += taken if emission.kind == "accepted" else 0
        verified += emission.kind == "verified"
        if reason is not None:
            break
    if reason is None:
        raise BrokenStrategy(f"ended after {len(rule.token_ids)} tokens with no stop condition met")
    return Generation(
        token_ids=tuple(rule.token_ids),
        text=rule.text(),
        stop_reason=reason,
        ttft_s=(first - begin) / 1e9,
        decode_s=(last - first) / 1e9,
        layers_run=None if depths is None else tuple(depths),
        drafted=drafted,
        accepted=None if drafted is None else accepted,
        verify_passes=None if drafted is None else verified,
        peak_bytes=memory.read(),
        kv_bytes=session.cache.num_bytes,
    )
