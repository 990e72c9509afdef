"""Where a generation ends, how deep it says it went, and what it leaves in the session."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from lsbench.engine import Session
from lsbench.spec import Sampling
from lsbench.strategy.conformance.bench import Subject
from lsbench.strategy.conformance.observation import (
    WatchedSession,
    collect,
    full_logits,
    observe,
    session_for,
)
from lsbench.strategy.conformance.result import Failed, NotApplicable
from lsbench.strategy.emission import Emitted

_SAMPLED = Sampling(temperature=0.8)
_LIMITS, _FEW_LIMITS = (1, 2, 3, 5, 8), (1, 3)
_EXACT = 1e-8
"""Largest difference of float64 logits that the order of sums explains."""
_SAME_DEPTH = 1e-6


def token_limit(subject: Subject) -> str:
    """Exactly ``max_new_tokens`` come out where nothing stops the generation, never more."""
    bench, strategy = subject.bench, subject.make()
    count = 0
    for prompt in bench.some:
        for limit in (*(_LIMITS if bench.tiny else _FEW_LIMITS), bench.max_new_tokens):
            for sampling in (Sampling(), _SAMPLED):
                request = bench.request(prompt, sampling, seed=prompt, max_new_tokens=limit)
                tokens = observe(strategy, bench.stack, request).tokens
                if len(tokens) != limit:
                    raise Failed(
                        f"{len(tokens)} tokens came out where max_new_tokens is {limit} and nothing stops"
                    )
                count += 1
    return f"{count} generations of 1 to {bench.max_new_tokens} tokens"


def stop_ids(subject: Subject) -> str:
    """A stop id ends the generation where it stands in the unstopped one, and changes nothing before it."""
    bench, strategy = subject.bench, subject.make()
    count = 0
    for prompt in bench.some[:4]:
        whole = observe(strategy, bench.stack, bench.request(prompt)).tokens
        for place in range(0, len(whole), 3):
            stop = whole[place]
            expected = whole[: whole.index(stop) + 1]
            request = bench.request(prompt, stop_token_ids=(stop,))
            stopped = observe(strategy, bench.stack, request).tokens
            if stopped != expected:
                raise Failed(
                    f"with {stop} as stop id {len(stopped)} tokens came out up to {stopped[-1:]}, "
                    f"where the first {stop} is token {len(expected)}"
                )
            count += 1
    return f"{count} generations stopped, at every third token"


def session_left(subject: Subject) -> str:
    """Afterwards the session holds what came out, and full depth over it equals a fresh full pass."""
    bench, strategy = subject.bench, subject.make()
    used = 0
    for prompt in bench.some:
        request = bench.request(prompt)
        session = session_for(bench.stack, request)
        out = observe(strategy, bench.stack, request, session).tokens
        held = session.tokens()
        if not held:
            continue
        used += 1
        text = (*request.prompt_tokens, *out)
        if held != text[: len(held)]:
            raise Failed(
                f"the session holds {len(held)} tokens that are not the beginning of prompt and output: "
                "truncate it to what came out"
            )
        _check_exact(session, text, len(request.prompt_tokens))
    if not used:
        raise NotApplicable("it does not use the session")
    return f"{used} sessions"


def _check_exact(session: Session, text: tuple[int, ...], prompt_length: int) -> None:
    """Every position held can be taken to full depth, as it stands and cut back to the prompt."""
    expected = full_logits(session.stack, text)
    for length in (len(session.tokens()), prompt_length):
        session.truncate(length)
        first = session.exact_lengths[0]
        rest = text[first : max(length, first + 1)]
        if not rest:
            continue
        ids = torch.tensor([rest], dtype=torch.int64, device=session.stack.device)
        logits = session.verify(ids).logits[0]
        error = float((logits - expected[first : first + len(rest)]).abs().max())
        if not error <= _EXACT:
            raise Failed(
                f"full depth over the session from token {first} on is off a fresh pass by {error:.2g}"
            )


def depth(subject: Subject) -> str:
    """Depths lie above 0 and within the model, and are what the session counted where it ran the token."""
    bench, strategy = subject.bench, subject.make()
    layers = bench.stack.num_layers
    told = 0
    for prompt in bench.some:
        request = bench.request(prompt)
        session = session_for(bench.stack, request)
        seen: list[float | None] = []
        emissions = _watched(strategy.generate(session, request), session, seen)
        observed = collect(emissions, bench.stack, request)
        for place, value in enumerate(observed.depth):
            if value is None:
                continue
            told += 1
            if not (math.isfinite(value) and 0 < value <= layers + _SAME_DEPTH):
                raise Failed(f"token {place} is said to have run {value:g} layers; the model has {layers}")
            ran = seen[place]
            if observed.kinds[place] == "decoded" and ran is not None and abs(ran - value) > _SAME_DEPTH:
                raise Failed(
                    f"token {place} is said to have run {value:g} layers, but the session ran {ran:g} "
                    "(a layer counts by the weights that were read)"
                )
    if not told:
        raise NotApplicable("it cannot tell how deep it goes")
    return f"{told} tokens"


def _watched(
    emissions: Iterator[Emitted], session: WatchedSession, seen: list[float | None]
) -> Iterator[Emitted]:
    """Note for each token what the session ran for its emission, before the strategy goes on."""
    for emission in emissions:
        seen.extend([session.last_depth] * len(emission.tokens))
        session.last_depth = None
        yield emission
