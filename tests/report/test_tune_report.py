"""The reports of a search, from its folder alone."""

import csv
import io
import re
import xml.etree.ElementTree as ElementTree

import pytest

from lsbench.errors import BadInput
from lsbench.report.tune_charts import tune_charts
from lsbench.report.tune_folder import StoredTune, option_text, speed_front
from lsbench.report.tune_grid import grid_csv, grid_of
from lsbench.report.tune_maps import contour
from lsbench.report.tune_report import write_tune_reports
from support.tune_folder import finalists, grid_trials, skipping_trials, trial, write_search

SHARES = {"skip_set": 0.61, "max_skip_ratio": 0.2}


@pytest.fixture
def searched(tmp_path):
    return write_search(tmp_path / "found", skipping_trials(), finalists(), shares=SHARES)


@pytest.fixture
def grid(tmp_path):
    trials = grid_trials()
    return write_search(
        tmp_path / "grid", trials, strategy="self_speculative:draft=static_exit", search="grid"
    )


def read(folder, name="report.html") -> str:
    return (folder / name).read_text(encoding="utf-8")


def test_the_verdict_comes_first_and_every_trial_is_a_row(searched):
    assert write_tune_reports(searched) == ("report.html", "report.md")
    trials = len(skipping_trials()) + len(finalists())
    html, markdown = read(searched), read(searched, "report.md")
    assert html.index("1.140 × as fast as the baseline") < html.index("<h2>")
    assert len(re.findall(r'<th scope="row">(?:final|timed|predicted) \d+</th>', html)) == trials
    assert len(re.findall(r"^\| (?:final|timed|predicted) \d+ \|", markdown, re.MULTILINE)) == trials
    assert markdown.index("1.140 × as fast as the baseline") < markdown.index("What was found")
    for text in (html, markdown):
        assert f"lsbench run --config {searched / 'best.yaml'}" in text
        assert "faster than the default" in text
        assert "timed out: took more than 60 s" in text
        assert "2 of 46 trials failed" in text
    write_tune_reports(searched)
    assert read(searched) == html


def test_nothing_that_a_stranger_wrote_is_markup(tmp_path):
    folder = write_search(
        tmp_path / "x", skipping_trials(), finalists(), notes=("<script>alert(1)</script>",)
    )
    write_tune_reports(folder)
    assert "<script" not in read(folder)
    assert "<b>" not in read(folder)
    assert "&lt;script&gt;" in read(folder, "report.md")


def test_no_configuration_is_said_in_those_words(tmp_path):
    losing = [trial.model_copy(update={"speedup_ci95": (0.95, 1.2)}) for trial in finalists()]
    folder = write_search(tmp_path / "none", skipping_trials(), losing)
    write_tune_reports(folder)
    assert "dynamic_skip: no configuration beats the baseline here." in read(folder)
    assert "does not pay for itself" in read(folder)
    assert 'class="verdict even"' in read(folder)


def test_settings_that_go_deeper_over_their_own_text_are_told(tmp_path):
    def deeper(by: float) -> str:
        trials = [
            each.model_copy(update={"mean_layers": each.mean_layers * by}) if each.kind == "timed" else each
            for each in skipping_trials()
        ]
        folder = write_search(tmp_path / f"{by}", trials, finalists())
        write_tune_reports(folder)
        return read(folder, "report.md")

    text = "ran 31.5 layers a token; over the full model's own text, which predictions rest on, 26.2"
    assert text in deeper(1.2)
    assert "which predictions rest on" not in deeper(1.02)


def test_a_search_that_was_stopped_says_how_to_go_on(tmp_path):
    folder = write_search(tmp_path / "stopped", skipping_trials()[:4])
    write_tune_reports(folder)
    assert "the search has not ended; so far the best of 4 trials is" in read(folder)
    assert f"lsbench tune --resume {folder}" in read(folder)
    empty = write_search(tmp_path / "empty", [])
    write_tune_reports(empty)
    assert "none is finished" in read(empty)


def test_a_risk_that_nothing_was_calibrated_for_is_told(tmp_path):
    folder = write_search(tmp_path / "risky", skipping_trials(), finalists(), risk=0.05)
    write_tune_reports(folder)
    assert "nothing here holds what --risk asked for" in read(folder)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"tune\.json"):
        write_tune_reports(tmp_path)


