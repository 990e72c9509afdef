"""Whole searches: what is tried, what is kept, and what survives whatever happens."""

import html
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lsbench.errors import BadInput, Interrupted
from lsbench.execution.cluster.session import RaySession
from lsbench.report.tune_report import write_tune_reports
from lsbench.spec import RunSpec, parse_strategy
from lsbench.store.samples import SamplesFile
from lsbench.tuning.folder import FINAL_SAMPLES, TuneFolder
from lsbench.tuning.measuring import PENALTY
from lsbench.tuning.proposing import proposals_of, proposed
from lsbench.tuning.space_building import build_space
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.trials import read_manifest
from lsbench.tuning.tune import tune
from support.tuning import Watched, trials_in, write_failing, write_task

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("one_thread")]

EXAMPLE = Path(__file__).parents[2] / "strategies" / "example_prompt_lookup"


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """Two packages of third parties, in this process's path and in that of all that Ray starts for it."""
    folder = tmp_path_factory.mktemp("plugins")
    write_failing(folder)
    shutil.copytree(EXAMPLE / "lsbench_prompt_lookup", folder / "lsbench_prompt_lookup")
    metadata = folder / "lsbench_prompt_lookup-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lsbench-prompt-lookup\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text(
        "[lsbench.strategies]\nprompt_lookup = lsbench_prompt_lookup:PromptLookup\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield folder


@pytest.fixture(scope="module", autouse=True)
def one_ray(plugins):
    session = RaySession(None, None)
    yield session
    session.close(None)


@pytest.fixture(scope="module")
def make_spec(tiny_model, tmp_path_factory):
    tasks = tmp_path_factory.mktemp("many")
    write_task(tasks)

    def make(strategy: str, limit: int = 2, **options) -> TuneSpec:
        run = RunSpec(
            strategies=(parse_strategy(strategy),),
            tasks=("tiny_many",),
            model=str(tiny_model),
            include_path=str(tasks),
            output=str(tmp_path_factory.mktemp("results")),
            threads=1,
            dtype="float64",
            limit=limit,
        )
        return TuneSpec(run=run, **options)

    return make


def test_a_search_predicts_times_the_best_and_judges_on_what_it_never_saw(make_spec):
    spec = make_spec("dynamic_exit:kv_fill=mask", trials=8, timed=2, seed=3)
    outcome = tune(spec, view := Watched())
    folder, result = outcome.folder, outcome.result
    manifest, trials = read_manifest(folder), trials_in(folder)
    assert trials == view.trials
    assert manifest.status == "complete"
    predicted = [trial for trial in trials if trial.kind == "predicted"]
    assert [trial.number for trial in predicted] == list(range(8))
    assert len({trial.label for trial in predicted}) == 8
    assert predicted[0].origin == "default"
    timed = [trial for trial in trials if (trial.kind, trial.documents) == ("timed", "tuning")]
    assert 1 <= len(timed) <= 2
    assert timed[0].label == max(predicted, key=lambda trial: trial.objective).label
    finals = [trial for trial in trials if trial.documents == "final"]
    assert finals[-1].origin == "default"
    assert all(trial.prompts == 11 and trial.speedup_ci95 for trial in finals)
    assert manifest.split is not None
    (tuning,), (final,) = manifest.split.tuning.values(), manifest.split.final.values()
    assert (len(tuning), len(final)) == (2, 11)
    samples = SamplesFile(folder / FINAL_SAMPLES).read().records
    assert {key.doc_id for key in samples} == set(final)
    assert result.best is not None
    assert result.best.label in {trial.label for trial in finals}
    assert result.search_s == manifest.search_s > 0
    best = RunSpec.model_validate(yaml.safe_load((folder / "best.yaml").read_text()))
    assert best.strategies[0].label == result.best.label
    assert (best.limit, best.replicas) == (None, 1)


