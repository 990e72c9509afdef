import json
from collections import Counter
from pathlib import Path

import pytest

from lsbench import pipeline
from lsbench.errors import EXIT_DONE, EXIT_SAMPLES_FAILED, BadInput
from lsbench.metrics import BaselineMetrics, Metrics, StrategyMetrics
from lsbench.records import SampleRecord
from lsbench.report.live import LiveView
from lsbench.spec import RunSpec, StrategyChoice, parse_strategy
from lsbench.store.run_folder import RunFolder
from lsbench.strategy import Emitted, Strategy

pytestmark = pytest.mark.usefixtures("one_thread")

TASKS = ("tiny_generate", "tiny_stop", "tiny_choice", "tiny_target", "tiny_rolling")
STRATEGIES = ("static_exit:exit_layer=4", "static_exit:exit_layer=2", "dynamic_skip")

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


@pytest.fixture(scope="module")
def spec_for(tiny_model, tiny_tasks, tmp_path_factory):
    def make(*strategies: str, tasks=TASKS, **options) -> RunSpec:
        return RunSpec(
            strategies=tuple(map(parse_strategy, strategies)),
            tasks=tasks,
            **{
                "model": str(tiny_model),
                "include_path": str(tiny_tasks),
                "output": str(tmp_path_factory.mktemp("results")),
                "threads": 1,
                **options,
            },
        )

    return make


def go(spec: RunSpec, resume: RunFolder | None = None) -> pipeline.RunOutcome:
    return pipeline.run(spec, LiveView(quiet=True), resume)


@pytest.fixture(scope="module")
def whole(spec_for):
    """One run of everything, looked at from many sides."""
    return go(spec_for(*STRATEGIES))


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


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
            expected = {"token_ids", "text", "stop_reason", "ttft_s", "decode_s", "layers_run", "peak_bytes"}
        else:
            expected = {"logprob", "is_greedy"} if line["kind"] == "score" else {"agreement"}
        always = {"schema", "strategy", "options", "label", "task", "doc_id", "idx", "repeat", "kind"}
        always |= {"arguments_sha256", "prompt", "prompt_tokens", "replica", "attempt", "segment"}
        assert given == always | expected | ({"kv_bytes"} if line["kind"] == "generate" else set())


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
        *("manifest.json", "samples.jsonl", "metrics.json", "report.html", "report.md", ".lock"),
    }


# -- against lm-eval's own hf model and transformers' own generate --------------------------------------


def lm_eval_of_its_own(spec, monkeypatch):
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from lsbench.evaluation.isolation import isolated

    # Describing the machine takes lm-eval two seconds, and nothing here reads it.
    monkeypatch.setattr(evaluator, "add_env_info", lambda results: None)
    with isolated({"DISABLE_MULTIPROC": "1"}):
        results = evaluator.simple_evaluate(
            model=HFLM(pretrained=spec.model, batch_size=4, device="cpu", dtype="float32"),
            tasks=list(spec.tasks),
            task_manager=TaskManager(include_path=spec.include_path, include_defaults=False),
            num_fewshot=spec.num_fewshot,
            limit=spec.limit,
            apply_chat_template=spec.apply_chat_template,
            fewshot_as_multiturn=spec.apply_chat_template,
            bootstrap_iters=0,
        )
    return {
        (task, sample["doc_id"], idx): response[0]
        for task, samples in results["samples"].items()
        for sample in samples
        for idx, response in enumerate(sample["resps"])
    }


def agree(folder, theirs):
    ours = [r for r in folder.records() if r.label == "autoregressive" and r.kind != "fidelity"]
    assert {(r.task, r.doc_id, r.idx) for r in ours} == set(theirs)
    for record in ours:
        wanted = theirs[record.task, record.doc_id, record.idx]
        if record.kind == "generate":
            assert record.text == wanted
        elif isinstance(wanted, tuple):
            assert record.logprob == pytest.approx(wanted[0], abs=1e-4)
            assert record.is_greedy == wanted[1]
        else:
            assert record.logprob == pytest.approx(wanted, abs=1e-4)


