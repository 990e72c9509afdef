from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from lsbench.measurement.quality import difference, task_scores
from lsbench.metrics import Measured


@dataclass(frozen=True)
class Sums:
    """Matches and how many there could have been, by document; the metric is their ratio, squared."""

    parts: Mapping[int, tuple[float, ...]]

    formula = None

    def value(self, sums: Sequence[float]) -> float:
        return (sums[0] / sums[1]) ** 2


@dataclass(frozen=True)
class Scores:
    n: int
    metrics: Mapping[str, Measured]
    per_doc: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    weights: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    failed: int = 0
    totals: Mapping[str, Sums] = field(default_factory=dict)


def scores(metric: str, values: Mapping[int, float], value: float | None = None) -> Scores:
    mean = sum(values.values()) / len(values) if values else 0.0
    measured = Measured(value=mean if value is None else value)
    return Scores(len(values), {metric: measured}, {metric: values})


def test_pass_fail_difference_by_hand():
    baseline = scores("pass@1", dict.fromkeys(range(8), 1.0) | dict.fromkeys(range(8, 20), 0.0))
    strategy = scores("pass@1", dict.fromkeys(range(2), 1.0) | dict.fromkeys(range(2, 20), 0.0))
    found = difference("pass@1", strategy, baseline)
    assert found is not None
    assert found.value == pytest.approx(-6 / 20)
    assert found.p_value == pytest.approx(2 / 2**6)
    assert found.ci95 is not None
    assert found.ci95[0] < -6 / 20 < found.ci95[1] < 0


def test_unchanged_pass_fail_does_not_claim_certainty():
    same = scores("pass@1", {doc: float(doc % 2) for doc in range(20)})
    found = difference("pass@1", same, same)
    assert found is not None
    reach = 1 - 0.025 ** (1 / 20)
    assert (found.value, found.p_value) == (0, 1)
    assert found.ci95 == pytest.approx((-reach, reach))


def test_only_shared_documents_count():
    baseline = scores("pass@1", {0: 1.0, 1: 0.0, 2: 1.0})
    strategy = scores("pass@1", {1: 1.0, 2: 1.0, 3: 0.0})
    found = difference("pass@1", strategy, baseline)
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.ci95 is None
    assert difference("pass@1", scores("pass@1", {0: 1.0}), scores("pass@1", {1: 1.0})) is None


def test_graded_metric_has_an_interval_and_no_p_value():
    baseline = scores("f1", {doc: 0.1 * doc for doc in range(10)})
    strategy = scores("f1", {doc: 0.1 * doc - 0.05 - 0.001 * doc for doc in range(10)})
    found = difference("f1", strategy, baseline)
    assert found is not None
    assert found.value == pytest.approx(-0.0545)
    assert found.p_value is None
    assert found.ci95 is not None
    assert found.ci95[0] < found.value < found.ci95[1] < 0


def test_weighted_metric_weighs_its_documents():
    """Bits per byte counts each document by its bytes, in the value and in the interval."""
    bytes_of = {0: 10.0, 1: 200.0, 2: 30.0, 3: 40.0, 4: 50.0, 5: 60.0}
    before = {0: 1.0, 1: 2.0, 2: 1.5, 3: 0.5, 4: 2.5, 5: 1.2}
    after = {doc: value + 0.1 + 0.01 * doc for doc, value in before.items()}

    def weighed(values: dict[int, float]) -> Scores:
        total = sum(bytes_of[doc] * value for doc, value in values.items()) / sum(bytes_of.values())
        return Scores(6, {"bpb": Measured(value=total)}, {"bpb": values}, {"bpb": bytes_of})

    found = difference("bpb", weighed(after), weighed(before))
    assert found is not None
    assert found.value == pytest.approx(
        weighed(after).metrics["bpb"].value - weighed(before).metrics["bpb"].value
    )
    assert found.value != pytest.approx(sum(after.values()) / 6 - sum(before.values()) / 6)
    assert found.ci95 is not None
    assert 0.1 <= found.ci95[0] < found.value < found.ci95[1] <= 0.15
    assert found.p_value is None


def test_metric_without_documents_has_a_difference_only():
    baseline = Scores(5, {"bleu": Measured(value=20.0)})
    strategy = Scores(5, {"bleu": Measured(value=18.0)})
    found = difference("bleu", strategy, baseline)
    assert found is not None
    assert (found.value, found.ci95, found.p_value) == (-2.0, None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_figure_is_made_of_what_is_not_finite(bad: float):
    baseline = scores("perplexity", dict.fromkeys(range(6), 2.0))
    strategy = scores("perplexity", {**dict.fromkeys(range(5), 2.0), 5: bad}, value=bad)
    assert difference("perplexity", strategy, baseline) is None


@pytest.mark.parametrize(
    ("before", "after", "tells"),
    [
        ([0, 0, 0], [0, 0, 0], False),
        ([1, 1, 1], [1, 1, 1], False),
        ([0, 0, 0], [0, 1, 0], True),
        ([1, 1, 1], [1, 1, 0], True),
        ([0, 1, 0], [0, 1, 0], True),
        ([0, 0, 0], [1, 1, 1], True),
    ],
)
def test_tells_apart(before: list[float], after: list[float], tells: bool):
    baseline = scores("pass@1", dict(enumerate(before)))
    strategy = scores("pass@1", dict(enumerate(after)))
    assert task_scores(strategy, baseline, affected=True).tells_apart is tells


def test_one_metric_that_moves_is_enough():
    def both(second: float) -> Scores:
        return Scores(
            2,
            {"pass@1": Measured(value=0), "bits_per_byte": Measured(value=second)},
            {"pass@1": {0: 0.0, 1: 0.0}, "bits_per_byte": {0: second, 1: second}},
        )

    assert task_scores(both(1.2), both(1.1), affected=True).tells_apart
    nothing = Scores(2, {"bleu": Measured(value=0)})
    assert not task_scores(nothing, nothing, affected=True).tells_apart


def test_task_without_a_baseline_is_reported_alone():
    found = task_scores(scores("pass@1", {0: 1.0}), None, affected=True)
    assert found.difference == {}
    assert not found.tells_apart
    assert found.metrics["pass@1"].value == 1


def of_sums(parts: Mapping[int, tuple[float, ...]]) -> Scores:
    return Scores(len(parts), {"bleu": Measured(value=0.5)}, totals={"bleu": Sums(parts)})


def test_a_metric_of_the_corpus_is_made_again_from_each_resamples_sums():
    before = {doc: (4.0 + doc % 3, 8.0) for doc in range(12)}
    after = {doc: (matches - 1.0 - doc % 2, among) for doc, (matches, among) in before.items()}
    found = difference("bleu", of_sums(after), of_sums(before))
    assert found is not None
    # 60 of 96 matched before, 60 - 12 - 6 after.
    assert found.value == pytest.approx((42 / 96) ** 2 - (60 / 96) ** 2)
    assert found.p_value is None
    assert found.ci95 is not None
    assert found.ci95[0] < found.value < found.ci95[1] < 0


def test_sums_are_compared_over_shared_documents():
    found = difference(
        "bleu", of_sums({1: (2.0, 4.0), 2: (4.0, 4.0)}), of_sums({0: (0.0, 9.0), 1: (1.0, 4.0)})
    )
    assert found is not None
    assert (found.value, found.ci95) == (pytest.approx(1 / 4 - 1 / 16), None)
    assert difference("bleu", of_sums({1: (2.0, 4.0)}), of_sums({0: (1.0, 4.0)})) is None
