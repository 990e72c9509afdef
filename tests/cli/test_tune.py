"""``lsbench tune`` and what knows its folders: from the command line to the reports."""

import json
import signal
from pathlib import Path

import pytest

from lsbench.tuning.trials import TRIALS, TrialsFile, read_manifest
from support.tune_folder import finalists, skipping_trials, write_search

MANY = """
custom_dataset: !function many.many
test_split: test
output_type: generate_until
doc_to_text: "Question: what colour is {{thing}}? Answer:"
doc_to_target: "{{['blue','green','red'][colour]}}"
generation_kwargs: {until: ["zz"], max_gen_toks: 12, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
DATA = """
from datasets import Dataset
def many(**_):
    return {"test": Dataset.from_list([{"thing": f"thing {i}", "colour": i % 3} for i in range(9)])}
"""
ONE = "tiny_generate"


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A folder with a task that has documents enough for two purposes."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "many.py").write_text(DATA)
    (folder / "many.yaml").write_text(f"task: tiny_many\n{MANY}")
    return folder


@pytest.fixture
def tune_of(tiny_model, tiny_tasks, results):
    def make(*more, tasks: str = ONE, include: Path | None = None) -> list[str]:
        common = ["--model", tiny_model, "--include-path", include or tiny_tasks, "--output", results]
        return ["tune", *map(str, common), "--threads", "1", "--tasks", tasks, *map(str, more)]

    return make


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-s", "dynamic_ext"), ["strategy 'dynamic_ext'", "'dynamic_exit'"]),
        (("-s", "static_exit:exit_layr=2"), ["'exit_layr'", "'exit_layer'"]),
        (("-s", "static_exit", "--space", "exit_layr=1..3"), ["--space", "'exit_layr'", "'exit_layer'"]),
        (("-s", "static_exit", "--fix", "kv_fil=mask"), ["'kv_fil'", "'kv_fill'"]),
        (("-s", "static_exit", "--fix", "kv_fill=mesk"), ["kv_fill", "mesk", "mask"]),
        (("-s", "static_exit", "--space", "exit_layer=0..3"), ["exit_layer", "0"]),
        (("-s", "static_exit", "--space", "exit_layer=2..9"), ["exit_layer", "9", "4"]),
        (("-s", "static_exit", "--space", "exit_layer=3..2"), ["exit_layer", "3..2"]),
        (("-s", "static_exit", "--space", "exit_layer"), ["--space 'exit_layer'", "NAME=LOW..HIGH"]),
        (("-s", "static_exit", "--space-file", "/nowhere.yaml"), ["/nowhere.yaml"]),
        (("-s", "static_exit", "--replicas", "3", "--concurrency", "2"), ["--replicas 3", "--concurrency 2"]),
        (("-s", "static_exit", "--backend", "local"), ["--backend local", "Ray places the trials"]),
        (("-s", "dynamic_exit", "--space", "threshold=0.5..0.9", "--fix", "threshold=0.7"), ["both fixed"]),
        (("-s", "static_exit", "--minimize", "tpot", "--maximize", "speedup"), ["exclude each other"]),
        (("-s", "static_exit", "--minimize", "speedup"), ["--maximize speedup"]),
        (("-s", "static_exit", "--maximize", "sped"), ["--maximize", "'sped'", "'speedup'"]),
        (("-s", "static_exit", "--time_budget", "soon"), ["--time-budget 'soon'", "20m"]),
        (("-s", "static_exit", "--search", "hyperopr"), ["--search", "'hyperopt'"]),
        (("-s", "static_exit", "--skip-sets", "lader"), ["--skip-sets", "'ladder'"]),
        (("-s", "static_exit", "--trials", "0"), ["--trials 0"]),
        (("-s", "static_exit", "--min-quality", "98"), ["--min-quality 98"]),
        (("-s", "static_exit", "--quality", "exact_macth"), ["--quality", "'exact_macth'", "'exact_match'"]),
        (("-s", "static_exit", "--delta", "0.1"), ["--delta", "--risk"]),
        (("-s", "static_exit", "--risk", "0.1"), ["--risk", "dynamic_exit"]),
        (("-s", "static_exit", "-s", "dynamic_exit"), ["2 strategies", "--strategy NAME once"]),
        ((), ["No strategy given", "--strategy NAME"]),
        (("-s", "static_exit", "--limit", "4"), ["5 documents", "9 are needed", "--limit"]),
        (("-s", "static_exit", "--model", "smollm2-135m-instuct"), ["smollm2-135m-instruct"]),
        (("-s", "static_exit", "--resume", "none"), ["No search 'none'"]),
    ],
)  # fmt: skip
def test_a_mistake_ends_before_anything_is_loaded(cli, tune_of, results, monkeypatch, more, words):
    def refuse(*_: object) -> None:
        raise AssertionError("Ray is started")

    monkeypatch.setattr("lsbench.execution.cluster.backend.ClusterBackend.__enter__", refuse)
    said = cli(*tune_of(*more))
    assert said.code == 2
    for word in words:
        assert word in said.error
    assert not results.exists() or list(results.iterdir()) == []


def test_the_tasks_are_needed_and_named(cli, tune_of):
    arguments = tune_of("-s", "static_exit")
    at = arguments.index("--tasks")
    assert "No task given" in cli(*arguments[:at], *arguments[at + 2 :]).error


def test_ls_and_report_know_a_search(cli, tmp_path):
    folder = write_search(tmp_path / "20261126-120000-tune_humaneval-x-0001", skipping_trials(), finalists())
    listed = cli("ls", "runs", "-o", tmp_path)
    assert folder.name in listed.out
    said = " ".join(listed.out.split())
    assert "search, complete · smollm2-135m-instruct · humaneval · " in said
    assert "1.14× (1.11–1.17) the best found, faster" in said
    for name in (folder.name, "latest", str(folder), "2026"):
        (folder / "report.html").unlink(missing_ok=True)
        said = cli("report", name, "-o", tmp_path)
        assert said.code == 0
        assert "1.140 × as fast as the baseline" in " ".join(said.out.split())
        assert (folder / "report.html").exists()
    summary = json.loads(cli("report", "latest", "-o", tmp_path, "--json").out)
    assert summary["tune_id"] == folder.name
    assert summary["beats_baseline"] is True
    assert summary["best"]["speedup"] == 1.14
    assert summary["default"]["options"] == {}
    assert summary["search"]["predicted"] == {"trials": 40, "failed": 2, "seconds": pytest.approx(8.0)}
    assert summary["payback"]["tokens"] > 0
    assert cli("report", "latest", "-o", tmp_path, "-q").out == f"{folder}\n"
    assert "--rescore is for runs" in cli("report", "latest", "-o", tmp_path, "--rescore").error


def test_a_search_that_was_stopped_is_summed_up_too(cli, tmp_path):
    folder = write_search(tmp_path / "stopped", skipping_trials()[:7])
    summary = json.loads(cli("report", "stopped", "-o", tmp_path, "--json").out)
    assert (summary["status"], summary["words"], summary["best"]) == ("interrupted", None, None)
    assert summary["best_so_far"]["kind"] == "predicted"
    assert summary["config"] is None
    assert f"lsbench tune --resume {folder}" in summary["verdict"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_search_is_stopped_goes_on_and_is_reported(cli, processes, tune_of, many, results, tmp_path):
    arguments = tune_of(
        "-s", "static_exit", "--limit", 3, "--trials", 40, "--timed", 2, "--space", "exit_layer=1..4",
        tasks="tiny_many", include=many,
    )  # fmt: skip
    process = processes.start(arguments, tmp_path)
    process.says("predicted trial 3:")
    said = process.signal(signal.SIGINT)
    assert said.code == 130
    (folder,) = results.iterdir()
    assert f"lsbench tune --resume {folder}" in said.err.splitlines()[-1]
    kept = {trial.key for trial in TrialsFile(folder / TRIALS).read().trials}
    assert len(kept) >= 4
    assert read_manifest(folder).status == "interrupted"
    assert "the search has not ended" in (folder / "report.html").read_text()

    said = cli("tune", "--resume", "latest", "--output", results, "--seed", 5)
    assert said.code == 2
    assert "--seed differs" in said.error
    said = cli("tune", "--resume", "latest", "--output", results, "--json")
    assert said.code == 0, said.err
    summary = json.loads(said.out)
    assert summary["folder"] == str(folder)
    assert summary["status"] == "complete"
    trials = TrialsFile(folder / TRIALS).read().trials
    assert kept <= {trial.key for trial in trials}
    assert summary["search"]["timed"]["trials"] == 2
    html = (folder / "report.html").read_text()
    assert summary["verdict"] in html
    assert html.count('<th scope="row">predicted ') == summary["search"]["predicted"]["trials"]
    assert "trials were finished before" in said.err
    assert len([line for line in said.err.splitlines() if "predicted trial" in line]) < len(trials)
    # Given flags go before what the search had; the rest is its own.
    ran = cli("run", "--config", folder / "best.yaml", "--tasks", "tiny_many", "--limit", 1, "--json")
    assert ran.code == 0, ran.err
    (strategy,) = json.loads(ran.out)["strategies"]
    assert strategy["name"] == "static_exit"
    assert strategy["options"] == summary["best"]["options"]
    assert strategy["speed"]["pairs"] == 1
    assert set(summary["best"]["options"]) <= {"exit_layer", "kv_fill"}
