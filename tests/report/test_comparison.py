"""A comparison in every form: the same figures, the same warning."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from rich.console import Console

from lsbench.comparison import (
    ComparedRun,
    Comparison,
    Front,
    FrontPoint,
    Mismatch,
    PairDifference,
    Row,
    SpeedRatio,
)
from lsbench.metrics import Agreement, Ceiling, Difference, Measured, ModelInfo, Speedup, TaskScores
from lsbench.report.comparison_content import grids, sentences, warning
from lsbench.report.comparison_pages import comparison_html, comparison_markdown
from lsbench.report.comparison_table import ComparisonTable
from lsbench.report.latex import comparison_latex
from lsbench.report.tidy_csv import comparison_csv

RUN = ComparedRun(
    key="A",
    run_id="20260101-a",
    reference="20260101-a",
    created=datetime(2026, 1, 1, 10, tzinfo=UTC),
    status="complete",
    model=ModelInfo(id="tiny", num_layers=30, dtype="float32", sha256="ab"),
    machine="Made-up 3000, 2 cores, 1 thread",
    tasks=("things",),
    baseline="autoregressive",
    documents=12,
    tokens_per_second=25.0,
    noise=0.01,
)
BASELINE = Row(
    key="A0",
    run="A",
    label="autoregressive",
    is_baseline=True,
    lossless=True,
    claim_failed=False,
    speedup=None,
    tokens_per_second=25.0,
    scores={"things": {"exact_match": Measured(value=0.5, stderr=0.1)}},
    token_agreement=None,
    acceptance_rate=None,
    mean_accepted_length=None,
    mean_layers=None,
    ceiling=None,
    peak_bytes=1 << 20,
)
EXIT = BASELINE.model_copy(
    update={
        "key": "A1",
        "label": "static_exit:exit_layer=20",
        "is_baseline": False,
        "lossless": False,
        "speedup": Speedup(value=1.5, ci95=(1.4, 1.6), verdict="faster"),
        "scores": {"things": {"exact_match": Measured(value=0.25, stderr=0.1)}},
        "token_agreement": Agreement(value=0.6, ci95=(0.55, 0.65)),
        "mean_layers": 20.0,
        "ceiling": Ceiling(speedup=1.6, achieved_fraction=0.94),
    }
)
SKIP = EXIT.model_copy(
    update={
        "key": "B1",
        "run": "B",
        "label": "dynamic_skip",
        "speedup": Speedup(value=0.9, ci95=(0.85, 0.95), verdict="slower"),
        "scores": BASELINE.scores,
        "token_agreement": Agreement(value=0.9, ci95=(0.87, 0.93)),
    }
)
GONE = EXIT.model_copy(
    update={
        "key": "B2", "run": "B", "label": "hf_gone", "unavailable": "needs <CUDA>", "speedup": None,
        "scores": {}, "token_agreement": None, "ceiling": None, "mean_layers": None, "peak_bytes": None,
    }
)  # fmt: skip
PAIR = PairDifference(
    row="B1",
    against="A1",
    across_processes=True,
    speed=SpeedRatio(value=0.6, ci95=(0.55, 0.65), verdict="slower", prompts=12),
    token_agreement=Difference(value=0.3, ci95=(0.25, 0.35)),
    tasks={
        "things": TaskScores(
            n=12,
            failed=0,
            affected_by_strategy=True,
            tells_apart=True,
            metrics=SKIP.scores["things"],
            difference={"exact_match": Difference(value=0.25, ci95=(0.05, 0.45), p_value=0.03)},
        )
    },
)
OTHER = RUN.model_copy(
    update={
        "key": "B",
        "run_id": "20260102-b",
        "baseline_speed": SpeedRatio(value=1.1, ci95=(1.05, 1.15), verdict="faster", prompts=12),
    }
)
FRONT = Front(
    quality="things exact_match",
    higher_is_better=True,
    points=(
        FrontPoint(row="A1", speedup=1.5, speedup_ci95=(1.4, 1.6), quality=0.25, on_front=True),
        FrontPoint(row="A0", speedup=1.0, speedup_ci95=None, quality=0.5, on_front=True),
        FrontPoint(row="B1", speedup=0.9, speedup_ci95=(0.85, 0.95), quality=0.5, on_front=False),
    ),
)
COMPARISON = Comparison(
    forced=False,
    mismatches=(),
    runs=(RUN, OTHER),
    rows=(BASELINE, EXIT, BASELINE.model_copy(update={"key": "B0", "run": "B"}), SKIP, GONE),
    pairs=(PAIR,),
    fronts=(FRONT,),
    notes=("Each is taken against its own run's baseline.",),
)
FORCED = COMPARISON.model_copy(
    update={
        "forced": True,
        "mismatches": (Mismatch(what="dtype", values={"A": "float32", "B": "bfloat16"}),),
    }
)


def terminal(comparison: Comparison, width: int = 100) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False).print(ComparisonTable(comparison))
    return stream.getvalue()


FORMS: tuple[Callable[[Comparison], str], ...] = (
    terminal,
    comparison_markdown,
    comparison_html,
    comparison_csv,
    comparison_latex,
)


def test_a_sentence_tells_speed_and_what_it_costs():
    assert sentences(COMPARISON) == [
        (
            "B1 dynamic_skip against A1 static_exit:exit_layer=20: slower, 0.60× (0.55–0.65); "
            "things exact_match is better, +0.250 (+0.050 to +0.450), p = 0.03.",
            "bad",
        )
    ]


def test_of_many_pairs_the_table_tells():
    many = COMPARISON.model_copy(update={"pairs": (PAIR,) * 13})
    told = sentences(many)
    assert len(told) == 11
    assert told[-1] == ("3 more: see the table.", "plain")
    assert len(grids(many)[2].rows) == 13


def test_tables_leave_out_what_applies_to_nobody():
    speed, quality, differences, runs = grids(COMPARISON)
    assert speed.heads == ("strategy", "speedup", "layers/token", "best possible", "peak memory")
    assert [cell.text for cell in speed.rows[1]] == [
        "A1 static_exit:exit_layer=20", "1.50× (1.40–1.60), faster", "20.0 of 30", "1.60×, 94% reached",
        "1.00 MiB",
    ]  # fmt: skip
    assert speed.rows[4][1].text == "cannot run here: needs <CUDA>"
    assert quality.heads == ("strategy", "token agreement", "things exact_match")
    assert [cell.text for cell in differences.rows[0]] == [
        "B1 against A1",
        "0.60× (0.55–0.65), slower",
        "+30.0% (+25.0% to +35.0%), closer",
        "+0.250 (+0.050 to +0.450), p = 0.03, better",
    ]
    assert [cell.text for cell in runs.rows[1]] == [
        "B", "12", "25.0", "1.10× (1.05–1.15), across processes", "1%",
    ]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_figures_and_warns_only_where_it_must(form):
    plain, forced = form(COMPARISON), form(FORCED)
    for text in (plain, forced):
        assert re.search(r"0\.60?\D", text)
        assert "20260102-b" in text.replace("-{}-", "--")
    assert warning(COMPARISON) is None
    assert "NOT COMPARABLE" not in plain
    flat = " ".join(forced.split())
    assert "NOT COMPARABLE" in flat
    assert "dtype (A float32, B bfloat16)" in flat


def test_csv_is_one_figure_a_line():
    lines = list(csv.DictReader(io.StringIO(comparison_csv(FORCED))))
    assert lines[0]["kind"] == "warning"
    (ratio,) = [
        line for line in lines if line["figure"] == "speed_ratio" and line["strategy"] == "dynamic_skip"
    ]
    assert {name: value for name, value in ratio.items() if value} == {
        "kind": "difference",
        "run": "20260102-b",
        "strategy": "dynamic_skip",
        "against_run": "20260101-a",
        "against": "static_exit:exit_layer=20",
        "figure": "speed_ratio",
        "value": "0.6",
        "low": "0.55",
        "high": "0.65",
        "prompts": "12",
        "verdict": "slower",
        "note": "across processes",
    }
    (score,) = [line for line in lines if line["kind"] == "difference" and line["task"] == "things"]
    assert (score["value"], score["p_value"], score["verdict"]) == ("0.25", "0.03", "better")


def test_markdown_tables_are_whole():
    text = comparison_markdown(COMPARISON)
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in rows}) <= 1
    assert (
        "| A1 static_exit:exit_layer=20 | 1.50× (1.40–1.60) | 0.250 | as measured, no other is as good"
        in text
    )
    assert "needs &lt;CUDA&gt;" in text


def test_the_page_escapes_and_holds_its_charts():
    page = comparison_html(COMPARISON)
    assert "needs &lt;CUDA&gt;" in page
    assert "<CUDA>" not in page
    assert page.count('class="plotly-figure"') == 1
    assert 'id="plotly-library"' in page
    without = comparison_html(COMPARISON.model_copy(update={"fronts": ()}))
    assert 'id="plotly-library"' not in without


def test_the_terminal_shows_every_row_at_any_width():
    for width in (60, 200):
        shown = terminal(COMPARISON, width)
        assert max(map(len, shown.splitlines())) <= width
        assert "Speed against things exact_match" in shown
        assert "A1*" in shown