def test_a_threshold_with_a_guarantee_is_what_best_yaml_holds_and_what_the_report_says(make_spec):
    spec = make_spec("dynamic_exit", limit=1, trials=3, timed=1, risk=0.6, delta=0.1)
    outcome = tune(spec, Watched())
    result, manifest = outcome.result, read_manifest(outcome.folder)
    assert result.calibration is not None
    assert result.best is not None
    threshold = result.best.options["threshold"]
    held = f"threshold={threshold:g} holds a mean loss of at most 0.6 with confidence 0.9"
    assert result.calibration.startswith(f"{held}, calibrated on 6 prompts.")
    assert result.best.origin == "prediction"
    # Twelve documents that the search did not see: half calibrate, half judge.
    samples = SamplesFile(outcome.folder / FINAL_SAMPLES).read().records
    assert manifest.split is not None
    assert len({key.doc_id for key in samples}) == 6
    assert {key.doc_id for key in samples} < set(manifest.split.final["tiny_many"])
    text = (outcome.folder / "best.yaml").read_text()
    assert f"# {result.calibration}\n" in text
    best = RunSpec.model_validate(yaml.safe_load(text))
    assert best.strategies[0].options["threshold"] == threshold
    write_tune_reports(outcome.folder)
    for name in ("report.html", "report.md"):
        report = html.unescape((outcome.folder / name).read_text()).replace("\\", "")
        assert result.calibration in report


def test_quality_is_a_task_s_own_metric_and_trials_run_side_by_side_where_that_is_asked(make_spec):
    spec = make_spec(
        "static_exit", limit=1, final_limit=6, trials=3, search="grid", grid_points=3, concurrency=2,
        quality="letters", min_quality=0.5, space={"exit_layer": [1, 3]},
    )  # fmt: skip
    outcome = tune(spec, view := Watched())
    notes = read_manifest(outcome.folder).notes
    assert any(note.startswith("2 trials run at a time and in each other's way") for note in notes)
    assert any("what a setting would score in letters is not predicted" in note for note in notes)
    assert {trial.kind for trial in view.trials} == {"timed"}
    finals = [trial for trial in view.trials if trial.documents == "final"]
    assert {trial.quality_name for trial in finals} == {"letters"}
    result = outcome.result
    assert result.scores is not None
    assert result.best is not None
    texts: dict[str, list[float]] = {}
    for record in SamplesFile(outcome.folder / FINAL_SAMPLES).read().records.values():
        if record.kind == "generate":
            share = sum(map(str.isalpha, record.text)) / max(1, len(record.text))
            texts.setdefault(record.label, []).append(share)
    ours, theirs = texts[result.best.label], texts["autoregressive"]
    assert len(ours) == len(theirs) == 6
    assert result.best.quality == pytest.approx(sum(ours) / sum(theirs))
    assert result.best.quality_bound is not None
    assert result.best.quality_bound < result.best.quality
    scores = result.scores.strategies[result.best.label]["tiny_many"]
    assert (scores.n, scores.failed) == (6, 0)
    assert scores.metrics["letters"].value == pytest.approx(sum(ours) / 6)
    assert result.scores.baseline["tiny_many"]["letters"].value == pytest.approx(sum(theirs) / 6)
    write_tune_reports(outcome.folder)
    report = (outcome.folder / "report.md").read_text()
    assert "| tiny_many letters |" in report
    with pytest.raises(BadInput, match=r"--quality of task 'tiny_many':.*'leters'.*'letters'"):
        tune(spec.model_copy(update={"quality": "leters"}), Watched())


@pytest.mark.deepspeed
def test_a_trial_may_be_ranks_that_share_a_model(make_spec):
    spec = make_spec(
        "static_exit", limit=1, final_limit=5, trials=2, search="grid", space={"exit_layer": [2]}
    )
    run = spec.run.model_copy(update={"tensor_parallel": 2, "dtype": "float32"})
    outcome = tune(spec.model_copy(update={"run": run}), view := Watched())
    assert {(trial.kind, trial.status) for trial in view.trials} == {("timed", "ok")}
    assert any("by one process" in note for note in read_manifest(outcome.folder).notes)
    result = outcome.result
    assert result.best is not None
    assert result.best.options["exit_layer"] == 2
    assert result.best.prompts == 5
    assert result.best.mean_layers == 2
    best = RunSpec.model_validate(yaml.safe_load((outcome.folder / "best.yaml").read_text()))
    assert (best.tensor_parallel, best.replicas) == (2, 1)


