"""self_speculative samples from the full model's own distribution: whole sequences, by a chi-square test.

The exact probability of every sequence of four tokens comes from enumerating all of them under transformers'
own forward pass. The same test fails when the rule that accepts drafts is made wrong on purpose.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from lsbench.engine import ConstantPolicy, DepthPlan, Session
from lsbench.spec import GenerateRequest, Sampling, parse_strategy
from lsbench.strategy import Draft, Drafted, Emitted, PolicyDraft, Preparation, acceptance, speculate
from lsbench.strategy.registry import resolve
from support.distribution import Output, p_value
from support.drawing import Generate, drawn_together
from support.requests import generate_request
from support.six_tokens import LAYERS, LENGTH, PROMPT, VOCABULARY, SixTokens
from support.wrong_rules import always, unweighted, whole_target

PLAIN = Sampling(temperature=0.8)
CUT = Sampling(temperature=1.1, top_p=0.85, top_k=4)
EXIT = "self_speculative:draft=static_exit,draft.exit_layer=1,num_speculations={}"

pytestmark = pytest.mark.usefixtures("one_thread")


class Tiny(SixTokens):
    def drawn(self, text: str, sampling: Sampling, count: int) -> Counter[Output]:
        """Sequences that a strategy gives under ``count`` seeds."""
        strategy = resolve(parse_strategy(text))
        strategy.check(LAYERS)
        strategy.prepare(self.preparation)
        return self.collect(strategy.generate, sampling, count)

    def collect(self, generate: Generate, sampling: Sampling, count: int) -> Counter[Output]:
        requests = [generate_request(PROMPT, LENGTH, sampling=sampling, seed=seed) for seed in range(count)]
        return drawn_together(self.stack, generate, requests).outputs


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return Tiny()


SEEDS = 800
"""The least obvious fault, drawing from all of p in place of a refused token, has p = 1e-10 with so many, and
7e-6 with 500."""
FAITHFUL = 0.001
WRONG = 1e-6


def test_drafts_are_partly_taken(tiny: Tiny) -> None:
    """Where all or none are taken, any rule would pass."""
    strategy = resolve(parse_strategy(EXIT.format(2)))
    strategy.prepare(Preparation(tiny.stack, ()))
    requests = [generate_request(PROMPT, LENGTH, sampling=PLAIN, seed=seed) for seed in range(150)]
    assert 0.3 < drawn_together(tiny.stack, strategy.generate, requests).taken < 0.9


@pytest.mark.slow
def test_whole_sequences_are_distributed_as_the_full_model_has_them(tiny: Tiny) -> None:
    assert p_value(tiny.drawn(EXIT.format(2), PLAIN, SEEDS), tiny.exact(PLAIN)) > FAITHFUL


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        pytest.param("is_taken", always, marks=pytest.mark.slow),
        pytest.param("is_taken", unweighted, marks=pytest.mark.slow),
        pytest.param("remainder", whole_target, marks=pytest.mark.slow),
    ],
)
def test_a_wrong_rule_fails_the_same_test(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, rule: str, wrong: Callable
) -> None:
    monkeypatch.setattr(acceptance, rule, wrong)
    assert p_value(tiny.drawn(EXIT.format(2), PLAIN, SEEDS), tiny.exact(PLAIN)) < WRONG


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ("draft=static_exit,draft.exit_layer=1,num_speculations=3", PLAIN),
        ("draft=static_exit,draft.exit_layer=1,num_speculations=3", CUT),
        ("draft=static_exit,draft.exit_layer=2,num_speculations=2,draft_stop=0.4", CUT),
        ("draft=dynamic_skip,draft.skip_set=[2],draft.thresholds=[0.7],num_speculations=3", PLAIN),
        ("draft=static_exit,draft.exit_layer=1,num_speculations=3,adaptive=true", CUT),
        ("draft=static_exit,draft.exit_layer=online,num_speculations=3", PLAIN),
        ("draft=static_exit,draft.exit_layer=online,num_speculations=3,draft_stop=0.4", CUT),
        ("draft=dynamic_skip,draft.skip_set=online,draft.thresholds=[2],num_speculations=2", PLAIN),
    ],
)
def test_every_way_of_drafting_keeps_the_distribution(tiny: Tiny, options: str, sampling: Sampling) -> None:
    assert (
        p_value(tiny.drawn(f"self_speculative:{options}", sampling, SEEDS), tiny.exact(sampling)) > FAITHFUL
    )


class Swinging(PolicyDraft):
    """Where it exits and how many it drafts hang on what was drafted, taken and drawn so far."""

    def __init__(self) -> None:
        self._policies = [ConstantPolicy(DepthPlan.exit_at(LAYERS, layer)) for layer in (1, 2, 3)]
        super().__init__(self._policies[0])
        self.seen = 0
        self.made: list[tuple[int, int]] = []

    def propose(self, session, last, count, sampler) -> Iterator[Drafted]:
        exit, number = (self.seen + last) % 3, min((2 * self.seen + last) % 3, count)
        self.made.append((exit, number))
        self.policy = self._policies[exit]
        return islice(super().propose(session, last, count, sampler), number)

    def learn(self, session, verification) -> None:
        self.seen += verification.taken + sum(proposed.token for proposed in verification.drafted)


@pytest.mark.slow
def test_decisions_that_hang_on_what_was_drawn_keep_the_distribution(tiny: Tiny) -> None:
    made: Counter[tuple[int, int]] = Counter()

    def generate(session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        draft = Swinging()
        yield from speculate(session, request, draft, 2)
        made.update(draft.made)

    assert p_value(tiny.collect(generate, PLAIN, SEEDS), tiny.exact(PLAIN)) > FAITHFUL
    assert {exit for exit, _ in made} == {number for _, number in made} == {0, 1, 2}


class Guesses(Draft):
    """Tokens chosen, not drawn: with no distribution of their own."""

    def propose(self, session, last, count, sampler) -> Iterator[Drafted]:
        for step in range(count):
            yield Drafted((last + step) % VOCABULARY)


@pytest.mark.slow
def test_tokens_that_were_looked_up_keep_the_distribution(tiny: Tiny) -> None:
    found = tiny.collect(lambda session, request: speculate(session, request, Guesses(), 3), PLAIN, SEEDS)
    assert p_value(found, tiny.exact(PLAIN)) > FAITHFUL