def test_texts_and_log_likelihoods_equal_those_of_lm_evals_own_model(whole, spec_for, monkeypatch):
    agree(whole.folder, lm_eval_of_its_own(whole.folder.manifest.spec, monkeypatch))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"num_fewshot": 1}, {"num_fewshot": 1, "apply_chat_template": True, "limit": 3}]
)
def test_so_they_do_with_examples_and_as_a_chat(options, spec_for, monkeypatch):
    spec = spec_for("static_exit:exit_layer=4", **options)
    agree(go(spec).folder, lm_eval_of_its_own(spec, monkeypatch))


def test_tokens_are_those_of_transformers_own_generate(whole, tiny_model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    written = [r for r in whole.folder.records() if r.kind == "generate" and r.label == "autoregressive"]
    assert {record.stop_reason for record in written} >= {"stop_string", "max_new_tokens"}
    for record in written:
        prompt = tokenizer(record.prompt, return_tensors="pt").input_ids
        assert prompt.shape[1] == record.prompt_tokens
        limit = 12 if record.task == "tiny_generate" else 30
        theirs = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=limit, do_sample=False
        )[0, prompt.shape[1] :].tolist()
        assert theirs[: len(record.token_ids)] == list(record.token_ids)
        if record.stop_reason == "max_new_tokens":
            assert len(record.token_ids) == limit


# -- options that act ------------------------------------------------------------------------------------


def test_repeats_and_sampling_act_and_clashes_are_noted(spec_for):
    spec = spec_for(
        "static_exit:exit_layer=4",
        tasks=("tiny_generate",),
        repeats=3,
        limit=2,
        temperature=1.5,
        top_k=50,
        max_new_tokens=6,
        seed=3,
    )
    outcome = go(spec)
    records = [r for r in outcome.folder.records() if r.kind == "generate"]
    assert {(r.doc_id, r.repeat) for r in records} == {(d, n) for d in (0, 1) for n in (0, 1, 2)}
    assert len(records) == 2 * 3 * 2
    by_label = {
        label: {(r.doc_id, r.repeat): r.token_ids for r in records if r.label == label}
        for label in ("autoregressive", "static_exit:exit_layer=4")
    }
    drawn = by_label["autoregressive"]
    assert drawn == by_label["static_exit:exit_layer=4"]
    assert len(set(drawn.values())) > 3
    assert max(map(len, drawn.values())) == 6
    assert outcome.metrics.strategies[0].fidelity.token_agreement.value == 1
    notes = outcome.folder.manifest.notes
    assert any("temperature" in note and "1.5" in note for note in notes)
    assert set(notes) <= set(outcome.metrics.notes)
    other = go(spec.model_copy(update={"seed": 4}))
    assert {r.token_ids for r in other.folder.records() if r.kind == "generate"} != set(drawn.values())


def test_a_strategy_that_is_the_baseline_is_not_run_twice(spec_for):
    outcome = go(spec_for("autoregressive", "static_exit:exit_layer=2", tasks=("tiny_choice",), limit=1))
    assert {r.label for r in outcome.folder.records()} == {"autoregressive", "static_exit:exit_layer=2"}
    assert [s.label for s in outcome.metrics.strategies] == ["static_exit:exit_layer=2"]
    alone = go(spec_for("autoregressive", tasks=("tiny_choice",), limit=1))
    assert alone.metrics.strategies == ()
    assert alone.exit_code == EXIT_DONE


def test_float64_and_a_limit_of_new_tokens(spec_for):
    outcome = go(
        spec_for("static_exit:exit_layer=4", tasks=("tiny_stop",), dtype="float64", max_new_tokens=1)
    )
    assert outcome.metrics.model.dtype == "float64"
    assert {len(r.token_ids) for r in outcome.folder.records() if r.kind == "generate"} == {1}
    assert outcome.metrics.strategies[0].speed.speedup is None


# -- what fails -------------------------------------------------------------------------------------------