def test_whatever_a_trial_dies_of_the_search_goes_on(make_spec):
    spec = make_spec(
        "failing:exit_layer=3", limit=1, final_limit=5, trials=5, search="grid", trial_timeout_s=6
    )
    spec = spec.model_copy(update={"run": spec.run.model_copy(update={"temperature": 1.0})})
    outcome = tune(spec, Watched())
    tried = {
        trial.options.get("fault", "none"): trial
        for trial in trials_in(outcome.folder)
        if trial.documents == "tuning"
    }
    assert {fault: trial.status for fault, trial in tried.items()} == {
        "none": "ok",
        "raise": "failed",
        "kill": "failed",
        "hang": "timed_out",
        "refuse": "failed",
    }
    assert "CUDA out of memory" in tried["raise"].reason
    assert "died" in tried["kill"].reason
    assert "cannot calibrate" in tried["refuse"].reason
    assert "longer than 6 seconds" in tried["hang"].reason
    assert {trial.objective for trial in tried.values() if trial.status != "ok"} == {PENALTY}
    assert outcome.result.best is not None
    assert "fault" not in outcome.result.best.options


def follows(folder: Path, spec: TuneSpec) -> None:
    """Every trial is what the searcher proposes when it knows just those before it: none was forgotten."""
    tried = proposed(trials_in(folder))
    space = build_space(spec.strategy, 4)
    assert [trial.number for trial in tried] == list(range(spec.trials))
    for place, trial in enumerate(tried):
        proposal = proposals_of(spec, space, tried[:place]).next()
        assert proposal is not None
        assert (proposal.number, proposal.choice.label) == (trial.number, trial.label)


def test_an_interrupted_search_keeps_the_best_and_goes_on_as_if_it_had_not_been(make_spec):
    # Of a third party's strategy, that nothing here knows.
    spec = make_spec("prompt_lookup", limit=1, final_limit=5, trials=9, timed=1)
    with pytest.raises(Interrupted, match="lsbench tune --resume"):
        tune(spec, Watched(stop_after=5))
    (path,) = Path(spec.run.output).iterdir()
    before = trials_in(path)
    assert len(before) == 5
    assert read_manifest(path).status == "interrupted"
    best = RunSpec.model_validate(yaml.safe_load((path / "best.yaml").read_text()))
    assert best.strategies[0].label == max(before, key=lambda trial: trial.objective).label
    folder = TuneFolder.resume(path)
    with pytest.raises(BadInput, match="being written"):
        TuneFolder.resume(path)
    outcome = tune(spec, view := Watched(), folder)
    after = trials_in(outcome.folder)
    assert after[:5] == before
    assert after[5:] == view.trials
    follows(path, spec)
    assert read_manifest(path).segments == 2
    assert outcome.result.default is not None
    assert outcome.result.default.prompts == 5
    assert outcome.result.default.quality == 1


def test_a_search_that_is_killed_loses_nothing_and_repeats_nothing(make_spec, tmp_path):
    spec = make_spec("dynamic_exit", limit=1, final_limit=5, trials=12, timed=1, seed=5)
    asked = tmp_path / "spec.json"
    asked.write_text(spec.model_dump_json())
    program = (
        "import sys, time\nfrom lsbench.tuning.spec import TuneSpec\nfrom lsbench.tuning.tune import tune\n"
        "from support.tuning import Watched\n"
        "class Slow(Watched):\n    def trial_started(self, *_): time.sleep(0.1)\n"
        f"tune(TuneSpec.model_validate_json(open({str(asked)!r}).read()), Slow())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    searching = subprocess.Popen([sys.executable, "-c", program], env=environment)
    results = Path(spec.run.output)
    until = time.monotonic() + 200
    while not any(len(trials_in(path)) >= 6 for path in results.iterdir()):
        assert searching.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    searching.send_signal(signal.SIGKILL)
    searching.wait()
    (path,) = results.iterdir()
    before = trials_in(path)
    assert 6 <= len(before) < 12
    outcome = tune(spec, Watched(), TuneFolder.resume(path))
    after = trials_in(outcome.folder)
    assert after[: len(before)] == before
    follows(path, spec)
    assert outcome.result.best is not None
