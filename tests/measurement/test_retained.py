"""How much of the baseline's score is kept."""

import pytest

from lsbench.measurement.quality import task_scores
from lsbench.measurement.retained import retained
from lsbench.metrics import Measured
from lsbench.store.scores import TaskValues


def scored(values: list[float]) -> TaskValues:
    return TaskValues(
        n=len(values),
        failed=0,
        metrics={"pass@1": Measured(value=sum(values) / len(values))},
        higher_is_better={"pass@1": True},
        per_doc={"pass@1": dict(enumerate(values))},
        weights={},
    )


def test_it_is_a_share_of_the_baseline_s_with_the_difference_s_own_interval():
    baseline = scored([1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    scores = task_scores(scored([1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]), baseline, affected=True)
    found = retained("pass@1", scores, 5 / 8)
    assert found is not None
    assert found.value == pytest.approx(4 / 5)
    interval = scores.difference["pass@1"].ci95
    assert interval is not None
    assert found.ci95 is not None
    assert found.ci95[0] == pytest.approx(1 + interval[0] / (5 / 8))
    assert found.ci95[0] < found.value <= found.ci95[1]


def test_where_no_document_changed_it_is_not_certain_that_all_is_kept():
    same = scored([1.0] + [0.0] * 19)
    found = retained("pass@1", task_scores(same, same, affected=True), 1 / 20)
    assert found is not None
    assert found.value == 1
    assert found.ci95 is not None
    # One in six may change unseen, which is more than the baseline solves.
    assert found.ci95[0] < 0


def test_where_the_baseline_scores_nothing_nothing_is_said():
    nothing = scored([0.0] * 8)
    assert retained("pass@1", task_scores(nothing, nothing, affected=True), 0.0) is None
    assert retained("acc", task_scores(nothing, nothing, affected=True), 1.0) is None
