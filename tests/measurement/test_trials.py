"""Whole comparisons, from lines of samples to verdicts, of strategies whose true speed is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lsbench.measurement import statistics
from lsbench.measurement.pairing import comparable_in_time, generations, pair_up
from lsbench.measurement.timing import noise, speedups
from support.trials import BASELINE, BUSY, STRATEGY, Machine, records


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_RESAMPLES", 999)


def verdicts(trials: int, prompts: int, speedup: float, machine: Machine, seed: int) -> Counter[str]:
    rng = np.random.default_rng(seed)
    said: Counter[str] = Counter()
    for _ in range(trials):
        lines = records(rng, prompts, speedup, machine)
        found = speedups(
            comparable_in_time(pair_up(lines, BASELINE, STRATEGY)).pairs, noise(generations(lines, BASELINE))
        )
        assert found is not None
        said[found[0].verdict] += 1
    return said


@pytest.mark.parametrize("prompts", [10, 30])
def test_identical_strategies_are_not_told_apart(prompts: int):
    """In at least 19 of 20 trials, on a machine that drifts and does other work now and then."""
    assert verdicts(60, prompts, 1.0, BUSY, seed=11)["no significant difference"] >= 0.95 * 60


def test_a_strategy_slowed_by_a_tenth_is_found_slower_with_30_prompts():
    assert verdicts(40, 30, 1 / 1.1, Machine(), seed=12) == {"slower": 40}


def test_a_small_gain_is_found_where_the_machine_is_quiet():
    assert verdicts(20, 30, 1.05, Machine(noise=0.01), seed=13) == {"faster": 20}
