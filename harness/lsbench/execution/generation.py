"""One prompt under one strategy, timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from operator import index
from typing import TYPE_CHECKING, Any, Protocol

from lsbench.engine.clock import Clock
from lsbench.engine.session import Session
from lsbench.engine.tally import Tally
from lsbench.errors import LsbenchError
from lsbench.execution.account import Account, Taken, account
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
class Generation(Account):
    """What one generation gave; ``SampleRecord`` says what each figure means."""

    token_ids: tuple[int, ...]
    text: str
    stop_reason: StopReason
    ttft_s: float
    decode_s: float
    checks: int | None
    spare_heads: int | None
    filled: int | None
    older_rows: int | None
    own_passes: int | None
    ridden: int | None
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
        self._taken: list[Taken] = []
        self._reason: StopReason | None = None
        self._memory = PeakMemory(stack.device)
        self._memory.begin()
        self._begin = clock.now_ns()

    def take(self, emission: Emitted) -> bool:
        """Take what is out next, up to a stop condition within; whether one holds.

        Raises:
            BrokenStrategy: what is no token, or no depth, was emitted.
        """
        now = self._clock.now_ns()
        tokens, layers, confidence = _checked(emission, self._vocabulary_size)
        count = 0
        for token in tokens:
            self._reason = self._rule.push(token)
            count += 1
            if self._reason is not None:
                break
        ended = self._reason is not None
        self._taken.append(Taken(now, count, emission, layers, confidence, ended))
        return ended

    @property
    def latest(self) -> tuple[Taken, float]:
        """What was taken last, and how many seconds after the request it was out."""
        taken = self._taken[-1]
        return taken, (taken.at_ns - self._begin) / 1e9

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
        first_ns, last_ns = self._taken[0].at_ns, self._taken[-1].at_ns
        return Generation(
            token_ids=tuple(self._rule.token_ids),
            text=self._rule.text(),
            stop_reason=self._reason,
            ttft_s=(first_ns - self._begin) / 1e9,
            decode_s=(last_ns - first_ns) / 1e9,
            **vars(account(self._taken, self._begin)),
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
    watch: Callable[[Taken, float], None] | None = None,
) -> Generation:
    """Run ``strategy`` on ``request`` until a stop condition holds.

    The clock starts before the session is made.

    Args:
        stack: the model.
        tokenizer: the model's.
        strategy: prepared.
        request: what to continue.
        sessions: makes the session, of one sequence; a batch whose member this is, for example.
        watch: is told of what is out, and how many seconds after the request; its clock stands still then.

    Raises:
        BrokenStrategy: it ended before any stop condition, or emitted what is no token or no depth.
    """
    clock = Clock(stack.device) if sessions is None else sessions.clock
    followed = Followed(stack, tokenizer, request, clock)
    capacity = capacity_for(request)
    session = Session(stack, capacity=capacity) if sessions is None else sessions.session(capacity)
    for emission in strategy.generate(session, request):
        ended = followed.take(emission)
        if watch is not None:
            with clock.stopped():
                watch(*followed.latest)
        if ended:
            break
    return followed.result(session)


def _counts(tally: Tally | None) -> dict[str, Any]:
    return {field.name: tally and getattr(tally, field.name) for field in fields(Tally)}


def _checked(
    emission: Emitted, vocabulary_size: int
) -> tuple[list[int], tuple[float, ...] | None, tuple[float | None, ...] | None]:
    """An emission's tokens, depths and confidences as plain numbers (it may hold numpy's or torch's)."""
    try:
        tokens = [index(token) for token in emission.tokens]
        layers = None if emission.depth is None else tuple(float(depth) for depth in emission.depth)
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
        raise BrokenStrategy(f"emitted a token at depth {list(layers)}")
    return tokens, layers, _confidence(emission)


def _confidence(emission: Emitted) -> tuple[float | None, ...] | None:
    given = emission.confidence
    if given is None:
        return None
    try:
        confidence = tuple(None if value is None else float(value) for value in given)
    except (TypeError, ValueError) as error:
        raise BrokenStrategy(f"emitted a token with confidence {given}: {error}") from error
    if len(confidence) != len(emission.tokens):
        raise BrokenStrategy(f"emitted {len(emission.tokens)} tokens with {len(confidence)} confidences")
    if not all(value is None or isfinite(value) for value in confidence):
        raise BrokenStrategy(f"emitted a token with confidence {list(confidence)}")
    return confidence
