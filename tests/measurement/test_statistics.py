from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsbench.measurement import statistics
from lsbench.measurement.statistics import (
    MIN_PROMPTS,
    mcnemar,
    ratio_of_totals_interval,
    speedup_interval,
    unseen_change,
    verdict,
)
from support.trials import comparison


def mean_interval(values: list[float]) -> tuple[float, float] | None:
    return ratio_of_totals_interval(values, [1.0] * len(values))


@pytest.mark.parametrize("prompts", [8, pytest.param(30, marks=pytest.mark.slow)])
def test_interval_covers_a_known_speedup(monkeypatch: pytest.MonkeyPatch, prompts: int):
    monkeypatch.setattr(statistics, "_RESAMPLES", 999)
    rng = np.random.default_rng(7)
    trials = 400
    intervals = [speedup_interval(*comparison(rng, prompts, 1.3)) for _ in range(trials)]
    covered = sum(i is not None and i[0] <= 1.3 <= i[1] for i in intervals)
    # Three standard errors of 400 trials at 95 % are 3.3 points.
    assert 0.91 <= covered / trials <= 0.985


def test_interval_of_a_mean_covers_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "_RESAMPLES", 999)
    rng = np.random.default_rng(3)
    intervals = [mean_interval(rng.normal(0.2, 1, 20).tolist()) for _ in range(400)]
    covered = sum(i is not None and i[0] <= 0.2 <= i[1] for i in intervals)
    assert 0.91 <= covered / 400 <= 0.985


def test_pairs_stay_together():
    """Prompts differ a hundredfold but each is exactly twice as fast: only a paired draw knows."""
    baseline = [0.1, 10.0, 1.0, 5.0, 0.2, 3.0]
    strategy = [value / 2 for value in baseline]
    ones = [1.0] * 6
    low, high = speedup_interval(baseline, ones, strategy, ones) or (0.0, 0.0)
    assert math.isclose(low, 2)
    assert math.isclose(high, 2)


@pytest.mark.parametrize("count", range(MIN_PROMPTS))
def test_few_prompts_give_no_interval(count: int):
    assert mean_interval([1.0] * count) is None
    assert ratio_of_totals_interval([1.0] * count, [2.0] * count) is None
    assert speedup_interval(*[[1.0] * count] * 4) is None


def test_no_variance_is_a_point_without_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mean_interval([0.0] * 10) == (0.0, 0.0)
        assert ratio_of_totals_interval([3.0] * 5, [4.0] * 5) == (0.75, 0.75)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=MIN_PROMPTS, max_size=30))
def test_interval_is_ordered_inside_the_data_and_repeatable(values: list[float]):
    interval = mean_interval(values)
    assert interval is not None
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= interval[0] <= interval[1] <= max(values) + slack
    assert mean_interval(values) == interval


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 10), st.integers(1, 99), st.floats(0.1, 10), st.integers(1, 99)),
        min_size=MIN_PROMPTS,
        max_size=20,
    )
)
def test_swapping_the_sides_inverts_the_speedup(rows: list[tuple[float, int, float, int]]):
    baseline_s, baseline_n, strategy_s, strategy_n = (list(column) for column in zip(*rows, strict=True))
    low, high = speedup_interval(baseline_s, baseline_n, strategy_s, strategy_n) or (0.0, 0.0)
    other_low, other_high = speedup_interval(strategy_s, strategy_n, baseline_s, baseline_n) or (0.0, 0.0)
    # Quantiles interpolate linearly between resamples, so the inverse holds nearly, not exactly.
    assert other_low == pytest.approx(1 / high, rel=0.02)
    assert other_high == pytest.approx(1 / low, rel=0.02)


@pytest.mark.parametrize(
    ("lost", "gained", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 2**5),
        (0, 6, 2 / 2**6),
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
        (3, 3, 1.0),
        (9, 1, 2 * (1 + 10) / 2**10),
    ],
)
def test_mcnemar_against_hand_computed_values(lost: int, gained: int, p_value: float):
    baseline = [True] * lost + [False] * gained + [True] * 7 + [False] * 5
    strategy = [False] * lost + [True] * gained + [True] * 7 + [False] * 5
    assert mcnemar(baseline, strategy) == pytest.approx(p_value)


def test_unseen_change_against_its_closed_form():
    for documents in (1, 8, 164):
        assert unseen_change(documents) == pytest.approx(1 - 0.025 ** (1 / documents))


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((1.02, 1.5), "faster"),
        ((0.5, 0.98), "slower"),
        ((1.005, 1.5), "no significant difference"),
        ((0.5, 0.995), "no significant difference"),
        ((0.9, 1.1), "no significant difference"),
        ((1.0, 1.2), "no significant difference"),
        ((0.8, 1.0), "no significant difference"),
        (None, "no significant difference"),
    ],
)
def test_verdict(interval: tuple[float, float] | None, said: str):
    assert verdict(interval) == said


@pytest.mark.parametrize(
    ("interval", "swing", "said"),
    [
        ((1.03, 4.81), 0.81, "no significant difference"),
        ((1.9, 4.81), 0.81, "faster"),
        ((0.6, 0.97), 0.1, "no significant difference"),
        ((0.6, 0.9), 0.1, "slower"),
    ],
)
def test_a_verdict_lies_outside_the_machines_own_swing(interval, swing, said):
    assert verdict(interval, swing) == said
