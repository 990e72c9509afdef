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
    draft_heads: float | None
    checks: int | None
    spare_heads: int | None
    filled: int | None
    older_rows: int | None
    own_passes: int | None
    peak_bytes: int | None
    kv_bytes: int | None


class Followed:
    """A generation as it comes out: timed, and held to its stop conditions.

    Its clock starts when it is made and is read at every emission; looking for stop conditions is part of
    decoding, under every strategy alike.

    Args:
        stack: the model.
        tokenizer: the model's.
        request: what is continued.
        clock: shared by those who decode together.
    """

    def __init__(
        self, stack: DecoderStack, tokenizer: PreTrainedTokenizerBase, request: GenerateRequest, clock: Clock
    ) -> None:
        self._vocabulary_size = stack.vocabulary_size
        self._agreement = stack.agreement
        self._clock = clock
        self._rule = StopRule(request, tokenizer, stack.context_length)
        self._depths: list[float] | None = []
        self._drafted: int | None = None
        self._accepted = self._verified = 0
        self._draft_layers: float | None = None
        self._verify_layers: float | None = None
        self._draft_heads: float | None = None
        self._reason: StopReason | None = None
        self._first = self._last = 0
        self._memory = PeakMemory(stack.device)
        self._memory.begin()
        self._begin = clock.now_ns()

    def take(self, emission: Emitted) -> bool:
        """Take what is out next, up to a stop condition within; whether one holds.

        Raises:
            BrokenStrategy: what is no token, or no depth, was emitted.
        """
        self._last = self._clock.now_ns()
        self._first = self._first or self._last
        tokens, layers = _checked(emission, self._vocabulary_size)
        taken = 0
        for token in tokens:
            self._reason = self._rule.push(token)
            taken += 1
            if self._reason is not None:
                break
        if self._depths is not None and layers is not None:
            self._depths.extend(layers[:taken])
        else:
            self._depths = None
        if emission.drafted is not None:
            self._drafted = (self._drafted or 0) + emission.drafted
        if emission.draft_layers is not None:
            self._draft_layers = (self._draft_layers or 0.0) + emission.draft_layers
        if emission.verify_layers is not None:
            self._verify_layers = (self._verify_layers or 0.0) + emission.verify_layers
        if emission.draft_heads is not None:
            self._draft_heads = (self._draft_heads or 0.0) + emission.draft_heads
        ended = self._reason is not None
        self._accepted += taken if emission.kind == "accepted" else 0
        # A pass ends with the verifier's own token, unless a stop within its drafts leaves that untaken.
        self._verified += emission.kind == "verified" or (emission.kind == "accepted" and ended)
        return ended

    def result(self, session: Session) -> Generation:
        """What it came to, once a stop condition holds.

        Args:
            session: it was made in; one in which nothing ran has nothing to tell.

        Raises:
            BrokenStrategy: none does.
        """
        if self._reason is None:
            count = len(self._rule.token_ids)
            raise BrokenStrategy(f"ended after {count} token{'s' * (count != 1)} with no stop condition met")
        self._agreement.same("an output", self._rule.token_ids)
        drafts = self._drafted is not None
        return Generation(
            token_ids=tuple(self._rule.token_ids),
            text=self._rule.text(),
            stop_reason=self._reason,
            ttft_s=(self._first - self._begin) / 1e9,
            decode_s=(self._last - self._first) / 1e9,
            layers_run=None if self._depths is None else tuple(self._depths),
            drafted=self._drafted,
            accepted=self._accepted if drafts else None,
            verify_passes=self._verified if drafts else None,
            draft_layers=self._draft_layers,
            verify_layers=self._verify_layers,
            draft_heads=self._draft_heads,
            peak_bytes=self._on_all_ranks(self._memory.read()),
            # A loop of its own keeps its own cache, and counts nothing.
            **_counts(session.tally if session.lengths[0] else None),
            kv_bytes=self._on_all_ranks(session.cache.num_bytes if session.lengths[0] else None),
        )

    def _on_all_ranks(self, size: int | None) -> int | None:
        """The sum over the ranks that share the model; None where it is not known."""
        return self._agreement.total(size or 0) or None


def capacity_for(request: GenerateRequest) -> int:
    """Positions that a session for the request needs."""
    return len(request.prompt_tokens) + request.max_new_tokens


def generate(
    stack: DecoderStack,
    tokenizer: PreTrainedTokenizerBase,
    strategy: Strategy,
    request: GenerateRequest,
    sessions: Sessions | None = None,
) -> Generation:
    """Run ``strategy`` on ``request`` until a stop condition holds.

    The clock starts before the session is made.

    Args:
        stack: the model.
        tokenizer: the model's.
        strategy: prepared.
        request: what to continue.
        sessions: makes the session, of one sequence; a batch whose member this is, for example.

    Raises:
        BrokenStrategy: it ended before any stop condition, or emitted what is no token or no depth.
    """
    followed = Followed(
        stack, tokenizer, request, Clock(stack.device) if sessions is None else sessions.clock
    )
    capacity = capacity_for(request)
    session = Session(stack, capacity=capacity) if sessions is None else sessions.session(capacity)
    for emission in strategy.generate(session, request):
        if followed.take(emission):
            break
    return followed.result(session)


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
