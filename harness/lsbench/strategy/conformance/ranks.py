"""Ranks that share the model, as with ``--tensor-parallel``."""

from __future__ import annotations

from lsbench.engine import DecoderStack
from lsbench.engine.ranks_in_turn import run_on_ranks
from lsbench.errors import CannotRun
from lsbench.spec import Sampling
from lsbench.strategy import Preparation
from lsbench.strategy.conformance.bench import Bench, Subject
from lsbench.strategy.conformance.observation import observe
from lsbench.strategy.conformance.result import Failed, NotApplicable

_RANKS = 2
_SAMPLED = Sampling(temperature=0.9, top_p=0.95)

_Tokens = list[tuple[int, ...]]


def agree(subject: Subject) -> str:
    """Two ranks that share the model give the same tokens, and those of one process."""
    bench = subject.bench.small
    with bench.threads():
        alone = _decoded(subject, bench, bench.stack)
        outcomes = run_on_ranks(bench.stack, _RANKS, lambda stack: _decoded(subject, bench, stack))
    errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if errors and all(isinstance(outcome, CannotRun) for outcome in outcomes):
        raise NotApplicable(f"it says that it cannot: {errors[0]}")
    if errors:
        raise errors[0]
    for rank, found in enumerate(outcomes):
        if found != alone:
            raise Failed(
                f"rank {rank} of {_RANKS} gives other tokens than one process; what is decided must rest on "
                "what a strategy is given and the request's seed alone, and seconds that decide go through "
                "session.stack.agreement.number"
            )
    return f"{_RANKS} ranks, {len(alone)} requests"


def _decoded(subject: Subject, bench: Bench, stack: DecoderStack) -> _Tokens:
    """What a strategy of this rank's own gives for a few prompts."""
    strategy = subject.make_unprepared({})
    strategy.prepare(Preparation(stack, bench.calibration_prompts))
    # One that draws from random numbers that all of a process share cannot be tried by ranks within one.
    samplings = (Sampling(), _SAMPLED) if strategy.batching() == "steps" else (Sampling(),)
    requests = [
        bench.request(prompt, sampling, seed=prompt, max_new_tokens=bench.max_new_tokens // 2)
        for prompt in bench.some
        for sampling in samplings
    ]
    return [observe(strategy, stack, request).tokens for request in requests]
