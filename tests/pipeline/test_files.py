"""What a run leaves in its folder: every key of the design, and figures that say what happened."""

import json
from collections import Counter

import pytest

from lsbench.errors import EXIT_DONE
from lsbench.metrics import BaselineMetrics, Metrics, StrategyMetrics
from lsbench.records import SampleRecord
from support.runs import STRATEGIES, TASKS, lines_of

# The example of the design: a figure that does not apply is null, but no key is ever missing.
METRICS = json.loads(
    """
{"schema": 1, "run_id": "...", "status": "complete",
 "model": {"id": "...", "num_layers": 30, "dtype": "float32", "sha256": "..."},
 "baseline": {"strategy": "autoregressive", "tokens_per_second": 0, "ttft_s": {"p50": 0, "p95": 0},
   "tpot_s": {"p50": 0, "p95": 0}, "tasks": {"humaneval": {"pass@1": {"value": 0, "stderr": 0}}}},
 "strategies": [{"name": "dynamic_skip", "options": {}, "lossless": false,
   "tasks": {"humaneval": {"n": 164, "failed": 0, "affected_by_strategy": true,
      "metrics": {"pass@1": {"value": 0, "stderr": 0}},
      "difference": {"pass@1": {"value": 0, "ci95": [0, 0]}}}},
   "speed": {"speedup": {"value": 0, "ci95": [0, 0], "verdict": "faster"},
      "end_to_end_speedup": {"value": 0, "ci95": [0, 0]}, "tokens_per_second": 0,
      "ttft_s": {"p50": 0, "p95": 0}, "tpot_s": {"p50": 0, "p95": 0}, "generated_tokens": 0},
   "depth": {"mean_layers": 0, "histogram": [0]},
   "fidelity": {"identical_outputs": 0, "common_prefix_fraction": 0,
      "token_agreement": {"value": 0, "ci95": [0, 0]}},
   "speculation": {"drafted": 0, "accepted": 0, "acceptance_rate": 0, "mean_accepted_length": 0,
      "verify_passes": 0},
   "parity": {"compared": 0, "identical": 0, "numerical_ties": 0, "violations": 0},
   "ceiling": {"speedup": 0, "achieved_fraction": 0},
   "memory": {"peak_bytes": 0, "kv_bytes": 0}}]}
"""
)
SAMPLE = json.loads(
    """
{"schema": 1, "strategy": "dynamic_skip", "options": {}, "task": "humaneval", "doc_id": 0, "repeat": 0,
 "kind": "generate", "prompt": "...", "prompt_tokens": 152, "token_ids": [], "text": "...",
 "stop_reason": "stop_string", "ttft_s": 0, "decode_s": 0, "layers_run": [], "drafted": 0, "accepted": 0,
 "peak_bytes": 0, "replica": 0, "attempt": 1, "error": null}
"""
)
NULL_HERE = {"speculation", "parity", "ceiling", "stderr", "ci95"}
"""No strategy here drafts; lm-eval gives some metrics no standard error."""
_OF_TASKS = ".strategies[].tasks"
NAMED_BY_THE_RUN = {".baseline.tasks", ".baseline.tasks[]", ".strategies[].options", _OF_TASKS}
NAMED_BY_THE_RUN |= {f"{_OF_TASKS}[].metrics", f"{_OF_TASKS}[].difference"}


def walk(example, actual, path=""):
    """Every key of the example is in the real file, with a value of the same kind or null."""
    if actual is None:
        assert path.rsplit(".", 1)[-1] in NULL_HERE, path
    elif path in NAMED_BY_THE_RUN:
        for value in actual.values():
            if example:
                walk(next(iter(example.values())), value, f"{path}[]")
    elif isinstance(example, dict):
        assert set(example) <= set(actual), path
        for key, value in example.items():
            walk(value, actual[key], f"{path}.{key}")
    elif isinstance(example, list):
        assert isinstance(actual, list), path
        for value in actual:
            walk(example[0], value, f"{path}[]")
    elif isinstance(example, bool | str):
        assert type(actual) is type(example), path
    else:
        assert isinstance(actual, int | float), path


