"""Which of the predicted settings is timed next."""

from __future__ import annotations

from typing import Any

from lsbench.tuning.trials import Trial
from lsbench.tuning.worth_timing import next_to_time, to_be_timed


def trial(number: int, predicted: float, point: dict[str, Any], **fields: Any) -> Trial:
    return Trial.model_validate(
        {
            "number": number,
            "kind": "predicted",
            "status": "ok",
            "strategy": "s",
            "options": point,
            "label": f"s:{number}",
            "point": point,
            "objective": predicted,
            "predicted_speedup": predicted,
            "quality": 1.0,
            "seconds": 1.0,
            "seed": 0,
            **fields,
        }
    )


def timed(of: Trial, speedup: float | None, **fields: Any) -> Trial:
    changed = {"kind": "timed", "speedup": speedup, "objective": speedup, **fields}
    return of.model_copy(update=changed)


NEAR = [trial(n, 1.4 - n / 100, {"fill": "mask", "ratio": 0.5 + n / 100}) for n in range(4)]
OTHER = trial(9, 1.25, {"fill": "recompute", "ratio": 0.1})
ALL = [*NEAR, OTHER]


def test_the_best_predicted_comes_first():
    assert next_to_time([OTHER, *NEAR[::-1]], 2) == NEAR[0]
    assert to_be_timed(ALL, 2) == 2
    assert to_be_timed(ALL, 9) == 5


def test_what_came_true_is_followed_by_the_next_best_predicted():
    assert next_to_time([*ALL, timed(NEAR[0], 1.38)], 2) == NEAR[1]


def test_neighbours_of_what_did_not_come_true_wait():
    assert next_to_time([*ALL, timed(NEAR[0], 0.8)], 2) == OTHER
    # The others are still the best of what is left.
    assert next_to_time([*ALL, timed(NEAR[0], 0.8), timed(OTHER, 1.2)], 3) in NEAR[1:]


def test_a_failed_one_counts_and_corrects_nothing():
    after = [*ALL, timed(NEAR[0], None, status="failed")]
    assert next_to_time(after, 2) == NEAR[1]
    assert next_to_time(after, 1) is None
    assert to_be_timed(after, 2) == 1


def test_no_more_than_asked_and_nothing_twice():
    after = [*ALL, *(timed(each, 1.0) for each in ALL)]
    assert next_to_time(after, 99) is None
    assert to_be_timed(after, 99) == 0
    assert next_to_time([], 3) is None
    # What the search timed by itself was not among the best predicted.
    own = timed(OTHER, 1.0, label="s:0", predicted_speedup=None)
    assert next_to_time([*ALL, own], 1) == NEAR[1]


def test_of_those_predicted_alike_one_is_timed():
    twin = trial(5, 1.4, {"fill": "mask", "ratio": 0.501})
    assert to_be_timed([NEAR[0], twin], 5) == 1
    assert next_to_time([NEAR[0], twin, timed(NEAR[0], 1.4)], 5) is None


def test_what_falls_short_of_a_floor_comes_last_however_fast():
    short = trial(7, -0.2, {"fill": "mask", "ratio": 0.9}, predicted_speedup=2.0)
    assert next_to_time([short, OTHER], 1) == OTHER
    assert next_to_time([short, OTHER, timed(OTHER, 0.5)], 2) == short
