from __future__ import annotations

import numpy as np
import pytest

from lsbench.measurement.bounds import (
    Cycles,
    best_draft,
    depth_speedup,
    draft_speedup,
    play,
    steady,
    upper_share,
)
from lsbench.records import StepCost

L = 10
COSTS = tuple(
    StepCost(
        width=width,
        context=8,
        layer_s=1.0 + 0.1 * (width - 1),
        attention_s=None,
        mlp_s=None,
        head_s=2.0,
        fixed_s=1.0,
    )
    for width in (1, 17)
)


def test_a_text_is_played_through_by_hand():
    #          taken  taken  wrong | taken  wrong | the last is the full model's own
    right = [True, True, False, True, False, True]
    assert play(right, 4) == Cycles(count=3, drafted=4 + 2 + 0, taken=3, tokens=6)
    assert play(right, 1) == Cycles(count=4, drafted=4 - 1, taken=2, tokens=6)
    assert play([], 3) == Cycles(0, 0, 0, 0)


def test_speed_of_a_depth():
    assert depth_speedup(4, COSTS, L) == pytest.approx((10 + 3) / (4 + 3))


def test_speed_of_a_draft_by_hand():
    cycles = Cycles(count=2, drafted=4, taken=3, tokens=5)
    # Two steps of three layers; then three rows, of which the drafted two begin after layer 3.
    cycle = 2 * (3 + 2 + 1) + (3 * 1 + 7 * 1.2) + 3
    assert draft_speedup(cycles, 3, 3, COSTS, L) == pytest.approx(2.5 * 13 / cycle)
    half = draft_speedup(cycles, 3, 3, COSTS, L, head=0.5)
    assert half == pytest.approx(2.5 * 13 / (cycle - 2 * 0.5 * 2))


def test_the_best_length_follows_the_runs():
    sure, never = np.ones(60, dtype=bool), np.zeros(60, dtype=bool)
    assert best_draft([sure], 1, 1, COSTS, L).num_speculations > 4
    assert best_draft([sure], 1, 1, COSTS, L).speedup > 1.5
    worst = best_draft([never], 9, 9, COSTS, L)
    assert worst.num_speculations == 1
    assert worst.speedup < 0.7
    assert worst.cycles.acceptance == 0


def test_the_upper_end_of_a_share():
    # Wilson's interval for 8 of 100, as in textbooks: 0.0411 to 0.1500.
    assert upper_share(8, 100) == pytest.approx(0.1500, abs=5e-5)
    assert upper_share(100, 100) == 1


def test_no_step_takes_longer_than_a_wider_one():
    slow = COSTS[0].model_copy(update={"layer_s": 4.0, "attention_s": 1.0, "mlp_s": 3.0})
    narrow, wide = steady((COSTS[1], slow))
    assert wide == COSTS[1]
    assert narrow.layer_s == COSTS[1].layer_s
    assert (narrow.attention_s, narrow.mlp_s) == pytest.approx((0.65, 1.95))
    assert steady(COSTS) == COSTS
