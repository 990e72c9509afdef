"""Exit and number of drafted tokens together: as good as the best pair, found while decoding."""

import random

import numpy as np
import pytest

from lsbench_strategies.exit_choice import ExitChoice
from lsbench_strategies.exit_costs import ExitCosts

DEPTHS = (3.0, 7.0, 10.0, 13.0, 17.0, 20.0, 23.0, 27.0)
FULL, HEAD, MOST = 30.0, 6.0, 6
CASES = {
    "shallow suffices": (0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99),
    "from the middle on": (0.02, 0.05, 0.1, 0.9, 0.95, 0.97, 0.98, 0.99),
    "slowly rising": (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9),
    "nothing but the whole": (0.0, 0.0, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2),
}


def cost(exit: int, count: int) -> float:
    if not count:
        return FULL + HEAD
    depth = DEPTHS[exit]
    return count * (depth + HEAD) + depth + (FULL - depth + HEAD) * (1 + 0.05 * count)


def rate(acceptance: tuple[float, ...], exit: int, count: int) -> float:
    return sum(acceptance[exit] ** place for place in range(count + 1)) / cost(exit, count)


def decode(choice: ExitChoice, acceptance: tuple[float, ...], cycles: int, seed: int = 3) -> list[float]:
    """True rates of what was believed best, cycle by cycle."""
    chance = random.Random(seed)
    rates = []
    for _ in range(cycles):
        exit, count = choice.choose(MOST)
        assert 0 <= count <= MOST
        taken = 0
        while taken < count and chance.random() < acceptance[exit]:
            taken += 1
        verify = cost(exit, count) - count * (DEPTHS[exit] + HEAD)
        choice.costs.record(exit if count else None, count, count * (DEPTHS[exit] + HEAD), verify)
        if count:
            for trial in range(min(taken + 1, count)):
                choice.record(exit, float(trial < taken))
        for other in choice.undecided(MOST):
            if other != exit or not count:
                choice.record(other, float(chance.random() < acceptance[other]), taken + 1)
        rates.append(rate(acceptance, *choice.best(MOST)))
    return rates


def fresh(probes: bool = True) -> ExitChoice:
    return ExitChoice(DEPTHS, FULL, ExitCosts(DEPTHS, FULL, HEAD), probes)


@pytest.mark.parametrize("name", CASES)
def test_it_comes_near_the_best_pair(name: str) -> None:
    rates = decode(fresh(), CASES[name], 400)
    best = max(rate(CASES[name], exit, count) for exit in range(8) for count in range(MOST + 1))
    assert sum(rates[30:]) / len(rates[30:]) >= 0.95 * best


def test_it_follows_a_text_that_changes() -> None:
    choice = fresh()
    decode(choice, CASES["shallow suffices"], 100)
    before = choice.best(MOST)
    rates = decode(choice, CASES["from the middle on"], 60)
    assert choice.best(MOST) != before
    best = max(rate(CASES["from the middle on"], exit, count) for exit in range(8) for count in range(7))
    assert sum(rates[30:]) / 30 >= 0.9 * best


def test_a_draft_that_does_not_pay_is_left_alone_but_for_probes() -> None:
    choice = fresh()
    decode(choice, CASES["nothing but the whole"], 60)
    counts = [choice.choose(MOST)[1] for _ in range(64)]
    assert counts.count(0) == 62
    assert counts.count(1) == 2


def test_nothing_is_probed_where_costs_are_known() -> None:
    choice = fresh(probes=False)
    assert [choice.choose(MOST) for _ in range(40)] == [choice.best(MOST)] * 40


def test_an_exit_that_cannot_be_the_best_need_not_be_looked_at() -> None:
    choice = fresh()
    assert set(choice.undecided(MOST)) >= set(range(6))
    for _ in range(200):
        choice.record(1, 1.0)
    undecided = set(choice.undecided(MOST))
    assert {0, 1} <= undecided
    assert not undecided & {4, 5, 6, 7}


def test_a_probability_counts_as_so_many_tokens() -> None:
    one, other = fresh(), fresh()
    one.record(2, 0.25, 3)
    for _ in range(3):
        other.record(2, 0.25)
    assert one.acceptance[2] == pytest.approx(other.acceptance[2], abs=0.02)
    assert np.array_equal(np.delete(one.acceptance, 2), np.delete(fresh().acceptance, 2))