class Unlucky(Strategy):
    """Ends too early on the second document, and cannot score."""

    def generate(self, session, request):
        if request.doc_id != 1:
            yield Emitted((50,) * request.max_new_tokens, None)

    def score(self, session, window, sampler=None):
        raise RuntimeError("out of luck")


@pytest.fixture
def unlucky(monkeypatch):
    """Registered as a third party's would be, but for the package around it."""
    from lsbench.strategy import registry

    load = registry.load_strategy
    monkeypatch.setattr(registry, "load_strategy", lambda n: Unlucky if n == "unlucky" else load(n))


@pytest.mark.usefixtures("unlucky")
def test_a_failed_sample_is_recorded_and_the_run_goes_on(spec_for):
    outcome = go(spec_for("unlucky", "static_exit:exit_layer=4", tasks=("tiny_generate", "tiny_choice")))
    assert outcome.exit_code == EXIT_SAMPLES_FAILED
    assert outcome.metrics.status == outcome.folder.manifest.status == "failed_samples"
    unlucky, fine = outcome.metrics.strategies
    assert (unlucky.tasks["tiny_generate"].n, unlucky.tasks["tiny_generate"].failed) == (4, 1)
    assert (unlucky.tasks["tiny_choice"].n, unlucky.tasks["tiny_choice"].failed) == (0, 5)
    assert unlucky.fidelity is None
    assert fine.tasks["tiny_generate"].failed == 0
    assert fine.fidelity.token_agreement.value == 1
    errors = {r.error for r in outcome.folder.records() if r.error}
    assert errors == {
        "BrokenStrategy: ended after 0 tokens with no stop condition met",
        "RuntimeError: out of luck",
    }
    assert any("unlucky: " in note and "failed" in note for note in outcome.metrics.notes)
    again = go(outcome.folder.manifest.spec, RunFolder.open(outcome.folder.path))
    tries = {r.attempt for r in again.folder.records() if r.error}
    assert tries == {2}
    assert {r.attempt for r in again.folder.records() if not r.error} == {1}


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_prompts_are_warmed_up_with_and_discarded(warmup, spec_for, monkeypatch):
    from lsbench.strategy import registry

    seen = []

    class Watching(Strategy):
        def generate(self, session, request):
            seen.append(request.doc_id)
            yield Emitted((50,) * request.max_new_tokens, None)

    load = registry.load_strategy
    monkeypatch.setattr(registry, "load_strategy", lambda n: Watching if n == "watching" else load(n))
    outcome = go(spec_for("watching", tasks=("tiny_generate",), limit=3, warmup=warmup))
    assert seen == [*range(warmup), 0, 1, 2]
    assert len([r for r in outcome.folder.records() if r.label == "watching" and not r.error]) == 3


class Unready(Strategy):
    def prepare(self, preparation):
        raise ZeroDivisionError("nothing to divide by")


