"""Speculative sampling gives the target's distribution, whatever the draft's: by arithmetic alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsbench.engine import Sampler, probabilities
from lsbench.spec import Sampling
from lsbench.strategy.acceptance import Drafted, acceptance_chance, is_taken, remainder, settle

VOCABULARY = 5
DRAWN = Sampling(temperature=1.0)
weights = st.lists(st.integers(0, 9), min_size=VOCABULARY, max_size=VOCABULARY).filter(any)
distributions = weights.map(lambda w: torch.tensor(w, dtype=torch.float64) / sum(w))


def chance_taken(target: torch.Tensor, proposed: Drafted) -> float:
    """The number below which ``is_taken`` says yes, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if is_taken(target, proposed, middle) else (low, middle)
    return low


def outcome(target: torch.Tensor, draft: torch.Tensor) -> torch.Tensor:
    """[V] distribution of the token that comes out where one drawn from ``draft`` is proposed."""
    result = torch.zeros_like(target)
    for token in draft.nonzero()[:, 0].tolist():
        proposed = Drafted(token, draft)
        taken = chance_taken(target, proposed)
        result[token] += draft[token] * taken
        if taken < 1 - 1e-9:
            left = remainder(target, proposed)
            result += draft[token] * (1 - taken) * left / left.sum()
    return result


@settings(max_examples=80, deadline=None)
@given(distributions, distributions)
def test_what_comes_out_is_distributed_as_the_target(target: torch.Tensor, draft: torch.Tensor) -> None:
    assert torch.allclose(outcome(target, draft), target, atol=1e-9)


@given(distributions, st.integers(0, VOCABULARY - 1))
def test_a_token_that_was_chosen_is_taken_as_often_as_the_target_has_it(
    target: torch.Tensor, token: int
) -> None:
    proposed = Drafted(token)
    taken = chance_taken(target, proposed)
    assert taken == pytest.approx(float(target[token]), abs=1e-9)
    if taken < 1 - 1e-9:
        result = (1 - taken) * remainder(target, proposed) / remainder(target, proposed).sum()
        result[token] += taken
        assert torch.allclose(result, target, atol=1e-9)


def test_rounding_that_leaves_nothing_of_the_target_draws_from_the_target() -> None:
    target = torch.tensor([0.5, 0.5])
    assert torch.equal(remainder(target, Drafted(0, target + 1e-7)), target)


def test_greedily_the_longest_agreeing_prefix_is_taken_and_the_next_is_the_models_own() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([3, 1, 4, 2]), VOCABULARY).double()
    sampler = Sampler(Sampling(), 0)
    for tokens, expected in (
        ((3, 1, 4), (3, 2)),
        ((3, 1, 0), (2, 4)),
        ((3, 0, 4), (1, 1)),
        ((0, 1, 4), (0, 3)),
        ((), (0, 3)),
    ):
        assert settle([Drafted(token) for token in tokens], logits[: len(tokens) + 1], sampler) == expected


def test_after_a_token_that_is_not_taken_no_other_is_looked_at() -> None:
    """The second drafted token would be certain, but what stands before it is gone."""
    sure = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    logits = torch.full((3, VOCABULARY), -torch.inf)
    logits[0, 2], logits[1, 1], logits[2, 1] = 0.0, 0.0, 0.0
    drafted = [Drafted(1, sure), Drafted(1, sure)]
    assert settle(drafted, logits, Sampler(DRAWN, 0)) == (0, 2)


@pytest.mark.parametrize(
    "sampling", [DRAWN, Sampling(temperature=0.7, top_k=3), Sampling(top_p=0.8, temperature=1)]
)
def test_the_chance_of_being_taken_is_what_the_rule_comes_to(sampling: Sampling) -> None:
    generator = torch.Generator().manual_seed(2)
    targets, drafts = torch.randn(2, 6, VOCABULARY, generator=generator, dtype=torch.float64)
    chances = acceptance_chance(targets, drafts, sampling)
    for target, draft, chance in zip(targets, drafts, chances.tolist(), strict=True):
        p, q = probabilities(target, sampling), probabilities(draft, sampling)
        tokens = q.nonzero()[:, 0].tolist()
        expected = sum(float(q[token]) * chance_taken(p, Drafted(token, q)) for token in tokens)
        assert chance == pytest.approx(expected, abs=1e-9)


def test_greedily_the_chance_is_whether_the_choice_is_the_same() -> None:
    target, draft = torch.tensor([[1.0, 3.0], [2.0, 0.0]]), torch.tensor([[0.0, 0.1], [1.0, 2.0]])
    assert acceptance_chance(target, draft, Sampling()).tolist() == [1.0, 0.0]
    assert acceptance_chance(target[0], draft, Sampling()).tolist() == [1.0, 1.0]