def test_charts_are_well_formed_and_hold_every_trial(searched):
    tune = StoredTune.open(searched)
    charts = {chart.name: chart for chart in tune_charts(tune)}
    assert list(charts) == ["front", "importance", "skips", "convergence"]
    for chart in charts.values():
        ElementTree.fromstring(str(chart.drawing))
    front, convergence = str(charts["front"].drawing), str(charts["convergence"].drawing)
    assert front.count('class="dot predicted"') == convergence.count('class="dot predicted"') == 38
    assert front.count('class="dot timed"') == 6
    assert front.count('class="dot final"') == 2
    assert convergence.count('class="dot failed"') == 2
    assert "61%" in str(charts["importance"].drawing)


def test_the_front_is_of_what_was_timed_where_anything_was(searched, tmp_path):
    front, measured = speed_front(StoredTune.open(searched).tuning)
    assert measured
    assert all(trial.kind == "timed" for trial in front)
    only = write_search(tmp_path / "only", [t for t in skipping_trials() if t.kind == "predicted"])
    front, measured = speed_front(StoredTune.open(only).tuning)
    assert not measured
    qualities = [trial.quality or 0.0 for trial in front]
    assert qualities == sorted(qualities)


def test_the_map_shows_what_the_best_left_out(searched):
    skips = next(chart for chart in tune_charts(StoredTune.open(searched)) if chart.name == "skips")
    assert "22 attention 100%" in skips.summary
    assert "18 attention" in skips.summary  # a whole layer is both of its halves
    attention, mlp = re.findall(r'class="skip \w+" d="([^"]*)"', str(skips.drawing))
    assert attention.count("M") > mlp.count("M") > 0


def test_a_grid_is_a_map_and_a_table(grid):
    assert write_tune_reports(grid) == ("report.html", "report.md", "grid.csv")
    drawn = grid_of(StoredTune.open(grid))
    assert drawn is not None
    assert drawn.columns == (8, 12, 16, 20, 24)
    assert drawn.rows == (1, 3, 5, 7)
    assert drawn.values[3][0] is None  # the one that failed
    assert drawn.measured
    assert drawn.best is not None
    row, column = drawn.best
    assert (drawn.columns[column], drawn.rows[row]) in ((16, 3), (16, 5))
    assert "The thick line" in read(grid)
    rows = list(csv.DictReader(io.StringIO(read(grid, "grid.csv"))))
    assert len(rows) == 20
    assert rows[0]["draft.exit_layer"] == "8"
    assert [row["status"] for row in rows].count("failed") == 1
    best = max(rows, key=lambda row: float(row["speedup"] or 0))
    assert best["draft.exit_layer"] == "16"
    assert 'class="contour even"' in read(grid)


def test_another_search_has_no_grid(searched):
    assert grid_of(StoredTune.open(searched)) is None
    assert grid_csv(StoredTune.open(searched)) is None


def test_what_was_fixed_is_not_repeated_with_every_trial():
    text = "self_speculative:draft=static_exit,draft.exit_layer=8,draft_stop=0,num_speculations=3"
    point = {"draft.exit_layer@static_exit": 8, "num_speculations": 3, "draft.kv_fill?": False}
    assert option_text(trial(0, text, point=point)) == "draft.exit_layer=8,num_speculations=3"
    assert option_text(trial(0, text, point={})) == text.removeprefix("self_speculative:")
    assert option_text(trial(0, "dynamic_skip")) == "as it is"


def test_contours_lie_where_the_surface_has_their_value():
    values = [[0.1 * column + row for column in range(4)] for row in range(3)]
    pieces = list(contour(values, 1.15))
    assert pieces
    for piece in pieces:
        for column, row in piece:
            assert 0.1 * column + row == pytest.approx(1.15)
    assert list(contour([[0.0, None], [2.0, 2.0]], 1.0)) == []
    saddle = list(contour([[2.0, 0.0], [0.0, 2.0]], 0.9))
    assert len(saddle) == 2
    # Their middle is above, so that the two low corners are cut off, each by its own piece.
    for one, other in saddle:
        assert abs(one[0] - other[0]) < 0.6
        assert abs(one[1] - other[1]) < 0.6
