"""Requests that decode together, as with ``--batch-size``."""

from __future__ import annotations

from lsbench.engine import Session
from lsbench.engine.batch import Batch
from lsbench.spec import GenerateRequest, Sampling
from lsbench.strategy.conformance.bench import Bench, Subject
from lsbench.strategy.conformance.observation import Observation, observe
from lsbench.strategy.conformance.result import Failed, NotApplicable

_SAMPLED = Sampling(temperature=0.9, top_p=0.95)


def batch(subject: Subject) -> str:
    """In a batch every request comes out as it does alone, though all of them share one strategy object."""
    if not subject.strategy.batchable:
        raise NotApplicable("it says that requests cannot decode together")
    with subject.bench.small.threads():
        return _together(subject, subject.bench.small)


def _together(subject: Subject, bench: Bench) -> str:
    strategy = subject.make(bench=bench)
    # Of different lengths, so that some leave while others go on.
    requests = [
        bench.request(
            prompt, sampling, seed=prompt, max_new_tokens=max(1, bench.max_new_tokens - 2 * prompt % 7)
        )
        for prompt in bench.some
        for sampling in (Sampling(), _SAMPLED)
    ]
    alone = [observe(strategy, bench.stack, request).tokens for request in requests]
    together = Batch(bench.stack)

    def member(place: int, request: GenerateRequest) -> tuple[int, Observation, Session]:
        session = together.session(len(request.prompt_tokens) + request.max_new_tokens)
        return place, observe(strategy, bench.stack, request, session), session

    members = [lambda p=place, r=request: member(p, r) for place, request in enumerate(requests)]
    for place, observed, session in together.run(members):
        if not session.lengths[0]:
            raise Failed("it runs nothing through its session; set batchable = False")
        if observed.tokens != alone[place]:
            raise Failed(
                f"prompt {requests[place].doc_id} gives {list(observed.tokens[:8])}... in a batch and "
                f"{list(alone[place][:8])}... alone; keep what belongs to a request off the strategy object"
            )
    return f"{len(requests)} requests at once"