def test_a_run_that_cannot_begin_leaves_no_folder(spec_for, monkeypatch):
    from lsbench.strategy import registry

    load = registry.load_strategy
    monkeypatch.setattr(registry, "load_strategy", lambda n: Unready if n == "unready" else load(n))
    spec = spec_for("unready", tasks=("tiny_generate",))
    with pytest.raises(BadInput, match="unready cannot calibrate"):
        go(spec)
    assert list(Path(spec.output).iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": ()}, "No strategy given"),
        ({"strategies": (StrategyChoice(name="dynamic_skip"),) * 2}, "given twice"),
        ({"baseline": "autoregresive"}, "--baseline.*Did you mean 'autoregressive'"),
        ({"baseline": "static_exit:exit_layer=4"}, "--baseline.*without options"),
        ({"baseline": "dynamic_skip"}, "--baseline.*full model"),
        ({"model": "smollm2"}, "smollm2-135m-instruct"),
        ({"tasks": ()}, "task"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_read(changes, words, spec_for):
    spec = spec_for("static_exit:exit_layer=2").model_copy(update=changes)
    with pytest.raises(BadInput, match=words):
        pipeline.check(spec)


# -- resuming and scoring again ---------------------------------------------------------------------------


def torn(finished: RunFolder, tmp_path: Path, lines: int, half: bool) -> RunFolder:
    """What a run killed after ``lines`` samples leaves behind."""
    left = tmp_path / finished.run_id
    left.mkdir()
    manifest = json.loads((finished.path / "manifest.json").read_text())
    (left / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    written = (finished.path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (left / "samples.jsonl").write_bytes(b"".join(written[:lines]) + (written[lines][:80] if half else b""))
    return RunFolder.open(left)


def answers(records):
    return {
        r.key: (r.token_ids, r.text, r.stop_reason, r.layers_run, r.logprob, r.is_greedy, r.agreement)
        for r in records
    }


@pytest.mark.parametrize(
    "lines", [0, 6, *(pytest.param(lines, marks=pytest.mark.slow) for lines in (1, 40, -1))]
)
def test_a_stopped_run_goes_on_and_gives_the_same(lines, whole, tmp_path):
    before = lines_of(whole.folder.path)
    lines %= len(before)
    resumed = go(whole.folder.manifest.spec, torn(whole.folder, tmp_path, lines, half=True))
    after = lines_of(resumed.folder.path)
    assert after[:lines] == before[:lines]
    assert len(after) == len(before)
    assert {line["segment"] for line in after[lines:]} == {1}
    assert answers(resumed.folder.records()) == answers(whole.folder.records())
    assert resumed.metrics.status == "complete"
    for first, second in zip(whole.metrics.strategies, resumed.metrics.strategies, strict=True):
        assert (first.tasks, first.depth) == (second.tasks, second.depth)
        assert first.fidelity == second.fidelity
    assert resumed.metrics.baseline.tasks == whole.metrics.baseline.tasks


def test_data_that_has_changed_stops_a_resume(whole, tmp_path):
    folder = torn(whole.folder, tmp_path, 3, half=False)
    manifest = json.loads((folder.path / "manifest.json").read_text())
    manifest["data_sha256"]["tiny_stop"] = "0" * 64
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="tiny_stop"):
        go(folder.manifest.spec, RunFolder.open(folder.path))
    assert len(lines_of(folder.path)) == 3


def test_scoring_again_needs_no_weights(whole, tmp_path, monkeypatch):
    folder = torn(whole.folder, tmp_path, len(lines_of(whole.folder.path)), half=False)
    manifest = json.loads((whole.folder.path / "manifest.json").read_text())
    manifest["model"]["path"] = str(tmp_path / "gone")
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    again = pipeline.rescore(RunFolder.open(folder.path), LiveView(quiet=True))
    assert again.metrics == whole.metrics


def test_scoring_a_stopped_run_counts_what_is_missing(whole, tmp_path):
    folder = torn(whole.folder, tmp_path, 12, half=True)
    outcome = pipeline.rescore(folder, LiveView(quiet=True))
    assert outcome.metrics.status == "interrupted"
    assert (folder.path / "report.html").is_file()
    (tmp_path / "empty").mkdir()
    empty = torn(whole.folder, tmp_path / "empty", 0, half=False)
    with pytest.raises(BadInput, match="no finished request"):
        pipeline.rescore(empty, LiveView(quiet=True))


def test_progress_counts_every_request_once(spec_for, monkeypatch):
    seen = []

    class Watching(LiveView):
        def start(self, total_requests, done_already=0):
            seen.append((total_requests, done_already))

        def request_done(self, *args, **figures):
            seen.append(args)

    spec = spec_for("static_exit:exit_layer=2", tasks=("tiny_generate",), limit=2)
    outcome = pipeline.run(spec, Watching(quiet=True))
    (total, done), *requests = seen
    assert (total, done) == (4, 0)
    assert len(requests) == 4
    seen.clear()
    pipeline.run(spec, Watching(quiet=True), RunFolder.open(outcome.folder.path))
    assert seen == [(4, 4)]
