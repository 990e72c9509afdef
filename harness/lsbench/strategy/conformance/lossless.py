"""Losslessness: greedy output equals the full model's, and sampled output has its distribution.

Sampled output is compared as whole short sequences, by a chi-square test against the exact probability of
every sequence that a model of very few tokens can emit (enumerated, not estimated).
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import torch
from torch import Tensor

from lsbench.engine import DecoderStack, DepthPlan, Session, probabilities
from lsbench.spec import Sampling
from lsbench.strategy import Strategy
from lsbench.strategy.conformance.bench import Bench, Subject
from lsbench.strategy.conformance.observation import full_logits, full_model, observe, observe_all
from lsbench.strategy.conformance.result import Failed, NotApplicable

_LENGTH = 4
_SAMPLINGS = (Sampling(temperature=1.0), Sampling(temperature=0.8, top_p=0.9, top_k=3))
_MORE = 6
"""Times as many draws in a second round, where the first leaves a doubt."""
_SUSPICIOUS, _REFUTED, _PLAIN = 0.1, 1e-4, 1e-7
"""Chance, for a lossless strategy, that a second round is made; that it refutes the claim; and that the first
round already does."""
_LEAST_EXPECTED = 5.0
"""Sequences expected more rarely than this are counted together, as the test's approximation needs."""
_DRAWN_PROMPT = 4


def greedy(subject: Subject) -> str:
    """Greedy output is the full model's, token by token."""
    _claimed(subject)
    bench, strategy = subject.bench, subject.make()
    count = 0
    for prompt in range(len(bench.prompts)):
        request = bench.request(prompt)
        expected = full_model(bench.stack, request)
        got = observe(strategy, bench.stack, request).tokens
        if got != expected:
            raise Failed(_first_difference(bench, prompt, expected, got))
        count += len(got)
    return f"{count} tokens after {len(bench.prompts)} prompts"


def sampled(subject: Subject) -> str:
    """Sampled sequences come as often as the full model would draw them."""
    _claimed(subject)
    with subject.bench.few_tokens.threads():
        return _sampled(subject, subject.bench.few_tokens, subject.bench.draws)


def _sampled(subject: Subject, bench: Bench, draws: int) -> str:
    strategy = subject.make(bench=bench)
    least = 1.0
    for sampling in _SAMPLINGS:
        exact = exact_distribution(bench.stack, bench.prompts[_DRAWN_PROMPT], sampling)
        seeds = range(draws)
        chance = _fit(strategy, bench, sampling, exact, seeds)
        refuted_below = _PLAIN
        if _PLAIN <= chance < _SUSPICIOUS:
            seeds, refuted_below = range(draws, draws + _MORE * draws), _REFUTED
            chance = _fit(strategy, bench, sampling, exact, seeds)
        if chance < refuted_below:
            raise Failed(
                f"{len(seeds)} sequences of {_LENGTH} at temperature {sampling.temperature:g}, top_p "
                f"{sampling.top_p:g}, top_k {sampling.top_k} do not fit the full model's distribution "
                f"(chi-square, p = {chance:.1g})"
            )
        least = min(least, chance)
    return f"{len(_SAMPLINGS)} x {draws} sequences of {_LENGTH}, chi-square p >= {least:.2g}"


def exact_distribution(
    stack: DecoderStack, prompt: tuple[int, ...], sampling: Sampling
) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of ``_LENGTH`` tokens after ``prompt``, by enumeration."""
    begins = list(product(range(stack.vocabulary_size), repeat=_LENGTH - 1))
    ids = torch.tensor([[*prompt, *begin] for begin in begins], device=stack.device)
    session = Session(stack, batch=len(begins), capacity=ids.shape[1])
    logits = session.forward(ids, DepthPlan.full(stack.num_layers)).logits[:, len(prompt) - 1 :]
    known: dict[tuple[int, ...], Tensor] = {}
    for row, begin in zip(logits, begins, strict=True):
        for length in range(_LENGTH):
            if begin[:length] not in known:
                known[begin[:length]] = probabilities(row[length], sampling)
    exact: dict[tuple[int, ...], float] = {}
    for sequence in product(range(stack.vocabulary_size), repeat=_LENGTH):
        chance = 1.0
        for place, token in enumerate(sequence):
            chance *= float(known[sequence[:place]][token])
        exact[sequence] = chance
    return exact


def chi_square(counts: Counter[tuple[int, ...]], exact: dict[tuple[int, ...], float]) -> float:
    """Chance of a fit this bad or worse if ``counts`` were drawn from ``exact`` (Pearson's test).

    A sequence that has no probability and came out anyway makes it 0.
    """
    total = counts.total()
    if any(count and not exact.get(sequence, 0.0) for sequence, count in counts.items()):
        return 0.0
    cells = [(counts[s], total * p) for s, p in exact.items() if total * p >= _LEAST_EXPECTED]
    rare = [(counts[s], total * p) for s, p in exact.items() if 0 < total * p < _LEAST_EXPECTED]
    if rare:
        cells.append((sum(count for count, _ in rare), sum(expected for _, expected in rare)))
    if len(cells) < 2:
        return 1.0
    statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
    freedom = torch.tensor((len(cells) - 1) / 2, dtype=torch.float64)
    # The regularised upper incomplete gamma function is the tail of the chi-square distribution.
    return float(torch.igammac(freedom, torch.tensor(statistic / 2, dtype=torch.float64)))


def _fit(
    strategy: Strategy,
    bench: Bench,
    sampling: Sampling,
    exact: dict[tuple[int, ...], float],
    seeds: range,
) -> float:
    requests = [bench.request(_DRAWN_PROMPT, sampling, seed, max_new_tokens=_LENGTH) for seed in seeds]
    counts = Counter(observed.tokens for observed in observe_all(strategy, bench.stack, requests))
    return chi_square(counts, exact)


def _claimed(subject: Subject) -> None:
    if not subject.strategy.lossless:
        raise NotApplicable("it does not claim to be lossless")


def _first_difference(bench: Bench, prompt: int, expected: tuple[int, ...], got: tuple[int, ...]) -> str:
    place = next((i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), None)
    if place is None:
        return f"{len(got)} tokens after prompt {prompt}, where the full model gives {len(expected)}"
    logits = full_logits(bench.stack, (*bench.prompts[prompt], *expected[:place]))[-1]
    margin = float(logits[expected[place]] - logits[got[place]])
    return (
        f"token {place} after prompt {prompt} is {got[place]}, the full model's is {expected[place]} "
        f"(its logit is higher by {margin:.3g})"
    )
