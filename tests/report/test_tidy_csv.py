from __future__ import annotations

import csv
import io

from lsbench.report.tidy_csv import run_csv


def test_a_run_is_one_figure_a_line(metrics_of, slower):
    metrics = metrics_of(slower, notes=("A note,\nof two lines.",))
    lines = list(csv.DictReader(io.StringIO(run_csv(metrics))))
    ours = [line for line in lines if line["strategy"] == slower.label]
    figures = {line["figure"]: line for line in ours if line["kind"] == "figure" and not line["task"]}
    assert (figures["speedup"]["value"], figures["speedup"]["low"], figures["speedup"]["high"]) == (
        "0.931", "0.912", "0.949",
    )  # fmt: skip
    assert (figures["speedup"]["verdict"], figures["speedup"]["prompts"]) == ("slower", "8")
    assert figures["mean_layers"]["value"] == "24.31"
    # What does not apply has no line, so that no zero is ever read for it.
    assert "acceptance_rate" not in figures
    bits = next(line for line in ours if line["task"] == "humaneval_bpb" and line["kind"] == "difference")
    assert (bits["figure"], bits["value"], bits["against"], bits["verdict"]) == (
        "bits_per_byte", "0.089", "autoregressive", "worse",
    )  # fmt: skip
    assert [line["note"] for line in lines if line["kind"] == "note"] == ["A note, of two lines."]
