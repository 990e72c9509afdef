"""What drafting at an exit costs: measured where tried, and near the truth where not."""

import numpy as np
import pytest

from lsbench_strategies.exit_costs import ExitCosts

DEPTHS = (3.0, 7.0, 10.0, 14.0, 20.0, 26.0)
FULL, HEAD = 30.0, 6.0


def truth(exit: int, drafted: int, fixed: float = 2.0, row: float = 0.1) -> tuple[float, float]:
    """Draft and verify cost where a step has a fixed cost, and each row beyond the first a price."""
    depth = DEPTHS[exit]
    draft = drafted * (fixed + depth + HEAD)
    if not drafted:
        return 0.0, fixed + FULL + HEAD
    return draft, fixed + depth + (FULL - depth + HEAD) * (1 + row * drafted)


def test_until_something_was_measured_costs_are_the_weights_read() -> None:
    table = ExitCosts(DEPTHS, FULL, HEAD).table(3)
    assert table.shape == (6, 4)
    for exit, depth in enumerate(DEPTHS):
        assert table[exit].tolist() == [36 + count * (depth + HEAD) for count in range(4)]


def test_drafting_with_a_part_of_the_head_weighs_that_part() -> None:
    costs = ExitCosts(DEPTHS, FULL, HEAD, draft_head=1.5)
    expected = [[36 + count * (depth + 1.5) for count in range(4)] for depth in DEPTHS]
    assert costs.table(3).tolist() == expected
    costs.record(1, 3, 3 * (DEPTHS[1] + 1.5), FULL + HEAD)
    costs.record(4, 2, 2 * (DEPTHS[4] + 1.5), FULL + HEAD)
    costs.record(None, 0, 0.0, FULL + HEAD)
    assert np.allclose(costs.table(3), expected)


def test_costs_in_weights_stay_what_they_are() -> None:
    costs = ExitCosts(DEPTHS, FULL, HEAD)
    before = costs.table(5)
    for exit, drafted in ((1, 3), (4, 5), (0, 1), (2, 0)):
        costs.record(exit, drafted, drafted * (DEPTHS[exit] + HEAD), FULL + HEAD)
    assert np.allclose(costs.table(5), before)


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_a_few_measurements_tell_what_was_not_tried(unit: float) -> None:
    costs = ExitCosts(DEPTHS, FULL, HEAD)
    for exit, drafted in ((1, 4), (3, 2), (1, 5), (3, 4), (1, 0)) * 6:
        draft, verify = truth(exit, drafted)
        costs.record(exit if drafted else None, drafted, unit * draft, unit * verify)
    table = costs.table(6)
    for exit in range(len(DEPTHS)):
        for drafted in range(7):
            expected = unit * sum(truth(exit, drafted))
            assert table[exit, drafted] == pytest.approx(expected, rel=0.06)


def test_one_exit_and_one_number_tell_the_others_by_weights() -> None:
    costs = ExitCosts(DEPTHS, FULL, HEAD)
    costs.record(1, 4, 4 * 13 * 0.5, 36 * 0.5)
    assert np.allclose(costs.table(4), 0.5 * ExitCosts(DEPTHS, FULL, HEAD).table(4))


def test_a_hiccup_is_outweighed_by_what_follows() -> None:
    costs = ExitCosts(DEPTHS, FULL, HEAD)
    costs.record(1, 4, 20 * truth(1, 4)[0], truth(1, 4)[1])
    for _ in range(80):
        costs.record(1, 4, *truth(1, 4))
    assert costs.table(4)[1, 4] == pytest.approx(sum(truth(1, 4)), rel=0.2)
    assert (costs.table(4) > 0).all()


def test_more_tokens_and_deeper_exits_never_cost_less() -> None:
    costs = ExitCosts(DEPTHS, FULL, HEAD)
    noise = np.random.default_rng(1)
    for _ in range(30):
        exit, drafted = int(noise.integers(6)), int(noise.integers(1, 6))
        draft, verify = truth(exit, drafted)
        costs.record(exit, drafted, draft * noise.uniform(0.3, 3), verify * noise.uniform(0.3, 3))
    table = costs.table(8)
    assert (table > 0).all()
    assert (np.diff(table[:, 1:], axis=1) > 0).all()
