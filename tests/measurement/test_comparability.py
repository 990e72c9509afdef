"""What forbids a comparison, each thing by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsbench.errors import BadInput
from lsbench.measurement.comparison import compare
from lsbench.store.machine import GitState
from lsbench.store.stored_run import StoredRun, read_run
from support.stored_runs import HARDWARE, MODEL, Made, make_run

PASSED = (True, False, True)
MADE = {"autoregressive": Made([1, 1, 1], PASSED), "dynamic_skip": Made([1, 1, 1], PASSED)}
VERSIONS = {"python": "3.11.1", "lm_eval": "0.4.9", "torch": "2.13"}


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def plain(output: Path) -> StoredRun:
    return read_run(make_run(output, MADE, manifest={"versions": VERSIONS}))


def refused(first: StoredRun, output: Path, made=MADE, **how) -> str:
    """What is said where a run differs so from the plain one; forced, it says the same."""
    how["manifest"] = {"versions": VERSIONS, **how.get("manifest", {})}
    other = read_run(make_run(output, made, **how))
    with pytest.raises(BadInput) as raised:
        compare([first, other])
    said = str(raised.value)
    assert said.endswith("--force compares them anyway.")
    forced = compare([first, other], force=True)
    assert forced.forced
    assert all(mismatch.words in said for mismatch in forced.mismatches)
    return said


def test_runs_alike_are_compared(plain: StoredRun, output: Path):
    named_otherwise = MODEL.model_copy(update={"id": "another/name"})
    other = make_run(output, MADE, manifest={"versions": VERSIONS, "model": named_otherwise})
    found = compare([plain, read_run(other)])
    assert (found.forced, found.mismatches) == (False, ())


def test_weights_and_dtype(plain: StoredRun, output: Path):
    model = MODEL.model_copy(update={"sha256": "cd" * 32, "dtype": "bfloat16"})
    said = refused(plain, output, manifest={"model": model})
    assert "weights (A tiny abababababab, B tiny cdcdcdcdcdcd)" in said
    assert "dtype (A float32, B bfloat16)" in said


def test_machine(plain: StoredRun, output: Path):
    hardware = HARDWARE.model_copy(update={"cores": 64, "gpus": ("Made-up GPU",)})
    said = refused(plain, output, manifest={"hardware": hardware, "threads": 32})
    assert "hardware (A Made-up 3000, 2 cores, B Made-up 3000, 64 cores, Made-up GPU)" in said
    assert "threads (A 1, B 32)" in said


def test_settings(plain: StoredRun, output: Path):
    spec = {"max_new_tokens": 9, "batch_size": 2, "temperature": 0.5, "seed": 3, "num_fewshot": 1}
    said = refused(plain, output, spec=spec)
    for each in (
        "few-shot examples (A the tasks' own, B 1)",
        "most new tokens (A the tasks' own, B 9)",
        "sampling (A the tasks' own, B temperature=0.5 seed=3)",
        "batch size (A 1, B 2)",
    ):
        assert each in said


def test_tasks(plain: StoredRun, output: Path):
    said = refused(plain, output, spec={"tasks": ("others",)})
    assert "tasks (A things, B others)" in said
    assert "documents" not in said


def test_documents(plain: StoredRun, output: Path):
    fewer = {label: Made(one.seconds[:2], one.passed[:2]) for label, one in MADE.items()}
    assert "documents, 2 of them shared (A 3, B 2)" in refused(plain, output, fewer)


def test_a_run_that_was_stopped_is_compared_over_what_it_has(plain: StoredRun, output: Path):
    fewer = {label: Made(one.seconds[:2], one.passed[:2]) for label, one in MADE.items()}
    stopped = make_run(output, fewer, manifest={"versions": VERSIONS, "status": "interrupted"})
    found = compare([plain, read_run(stopped)])
    assert found.pairs[0].speed is not None
    assert found.pairs[0].speed.prompts == 2
    assert any(note.startswith("Run B was interrupted") for note in found.notes)


def test_prompts(plain: StoredRun, output: Path):
    said = refused(plain, output, prompt="another prompt")
    assert "prompts of 3 of 3 documents" in said


def test_data_and_the_evaluator(plain: StoredRun, output: Path):
    first = read_run(
        make_run(output, MADE, manifest={"versions": VERSIONS, "data_sha256": {"things": "a" * 64}})
    )
    told = {"data_sha256": {"things": "b" * 64}, "versions": {**VERSIONS, "lm_eval": "0.5"}}
    said = refused(first, output, manifest=told)
    assert f"data of things (A {'a' * 12}, B {'b' * 12})" in said
    assert "lm-eval (A 0.4.9, B 0.5)" in said


def test_versions_that_change_speed_alone_are_told(plain: StoredRun, output: Path):
    told = {"versions": {**VERSIONS, "torch": "2.12"}, "git": GitState(commit="c0ffee" * 7, dirty=True)}
    found = compare([plain, read_run(make_run(output, MADE, manifest=told))])
    assert not found.mismatches
    assert any("differ in torch (A 2.13, B 2.12)" in note for note in found.notes)
    assert any("differ in source (A unknown, B c0ffeec0ffee with changes)" in note for note in found.notes)
