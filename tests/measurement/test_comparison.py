"""Runs side by side, by figures that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lsbench.comparison import Comparison, PairDifference
from lsbench.errors import BadInput
from lsbench.measurement.comparison import compare
from lsbench.store.stored_run import StoredRun, read_run
from support.stored_runs import Made, make_run

EXIT = "static_exit:exit_layer=2"
SKIP = "dynamic_skip"
SOLVED = (True, True, True, True, False, False)
LOST = (True, False, False, False, False, True)
BASELINE = Made([1, 2, 3, 4, 5, 3], SOLVED)
TWICE_AS_SLOW = Made([2, 4, 6, 8, 10, 6], SOLVED)

Make = Callable[..., StoredRun]


@pytest.fixture(scope="module", autouse=True)
def fewer_resamples():
    """Enough for what is asked of an interval here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsbench.measurement.statistics._RESAMPLES", 499)
        yield


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Make:
    """A stored run of made strategies beside a baseline of 18 seconds over six prompts."""
    output = tmp_path_factory.mktemp("runs")

    def stored(made: Mapping[str, Made], baseline: Made = BASELINE, **how) -> StoredRun:
        return read_run(make_run(output, {"autoregressive": baseline, **made}, **how))

    return stored


@pytest.fixture(scope="module")
def first(make: Make) -> StoredRun:
    """A1 decodes in 6 s, three times as fast; A2 in 18 s."""
    return make(
        {
            EXIT: Made([1, 1, 1, 1, 1, 1], LOST, agreed=(5, 5, 5, 5, 5, 5)),
            SKIP: Made([1, 2, 3, 4, 5, 3], SOLVED, agreed=(10, 9, 8, 9, 10, 8)),
        }
    )


@pytest.fixture(scope="module")
def second(make: Make) -> StoredRun:
    """On a machine half as fast, B1 decodes in 24 s: 1.5 times as fast as its baseline."""
    exits = Made([4, 4, 4, 4, 4, 4], SOLVED, agreed=(5, 5, 5, 5, 5, 5))
    return make({EXIT: exits}, TWICE_AS_SLOW)


@pytest.fixture(scope="module")
def both(first: StoredRun, second: StoredRun) -> Comparison:
    return compare([first, second])


def pair(comparison: Comparison, row: str, against: str) -> PairDifference:
    return next(each for each in comparison.pairs if (each.row, each.against) == (row, against))


def test_strategies_of_one_run_are_held_against_each_other_directly(both: Comparison):
    found = pair(both, "A2", "A1")
    assert not found.across_processes
    assert found.speed is not None
    assert found.speed.value == pytest.approx(6 / 18)
    assert found.speed.ci95 is not None
    assert found.speed.ci95[0] < 6 / 18 < found.speed.ci95[1] < 1
    assert (found.speed.verdict, found.speed.prompts) == ("slower", 6)


def test_between_runs_it_is_one_speedup_over_the_other(both: Comparison):
    found = pair(both, "B1", "A1")
    assert found.across_processes
    assert found.speed is not None
    assert found.speed.value == pytest.approx(1.5 / 3)
    # On every prompt: (2 / 4) / (1 / 1), (4 / 4) / (2 / 1), ...: always one half.
    assert found.speed.ci95 == pytest.approx((0.5, 0.5))


def test_a_machine_in_another_state_is_told_and_nothing_within_it_is_believed(both: Comparison):
    baseline = both.runs[1].baseline_speed
    assert both.runs[0].baseline_speed is None
    assert baseline is not None
    assert baseline.value == pytest.approx(0.5)
    assert any("ran 0.50 times as fast in run B as in run A" in note for note in both.notes)
    speed = pair(both, "B1", "A1").speed
    assert speed is not None
    assert speed.swing == pytest.approx(1)
    assert speed.verdict == "no significant difference"


def test_the_same_state_allows_a_verdict(make: Make, first: StoredRun):
    slower = make({EXIT: Made([1.5] * 6, LOST)})
    found = pair(compare([first, slower]), "B1", "A1").speed
    assert found is not None
    assert found.value == pytest.approx(1 / 1.5)
    assert found.swing == pytest.approx(0)
    assert found.verdict == "slower"


def test_quality_is_compared_document_by_document(both: Comparison):
    scores = pair(both, "A2", "A1").tasks["things"]
    change = scores.difference["exact_match"]
    # Solved 4 against 2: three documents gained, one lost, so p = 2 * P(at most 1 of 4 heads) = 10 / 16.
    assert change.value == pytest.approx(2 / 6)
    assert change.p_value == pytest.approx(10 / 16)
    assert change.ci95 is not None
    assert change.ci95[0] < 0 < change.ci95[1]
    assert scores.tells_apart


