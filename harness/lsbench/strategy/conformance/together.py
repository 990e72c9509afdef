"""Requests that decode together, as with ``--batch-size``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from lsbench.engine import Session
from lsbench.engine.batch import Batch
from lsbench.spec import GenerateRequest, Sampling
from lsbench.strategy import Member, Strategy
from lsbench.strategy.conformance.bench import Bench, Subject
from lsbench.strategy.conformance.observation import SLACK, check_emission, observe, session_for
from lsbench.strategy.conformance.result import Failed
from lsbench.strategy.members import emissions

_SAMPLED = Sampling(temperature=0.9, top_p=0.95)
_CUT = 2
"""Tokens after which the first of a batch is ended from outside, as a stop string would."""


def batch(subject: Subject) -> str:
    """In a batch every request comes out as it does alone, though all of them share one strategy object."""
    bench = subject.bench.small
    with bench.threads():
        strategy = subject.make(bench=bench)
        batching = strategy.batching()
        requests = _requests(bench, strategy)
        alone = [observe(strategy, bench.stack, request).tokens for request in requests]
        if batching == "steps":
            together = _in_shared_steps(strategy, bench, requests)
        else:
            together = _in_own_loop(strategy, bench, requests)
            alone[0], together[0] = alone[0][:_CUT], together[0][:_CUT]
    for request, by_itself, beside in zip(requests, alone, together, strict=True):
        if beside != by_itself:
            what = (
                "keep what belongs to a request off the strategy object"
                if batching != "loop"
                else ("generate_together gives each member what generate gives it alone")
            )
            raise Failed(
                f"prompt {request.doc_id} gives {list(beside[:8])}... in a batch and "
                f"{list(by_itself[:8])}... alone; {what}"
            )
    how = {"steps": "at once", "loop": "at once, in its own loop", "turns": "by turns"}
    return f"{len(requests)} requests {how[batching]}"


def _requests(bench: Bench, strategy: Strategy) -> list[GenerateRequest]:
    """Of different lengths, so that some leave while others go on; every third ends at a token of its own."""
    made: list[GenerateRequest] = []
    for prompt in bench.some:
        for sampling in (Sampling(), _SAMPLED):
            length = max(1, bench.max_new_tokens - 2 * prompt % 7)
            request = bench.request(prompt, sampling, seed=prompt, max_new_tokens=length)
            if len(made) % 3 == 2:
                whole = observe(strategy, bench.stack, request).tokens
                request = request.model_copy(update={"stop_token_ids": whole[length // 2 :][:1]})
            made.append(request)
    return made


def _in_shared_steps(
    strategy: Strategy, bench: Bench, requests: Sequence[GenerateRequest]
) -> list[tuple[int, ...]]:
    together = Batch(bench.stack)
    found: dict[int, tuple[int, ...]] = {}

    def member(place: int, request: GenerateRequest) -> tuple[int, tuple[int, ...], Session]:
        session = together.session(len(request.prompt_tokens) + request.max_new_tokens)
        return place, observe(strategy, bench.stack, request, session).tokens, session

    members = [lambda p=place, r=request: member(p, r) for place, request in enumerate(requests)]
    for place, tokens, session in together.run(members):
        if not session.lengths[0]:
            raise Failed(
                "it runs nothing through its session; define generate_together, or set batchable = False"
            )
        found[place] = tokens
    return [found[place] for place in range(len(requests))]


def _in_own_loop(
    strategy: Strategy, bench: Bench, requests: Sequence[GenerateRequest]
) -> list[tuple[int, ...]]:
    """Until each has met its stop id or its limit, or has ended of itself."""
    members = [Member(session_for(bench.stack, request), request) for request in requests]
    found: list[list[int]] = [[] for _ in requests]
    most = sum(request.max_new_tokens + SLACK for request in requests)
    with closing(emissions(strategy, members)) as coming:
        for count, (place, said) in enumerate(coming):
            if isinstance(said, Exception):
                raise said
            if count > most:
                raise Failed(f"{count} emissions came out of at most {most}, with no end to it")
            check_emission(said, bench.stack)
            member, tokens = members[place], found[place]
            for token in said.tokens:
                tokens.append(int(token))
                limit = _CUT if place == 0 else member.request.max_new_tokens
                member.ended = token in member.request.stop_token_ids or len(tokens) >= limit
                if member.ended:
                    break
    return [tuple(tokens) for tokens in found]
