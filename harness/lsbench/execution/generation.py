"""One prompt under one strategy, timed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from operator import index
from typing import TYPE_CHECKING, Protocol

from lsbench.engine.clock import Clock
from lsbench.engine.session import Session
from lsbench.engine.tally import Tally
from lsbench.errors import LsbenchError
from lsbench.execution.memory import PeakMemory
from lsbench.execution.stopping import StopRule
from lsbench.records import StopReason
from lsbench.spec import GenerateRequest
from lsbench.strategy import Emitted, Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack


class Sessions(Protocol):
    """Who makes sessions, and whose clock goes with them."""

    clock: Clock

    def session(self, capacity: int) -> Session:
        """An empty session of one sequence."""
        ...


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
    draft_layers: float | None
    verify_layers: float | None
    checks: int | None
    spare_heads: int | None
    filled: int | None
    older_rows: int | None
    own_passes: int | None
    peak_bytes: int | None
    kv_bytes: int | None


def generate(
    stack: DecoderStack,
    tokenizer: PreTrainedTokenizerBase,
    strategy: Strategy,
    request: GenerateRequest,
    sessions: Sessions | None = None,
) -> Generation:
    """Run ``strategy`` on ``request`` until a stop condition holds.

    The clock starts before the session is made and is read at every emission; looking for stop
    conditions is part of decoding, under every strategy alike.

    Args:
        stack: the model.
        tokenizer: the model's.
        strategy: prepared.
        request: what to continue.
        sessions: makes the session, of one sequence; a batch whose member this is, for example.

    Raises:
        BrokenStrategy: it ended before any stop condition, or emitted what is no token or no depth.
    """
    clock = Clock(stack.device) if sessions is None else sessions.clock
    memory = PeakMemory(stack.device)
    rule = StopRule(request, tokenizer, stack.context_length)
    depths: list[float] | None = []
    drafted: int | None = None
    accepted = verified = 0
    draft_layers: float | None = None
    verify_layers: float | None = None
    reason: StopReason | None = None
    first = last = 0
    memory.begin()
    begin = clock.now_ns()
    capacity = len(request.prompt_tokens) + request.max_new_tokens
    session = Session(stack, capacity=capacity) if sessions is None else sessions.session(capacity)
    for emission in strategy.generate(session, request):
        last = clock.now_ns()
        first = first or last
        tokens, layers = _checked(emission, stack.vocabulary_size)
        taken = 0
        for token in tokens:
            reason = rule.push(token)
            taken += 1
            if reason is not None:
                break
        if depths is not None and layers is not None:
            depths.extend(layers[:taken])
        else:
            depths = None
        if emission.drafted is not None:
            drafted = (drafted or 0) + emission.drafted
        if emission.draft_layers is not None:
            draft_layers = (draft_layers or 0.0) + emission.draft_layers
        if emission.verify_layers is not None:
            verify_layers = (verify_layers or 0.0) + emission.verify_layers
        accepted += taken if emission.kind == "accepted" else 0
        # A pass ends with the verifier's own token, unless a stop within its drafts leaves that untaken.
        verified += emission.kind == "verified" or (emission.kind == "accepted" and reason is not None)
        if reason is not None:
            break
    if reason is None:
        count = len(rule.token_ids)
        raise BrokenStrategy(f"ended after {count} token{'s' * (count != 1)} with no stop condition met")
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
        draft_layers=draft_layers,
        verify_layers=verify_layers,
        peak_bytes=memory.read(),
        # A loop of its own keeps its own cache, and counts nothing.
        **_counts(session.tally if session.lengths[0] else None),
        kv_bytes=session.cache.num_bytes if session.lengths[0] else None,
    )


def _counts(tally: Tally | None) -> dict[str, int | None]:
    return {field.name: tally and getattr(tally, field.name) for field in fields(Tally)}


def _checked(emission: Emitted, vocabulary_size: int) -> tuple[list[int], list[float] | None]:
    """An emission's tokens and depths as plain numbers (a strategy may hold numpy's or torch's)."""
    try:
        tokens = [index(token) for token in emission.tokens]
        layers = None if emission.depth is None else [float(depth) for depth in emission.depth]
    except (TypeError, ValueError) as error:
        raise BrokenStrategy(
            f"emitted tokens {emission.tokens} at depth {emission.depth}: {error}"
        ) from error
    if not tokens:
        raise BrokenStrategy("emitted no token")
    strange = [token for token in tokens if not 0 <= token < vocabulary_size]
    if strange:
        raise BrokenStrategy(f"emitted token {strange[0]}; the model has 0 to {vocabulary_size - 1}")
    if layers is not None and len(layers) != len(tokens):
        raise BrokenStrategy(
            f"emitted {len(tokens)} tokens with {len(layers)} depth{'s' * (len(layers) != 1)}"
        )
    if layers is not None and not all(isfinite(depth) and depth >= 0 for depth in layers):
        raise BrokenStrategy(f"emitted a token at depth {layers}")
    return tokens, layers
