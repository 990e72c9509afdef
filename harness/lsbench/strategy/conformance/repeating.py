"""The same request gives the same, whatever else happens: seeds, other requests, global random state."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from lsbench.spec import GenerateRequest, Sampling, ScoreWindow
from lsbench.strategy import Scored, Strategy
from lsbench.strategy.conformance.bench import Bench, Subject
from lsbench.strategy.conformance.observation import Observation, collect, observe, score, session_for
from lsbench.strategy.conformance.result import Failed

_SAMPLED = Sampling(temperature=0.9, top_p=0.95, top_k=40)
_SEEDS = 4
_TRIES = 4


def seeds(subject: Subject) -> str:
    """A request's seed decides its draws: the same again in any order, another with another seed."""
    bench, strategy = subject.bench, subject.make()
    requests = [bench.request(prompt, _SAMPLED, seed=prompt + 11) for prompt in bench.some[:3]]
    first = [observe(strategy, bench.stack, request) for request in requests]
    for place in (*reversed(range(len(requests))), 0):
        again = observe(strategy, bench.stack, requests[place])
        if again != first[place]:
            raise Failed(f"request {place} asked again, in another order: {_difference(first[place], again)}")
    _seeds_differ(subject, bench.small)
    return f"{len(requests)} requests, in two orders"


def _seeds_differ(subject: Subject, bench: Bench) -> None:
    """On a small model, whose text no seed is likely to share with another's."""
    with bench.threads():
        strategy = subject.make(bench=bench)
        outputs = {
            observe(strategy, bench.stack, bench.request(0, _SAMPLED, seed=seed)).tokens
            for seed in range(_SEEDS)
        }
    if len(outputs) == 1:
        raise Failed(f"{_SEEDS} seeds at temperature {_SAMPLED.temperature} all give {_short(outputs.pop())}")


def global_random_state(subject: Subject) -> str:
    """The random state of torch, numpy and Python is neither changed nor read."""
    seen: list[tuple[Observation, Observation, Scored]] = []
    with _kept_random_state():
        for seed in (1, 2):
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            before = _random_states()
            seen.append(_everything(subject.make(), subject.bench))
            after = _random_states()
            changed = [name for name in before if before[name] != after[name]]
            if changed:
                raise Failed(f"the global random state of {' and '.join(changed)} is changed")
    first, second = seen
    if not _Likeness(subject).holds(first[0], second[0]) or first[1:] != second[1:]:
        raise Failed(
            "reseeding the global random state of torch, numpy and Python changes what comes out; draw with "
            "Sampler(request.sampling, request.seed)"
        )
    return "torch, numpy, random"


def state_between_requests(subject: Subject) -> str:
    """A used strategy does as a new one, and two generations under way do not see each other."""
    bench, used = subject.bench, subject.make()
    requests = [bench.request(prompt) for prompt in bench.some[:4]]
    requests.append(bench.request(0, _SAMPLED, seed=3))
    alone: list[Observation] = []
    alike = _Likeness(subject)
    for number, request in enumerate(requests):
        fresh, after_others = (observe(made, bench.stack, request) for made in (subject.make(), used))
        if not alike.holds(fresh, after_others):
            raise Failed(f"request {number} after {number} others: {_difference(fresh, after_others)}")
        alone.append(fresh)
    for number, together in enumerate(_interleaved(used, bench, requests[:2])):
        if not alike.holds(alone[number], together):
            raise Failed(
                f"request {number} beside another that is under way: {_difference(alone[number], together)}"
            )
    told = "; drafts follow the clock, and are not compared" if alike.but_for_drafts else ""
    return f"{len(requests)} requests, alone, after and beside others{told}"


def _interleaved(strategy: Strategy, bench: Bench, requests: list[GenerateRequest]) -> list[Observation]:
    """Generate by turns, one emission each."""
    streams = [strategy.generate(session_for(bench.stack, request), request) for request in requests]
    emissions: list[list[object]] = [[] for _ in requests]
    running = set(range(len(requests)))
    while running:
        for number in sorted(running):
            emission = next(streams[number], None)
            if emission is None or len(emissions[number]) > requests[number].max_new_tokens:
                running.discard(number)
            else:
                emissions[number].append(emission)
    return [
        collect(iter(each), bench.stack, request)  # pyright: ignore[reportArgumentType]
        for each, request in zip(emissions, requests, strict=True)
    ]


class _Likeness:
    """Whether the same came out, where how much is drafted may follow the clock.

    Under greedy decoding that is allowed, since no token depends on it. It is looked into only where it makes
    a difference, since that takes several generations.

    Attributes:
        but_for_drafts: what was drafted has differed, and follows the clock.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.but_for_drafts = False

    def holds(self, one: Observation, other: Observation) -> bool:
        if one == other:
            return True
        self.but_for_drafts = self.but_for_drafts or self._drafts_by_time()
        return self.but_for_drafts and _without_drafts(one) == _without_drafts(other)

    def _drafts_by_time(self) -> bool:
        """Whether new strategies that did nothing else draft differently."""
        subject, bench = self._subject, self._subject.bench
        seen = {observe(subject.make(), bench.stack, bench.request(1)).drafted for _ in range(_TRIES)}
        return len(seen) > 1


def _without_drafts(observed: Observation) -> Observation:
    return replace(observed, drafted=(), kinds=())


def _everything(strategy: Strategy, bench: Bench) -> tuple[Observation, Observation, Scored]:
    greedy = observe(strategy, bench.stack, bench.request(1))
    sampled = observe(strategy, bench.stack, bench.request(0, _SAMPLED, seed=9))
    window = ScoreWindow(context=bench.prompts[1], continuation=greedy.tokens)
    return greedy, sampled, score(strategy, bench.stack, window)


def _random_states() -> dict[str, object]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (name, np.asarray(keys).tobytes(), *rest),
        "Python": random.getstate(),
    }


@contextmanager
def _kept_random_state() -> Generator[None]:
    """Leave the global random state as it was found."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _difference(first: Observation, second: Observation) -> str:
    for what in ("tokens", "depth", "drafted", "kinds"):
        one, other = getattr(first, what), getattr(second, what)
        if one != other:
            place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
            return f"{what} differ from place {place} on, {_short(one[place:])} and {_short(other[place:])}"
    return "no difference"


def _short(values: tuple[object, ...]) -> str:
    shown = ", ".join(str(value) for value in values[:4])
    return f"{shown}, ..." if len(values) > 4 else shown or "nothing"