def test_metrics_have_every_key_of_the_design(whole):
    written = json.loads((whole.folder.path / "metrics.json").read_text())
    walk(METRICS, written)
    assert set(written) == {f.alias or name for name, f in Metrics.model_fields.items()}
    assert set(written["baseline"]) == set(BaselineMetrics.model_fields)
    for strategy in written["strategies"]:
        assert set(strategy) == set(StrategyMetrics.model_fields)
        assert set(strategy["tasks"]) == set(TASKS)
        for key in ("speed", "depth", "fidelity", "memory"):
            assert strategy[key] is not None
    assert [s["label"] for s in written["strategies"]] == list(STRATEGIES)
    assert (written["status"], whole.exit_code) == ("complete", EXIT_DONE)


def test_sample_lines_have_every_key_of_the_design(whole):
    lines = lines_of(whole.folder.path)
    assert {line["kind"] for line in lines} == {"generate", "score", "fidelity"}
    for line in lines:
        assert set(line) == {f.alias or name for name, f in SampleRecord.model_fields.items()}
        assert set(SAMPLE) < set(line)
        given = {key for key, value in line.items() if value is not None}
        if line["kind"] == "generate":
            expected = {"token_ids", "text", "stop_reason", "ttft_s", "decode_s", "layers_run"}
            expected |= {"checks", "filled", "spare_heads", "older_rows", "own_passes", "ridden"}
            expected |= {"peak_bytes", "kv_bytes", "token_s", "token_texts"}
        else:
            expected = {"logprob", "is_greedy"} if line["kind"] == "score" else {"agreement"}
        always = {"schema", "strategy", "options", "label", "task", "doc_id", "idx", "repeat", "kind"}
        always |= {"arguments_sha256", "prompt", "prompt_tokens"}
        always |= {"replica", "attempt", "segment", "batch_size"}
        assert given == always | expected


def test_every_request_runs_once_under_everyone(whole):
    counts = Counter((line["label"], line["kind"], line["task"]) for line in lines_of(whole.folder.path))
    for label in ("autoregressive", *STRATEGIES):
        for task, number in zip(TASKS, (5, 5, 15, 5, 3), strict=True):
            kind = "generate" if task in TASKS[:2] else "score"
            assert counts[label, kind, task] == number
            assert counts[label, "fidelity", task] == (
                number if kind == "generate" and label != "autoregressive" else 0
            )
    keys = [record.key for record in whole.folder.records()]
    assert len(keys) == len(set(keys)) == len(lines_of(whole.folder.path))


def test_the_figures_say_what_happened(whole):
    full, half, skipping = whole.metrics.strategies
    assert full.fidelity.token_agreement.value == 1
    assert full.fidelity.common_prefix_fraction == 1
    assert full.fidelity.identical_outputs == full.fidelity.compared == 10
    assert full.depth.mean_layers == 4
    assert half.fidelity.token_agreement.value < 1
    assert half.depth.mean_layers == 2
    assert 0 < skipping.depth.mean_layers < 4
    assert half.tasks["tiny_rolling"].metrics != full.tasks["tiny_rolling"].metrics
    assert full.tasks["tiny_rolling"].metrics.keys() == whole.metrics.baseline.tasks["tiny_rolling"].keys()
    for task, scores in full.tasks.items():
        for name, measured in scores.metrics.items():
            assert measured.value == pytest.approx(whole.metrics.baseline.tasks[task][name].value, rel=1e-5)
    assert whole.metrics.baseline.memory.peak_bytes > 2**27


def test_reports_and_manifest_are_written(whole):
    manifest = json.loads((whole.folder.path / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["threads"] == 1
    assert set(manifest["data_sha256"]) == set(TASKS)
    assert manifest["model"]["num_layers"] == 4
    assert manifest["model"]["dtype"] == "float32"
    assert manifest["sandbox"] is None
    assert "static_exit" in (whole.folder.path / "report.html").read_text()
    assert "static_exit" in (whole.folder.path / "report.md").read_text()
    assert {path.name for path in whole.folder.path.iterdir()} <= {
        *(
            "manifest.json",
            "samples.jsonl",
            "metrics.json",
            "scores.json",
            "report.html",
            "report.md",
            ".lock",
        ),
    }
