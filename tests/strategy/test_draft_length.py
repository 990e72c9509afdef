"""How many tokens to draft: found by measuring, and as good as the best fixed number, or better."""

import random

import pytest

from lsbench.strategy.draft_length import DraftLength

MOST = 8
CASES = [
    # acceptance, cost of a drafted token, cost of a verifying pass, and what each row adds to it
    (0.95, 0.1, 1.0, 0.0),
    (0.8, 0.3, 1.0, 0.0),
    (0.6, 0.15, 1.0, 0.05),
    (0.3, 0.2, 1.0, 0.02),
    (0.9, 0.5, 1.0, 0.1),
    (0.2, 0.9, 1.0, 0.1),
]


def rate(acceptance: float, draft: float, verify: float, row: float, count: int) -> float:
    tokens = sum(acceptance**place for place in range(count + 1))
    return tokens / (count * draft + verify + row * count)


@pytest.mark.parametrize("case", CASES)
def test_it_comes_within_two_percent_of_the_best_fixed_number(case: tuple[float, ...]) -> None:
    acceptance, draft, verify, row = case
    chance = random.Random(3)
    length = DraftLength(MOST)
    rates = []
    for cycle in range(1200):
        count = length.choose()
        assert 0 <= count <= MOST
        taken = 0
        while taken < count and chance.random() < acceptance:
            taken += 1
        length.record(count, taken, count * draft, verify + row * count)
        if cycle >= 200:
            rates.append(rate(*case, length.best()))
    best = max(rate(*case, count) for count in range(1, MOST + 1))
    # What is believed best, by its true rate; the probes beside it are what finding it costs.
    assert sum(rates) / len(rates) >= 0.98 * best


def test_the_largest_is_drafted_until_something_was_measured() -> None:
    assert DraftLength(5).choose() == 5


def test_a_draft_that_costs_as_much_as_it_saves_is_left_alone_but_for_probes() -> None:
    length = DraftLength(4)
    counts = []
    for _ in range(160):
        count = length.choose()
        counts.append(count)
        length.record(count, 0, count * 1.0, 1.0)
    assert counts.count(0) > 120
    assert any(counts[80:])


def test_a_draft_that_has_become_good_is_taken_up_again() -> None:
    length = DraftLength(4)
    for agrees in (False, True):
        counts = []
        for _ in range(900):
            count = length.choose()
            counts.append(count)
            length.record(count, count if agrees else 0, count * 0.1, 1.0)
        assert (sum(counts[-50:]) / 50 > 3) is agrees


def test_one_bad_cycle_does_not_end_drafting() -> None:
    length = DraftLength(4)
    length.record(4, 0, 4 * 0.2, 1.0)
    assert length.choose() > 0
