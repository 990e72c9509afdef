"""``score`` measures what ``generate`` does."""

from __future__ import annotations

import math

from lsbench.spec import ScoreWindow
from lsbench.strategy.conformance.bench import Bench, Subject
from lsbench.strategy.conformance.observation import observe, score
from lsbench.strategy.conformance.result import Failed

_LARGEST_VOCABULARY = 512
"""The most tokens that are all scored one by one to see that they add up."""
_ADDS_UP = 1e-6
_MOST_LIKELY = 1e-6
"""A log-probability is at most 0, give or take rounding."""


def agreement(subject: Subject) -> str:
    """Over its own greedy output, ``score`` chooses what ``generate`` chose, at the same depth."""
    bench, strategy = subject.bench, subject.make()
    count = 0
    for prompt in bench.some:
        observed = observe(strategy, bench.stack, bench.request(prompt))
        window = ScoreWindow(context=bench.prompts[prompt], continuation=observed.tokens)
        scored = score(strategy, bench.stack, window)
        for place, (chosen, token) in enumerate(zip(scored.choices, observed.tokens, strict=True)):
            if chosen != token:
                raise Failed(f"generate chose {token} as token {place} of prompt {prompt}, score {chosen}")
        worst = max(scored.logprobs)
        if not worst <= _MOST_LIKELY:
            raise Failed(f"a token is given the log-probability {worst:g}")
        for place, kind in enumerate(observed.kinds):
            one, other = observed.depth[place], scored.depth[place] if scored.depth is not None else None
            if kind == "decoded" and one is not None and other is not None and not math.isclose(one, other):
                raise Failed(
                    f"token {place} of prompt {prompt} ran {one:g} layers in generate and {other:g} in score"
                )
        count += len(observed.tokens)
    return f"{count} tokens"


def distribution(subject: Subject) -> str:
    """The probabilities that ``score`` gives to every possible next token add up to 1."""
    many = subject.bench.stack.vocabulary_size > _LARGEST_VOCABULARY
    bench = subject.bench.small if many else subject.bench
    with bench.threads():
        return _distribution(subject, bench)


def _distribution(subject: Subject, bench: Bench) -> str:
    strategy, vocabulary = subject.make(bench=bench), bench.stack.vocabulary_size
    context = bench.prompts[1]
    begin = observe(strategy, bench.stack, bench.request(1, max_new_tokens=2)).tokens
    for place in range(2):
        total = 0.0
        for token in range(vocabulary):
            window = ScoreWindow(context=context, continuation=(*begin[:place], token))
            total += math.exp(score(strategy, bench.stack, window).logprobs[-1])
        if abs(total - 1) > _ADDS_UP:
            raise Failed(
                f"the probabilities of all {vocabulary} tokens in place {place} add up to {total:.6g}"
            )
    return f"{vocabulary} tokens in two places"