def test_token_agreement_is_compared_prompt_by_prompt(both: Comparison):
    change = pair(both, "A2", "A1").token_agreement
    assert change is not None
    assert change.value == pytest.approx(54 / 60 - 30 / 60)
    assert change.ci95 is not None
    assert 0 < change.ci95[0] < 0.4 < change.ci95[1]
    same = pair(both, "B1", "A1").token_agreement
    assert same is not None
    assert same.ci95 == (0, 0)


def test_rows_are_the_runs_own_figures(both: Comparison, first: StoredRun):
    assert [row.key for row in both.rows] == ["A0", "A1", "A2", "B0", "B1"]
    row = both.row("A1")
    assert (row.label, row.is_baseline) == (EXIT, False)
    speed = first.metrics.strategies[0].speed
    assert speed is not None
    assert row.speedup == speed.speedup
    assert row.scores == {"things": first.metrics.strategies[0].tasks["things"].metrics}
    with pytest.raises(KeyError):
        both.row("C1")


def test_the_front_has_what_nothing_beats(both: Comparison):
    scores, agreement = both.fronts
    assert scores.quality == "things exact_match"
    # A1 is fastest; B1 as good as the baseline and faster; A0 and A2 are beaten by B1.
    assert [(point.row, point.on_front) for point in scores.points] == [
        ("A1", True),
        ("B1", True),
        ("A0", False),
        ("A2", False),
    ]
    assert agreement.quality == "token agreement"
    assert [point.row for point in agreement.points if point.on_front] == ["A1", "A0"]


def test_everything_against_one(first: StoredRun, second: StoredRun):
    found = compare([first, second], against="A2")
    assert [(each.row, each.against) for each in found.pairs] == [("A1", "A2"), ("B1", "A2")]
    with pytest.raises(BadInput, match=r"Unknown row in --against 'A3'.*'A2'"):
        compare([first, second], against="A3")


def test_too_many_pairs_are_not_shown(make: Make, monkeypatch: pytest.MonkeyPatch, first: StoredRun):
    monkeypatch.setattr("lsbench.measurement.comparison.MOST_PAIRS", 2)
    found = compare([first, make({EXIT: BASELINE})])
    assert [(each.row, each.against) for each in found.pairs] == [("A2", "A1"), ("B1", "A1")]
    assert any("3 pairs are too many to show" in note for note in found.notes)


def test_without_scores_of_documents_quality_has_no_interval(make: Make, first: StoredRun):
    found = compare([first, make({EXIT: Made([1] * 6, SOLVED)}, scores=False)])
    change = pair(found, "B1", "A1").tasks["things"].difference["exact_match"]
    assert change.value == pytest.approx(2 / 6)
    assert (change.ci95, change.p_value) == (None, None)
    assert any("Run B has no scores of its documents" in note and "--rescore" in note for note in found.notes)


def test_a_metric_of_the_whole_corpus_is_made_again_from_what_resampled_documents_add_up_to(make: Make):
    ours, theirs = (8, 9, 8, 7, 9, 8), (4, 5, 4, 3, 5, 4)
    one, other = (make({EXIT: Made([1] * 6, SOLVED, alike=alike)}) for alike in (ours, theirs))
    change = pair(compare([one, other]), "B1", "A1").tasks["things"].difference["bleu"]
    # All runs of words alike in so many of ten: BLEU is that share, with as many words as the reference.
    assert change.value == pytest.approx(100 * (sum(theirs) - sum(ours)) / 60)
    # Each document of the one is four of ten better, so that whatever is drawn differs by as much.
    assert change.ci95 == pytest.approx((change.value, change.value))


def test_too_few_prompts_have_no_interval(make: Make):
    few = [Made([1, 1, 1], SOLVED[:3]), Made([1, 2, 1], SOLVED[:3])]
    found = compare([make({EXIT: few[0], SKIP: few[1]}, Made([1, 1, 1], SOLVED[:3]))])
    speed = found.pairs[0].speed
    assert speed is not None
    assert speed.value == pytest.approx(3 / 4)
    assert (speed.ci95, speed.verdict) == (None, "no significant difference")


def test_one_run_needs_two_strategies(second: StoredRun):
    with pytest.raises(BadInput, match="one strategy alone"):
        compare([second])


def test_a_run_is_named_once(first: StoredRun):
    with pytest.raises(BadInput, match="is named twice; leave one out"):
        compare([first, first])


def test_it_crosses_json_whole(both: Comparison):
    assert Comparison.model_validate_json(both.model_dump_json(by_alias=True)) == both


def test_a_finished_run_is_needed(make: Make, tmp_path: Path, first: StoredRun):
    folder = make_run(tmp_path, {"autoregressive": BASELINE, EXIT: BASELINE})
    (folder.path / "metrics.json").unlink()
    with pytest.raises(BadInput, match=r"stopped before it had metrics: `lsbench run --resume"):
        read_run(folder)
