"""Everything that can be seen of a generation or a score, in a form that can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lsbench.engine import (
    DecoderStack,
    DepthPlan,
    DepthPolicy,
    Observer,
    PartialHead,
    Sampler,
    Session,
    StepResult,
)
from lsbench.engine.batch import Batch
from lsbench.spec import GenerateRequest, ScoreWindow
from lsbench.strategy import Emitted, Scored, Strategy
from lsbench.strategy.conformance.result import Failed
from lsbench.strategy.emission import Kind
from lsbench.strategy.loops import decode

SLACK = 64
"""Tokens beyond the limit after which a generation that goes on is given up."""
_TOGETHER = 50
"""Requests that are decoded together at most."""
_DIGITS = 9
"""Decimals of a log-probability that are compared: even float64 differs beyond, by the order of sums."""


class WatchedSession(Session):
    """A session that remembers how deep its last ``forward`` went.

    Attributes:
        last_depth: layers run for the newest token of the last ``forward`` since this was last set to None.
    """

    last_depth: float | None = None

    def forward(
        self,
        tokens: Tensor,
        plan_or_policy: DepthPlan | DepthPolicy | Sequence[DepthPolicy],
        observer: Observer | None = None,
        head: PartialHead | None = None,
    ) -> StepResult:
        """As the session does."""
        result = super().forward(tokens, plan_or_policy, observer, head)
        self.last_depth = float(result.layers_run[0, -1])
        return result


@dataclass(frozen=True)
class Observation:
    """One generation.

    Attributes:
        tokens: that came out, the one that met a stop condition included.
        depth: layers run for each, None where the strategy does not tell.
        kinds: of each token's emission.
        drafted: of each emission.
    """

    tokens: tuple[int, ...]
    depth: tuple[float | None, ...]
    kinds: tuple[Kind, ...]
    drafted: tuple[int | None, ...]


def session_for(stack: DecoderStack, request: GenerateRequest) -> WatchedSession:
    """An empty session with room for the request."""
    return WatchedSession(stack, capacity=len(request.prompt_tokens) + request.max_new_tokens)


def observe(
    strategy: Strategy, stack: DecoderStack, request: GenerateRequest, session: Session | None = None
) -> Observation:
    """Generate as ``lsbench run`` does: until a stop id comes out, or the strategy ends.

    Raises:
        Failed: it emits what is no token, or does not come to an end.
    """
    emissions = strategy.generate(session or session_for(stack, request), request)
    return collect(emissions, stack, request)


def observe_all(
    strategy: Strategy, stack: DecoderStack, requests: Sequence[GenerateRequest]
) -> list[Observation]:
    """``observe`` many requests, in the order they end; together where the engine can do it."""
    if strategy.batching() != "steps":
        return [observe(strategy, stack, request) for request in requests]
    found: list[Observation] = []
    for begin in range(0, len(requests), _TOGETHER):
        batch = Batch(stack)

        def member(request: GenerateRequest, batch: Batch = batch) -> Observation:
            session = batch.session(len(request.prompt_tokens) + request.max_new_tokens)
            return observe(strategy, stack, request, session)

        found.extend(batch.run([partial(member, each) for each in requests[begin : begin + _TOGETHER]]))
    return found


def collect(emissions: Iterator[Emitted], stack: DecoderStack, request: GenerateRequest) -> Observation:
    """``observe``, of a generation that was begun already."""
    tokens: list[int] = []
    depth: list[float | None] = []
    kinds: list[Kind] = []
    drafted: list[int | None] = []
    for emission in emissions:
        check_emission(emission, stack)
        drafted.append(emission.drafted)
        for place, token in enumerate(emission.tokens):
            tokens.append(int(token))
            depth.append(None if emission.depth is None else float(emission.depth[place]))
            kinds.append(emission.kind)
            if token in request.stop_token_ids:
                return Observation(tuple(tokens), tuple(depth), tuple(kinds), tuple(drafted))
        if len(tokens) > request.max_new_tokens + SLACK:
            raise Failed(
                f"{len(tokens)} tokens came out of at most {request.max_new_tokens}, with no end to it"
            )
    return Observation(tuple(tokens), tuple(depth), tuple(kinds), tuple(drafted))


def check_emission(emission: Emitted, stack: DecoderStack) -> None:
    """Raise ``Failed`` for what is no token of the model, or has not one depth for each."""
    if not emission.tokens:
        raise Failed("an emission holds no token")
    strange = [token for token in emission.tokens if not 0 <= token < stack.vocabulary_size]
    if strange:
        raise Failed(f"token {strange[0]} came out; the model has 0 to {stack.vocabulary_size - 1}")
    if emission.depth is not None and len(emission.depth) != len(emission.tokens):
        raise Failed(f"{len(emission.tokens)} tokens came out with {len(emission.depth)} depths")


def score(
    strategy: Strategy, stack: DecoderStack, window: ScoreWindow, sampler: Sampler | None = None
) -> Scored:
    """The score of a continuation, log-probabilities rounded to what float64 holds in any order.

    Raises:
        Failed: it is not one log-probability and one choice a token.
    """
    session = Session(stack, capacity=len(window.context) + len(window.continuation))
    scored = strategy.score(session, window, sampler)
    wanted, given, choices = len(window.continuation), len(scored.logprobs), len(scored.choices)
    if given != wanted or choices != wanted:
        raise Failed(f"score gives {given} log-probabilities and {choices} choices for {wanted} tokens")
    rounded = tuple(round(float(value), _DIGITS) for value in scored.logprobs)
    return Scored(rounded, tuple(int(token) for token in scored.choices), scored.depth)


class _FullDepth(DepthPolicy):
    def constant_plan(self, num_layers: int) -> DepthPlan:
        return DepthPlan.full(num_layers)


def full_model(stack: DecoderStack, request: GenerateRequest) -> tuple[int, ...]:
    """What the full model emits, token by token."""
    emissions = decode(session_for(stack, request), request, _FullDepth())
    return collect(emissions, stack, request).tokens


@torch.inference_mode()
def full_logits(stack: DecoderStack, tokens: tuple[int, ...]) -> Tensor:
    """The full model's logits [T, V] after each of ``tokens``, in one pass from nothing."""
    session = Session(stack, capacity=len(tokens))
    ids = torch.tensor([tokens], dtype=torch.int64, device=stack.device)
    return session.forward(ids, DepthPlan.full(stack.num_layers)).logits[0]
