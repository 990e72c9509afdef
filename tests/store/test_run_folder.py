from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import psutil
import pytest

from lsbench.errors import BadInput, DamagedResults
from lsbench.metrics import BaselineMetrics, Metrics, ModelInfo
from lsbench.spec import RunSpec, StrategyChoice
from lsbench.store.manifest import ModelFacts
from lsbench.store.run_folder import TORN_NOTE, RunFolder


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root ignores file modes: act as nobody for a while. Lazy imports must be done before."""
    assert filelock
    assert psutil
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can get to, unlike ``tmp_path``."""
    path = Path(tempfile.mkdtemp(dir="/tmp" if Path("/tmp").is_dir() else None))
    path.chmod(0o755)
    yield path
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o755)
    shutil.rmtree(path)


def test_created_run_says_what_it_is(tmp_path: Path, spec: RunSpec):
    with RunFolder.create(tmp_path / "deep" / "results", spec, gpus=("H100",), threads=2) as folder:
        assert re.fullmatch(r"\d{8}-\d{6}-humaneval-dynamic_skip-[0-9a-f]{4}", folder.run_id)
        assert folder.path.name == folder.run_id
    manifest = RunFolder.open(folder.path).manifest
    assert manifest == folder.manifest
    assert manifest.spec == spec
    assert manifest.status == "running"
    assert manifest.segments == 1
    assert manifest.created.utcoffset() is not None
    assert manifest.hardware.gpus == ("H100",)
    assert manifest.hardware.cores >= 1
    assert manifest.hardware.memory_bytes > 2**20
    assert manifest.threads == 2
    assert manifest.seeds == {"run": 0}
    assert {
        "lsbench",
        "python",
        "torch",
        "transformers",
        "deepspeed",
        "ray",
        "lm_eval",
    } <= manifest.versions.keys()


def test_many_tasks_and_odd_names_make_a_plain_folder_name(tmp_path: Path):
    spec = RunSpec(
        strategies=(StrategyChoice(name="a"), StrategyChoice(name="b"), StrategyChoice(name="c")),
        tasks=("../odd task", "humaneval"),
    )
    with RunFolder.create(tmp_path, spec) as folder:
        assert folder.path.parent == tmp_path
        assert re.fullmatch(r"\d{8}-\d{6}-\.\._odd_task\+1-a\+2-[0-9a-f]{4}", folder.run_id)


def test_two_runs_in_one_second_do_not_meet(tmp_path: Path, spec: RunSpec):
    folders = [RunFolder.create(tmp_path, spec) for _ in range(5)]
    assert len({folder.path for folder in folders}) == 5


def test_append_then_read(tmp_path: Path, spec: RunSpec, make_record):
    with RunFolder.create(tmp_path, spec) as folder:
        folder.append(make_record(0))
        folder.append(make_record(1, error="boom", token_ids=None))
        reader = RunFolder.open(folder.path)
        assert [record.doc_id for record in reader.records()] == [0, 1]
        assert {key.doc_id for key in reader.finished()} == {0}
        assert {key.doc_id: attempt for key, attempt in reader.attempts().items()} == {1: 1}


def test_finished_request_is_not_taken_twice(tmp_path: Path, spec: RunSpec, make_record):
    with RunFolder.create(tmp_path, spec) as folder:
        folder.append(make_record(0))
        with pytest.raises(ValueError, match="already finished"):
            folder.append(make_record(0))
    again = RunFolder.open(folder.path)
    again.resume()
    with again, pytest.raises(ValueError, match="already finished"):
        again.append(make_record(0))
    assert len(folder.records()) == 1


def test_failed_request_may_be_run_again(tmp_path: Path, spec: RunSpec, make_record):
    with RunFolder.create(tmp_path, spec) as folder:
        folder.append(make_record(0, error="boom", token_ids=None))
        folder.append(make_record(0, attempt=2))
    assert [record.attempt for record in folder.records()] == [2]


def test_reader_cannot_write(tmp_path: Path, spec: RunSpec, make_record):
    with RunFolder.create(tmp_path, spec) as folder:
        reader = RunFolder.open(folder.path)
        with pytest.raises(RuntimeError, match="reading only"):
            reader.append(make_record())
        with pytest.raises(RuntimeError, match="reading only"):
            reader.update_manifest(status="complete")


def test_resume_counts_segments_and_cuts_a_torn_line(tmp_path: Path, spec: RunSpec, make_record):
    with RunFolder.create(tmp_path, spec) as folder:
        folder.append(make_record(0))
    samples = folder.path / "samples.jsonl"
    samples.write_bytes(samples.read_bytes() + b'{"schema": 1, "strat')
    (folder.path / ".metrics.json.00000000.part").write_text("{")
    assert [record.doc_id for record in folder.records()] == [0]
    assert samples.read_bytes().endswith(b"strat"), "a reader must not touch the file"
    resumed = RunFolder.open(folder.path)
    with resumed:
        assert resumed.resume() == 1
        resumed.append(make_record(1, segment=resumed.segment))
    assert [(record.doc_id, record.segment) for record in resumed.records()] == [(0, 0), (1, 1)]
    manifest = RunFolder.open(folder.path).manifest
    assert manifest.segments == 2
    assert TORN_NOTE in manifest.notes
    assert not list(folder.path.glob(".*.part"))


def test_resume_of_a_sound_run_adds_no_note(tmp_path: Path, spec: RunSpec):
    RunFolder.create(tmp_path, spec).close()
    (path,) = tmp_path.iterdir()
    with RunFolder.open(path) as folder:
        folder.resume()
        assert folder.manifest.notes == ()


def test_resume_with_another_version_is_noted(tmp_path: Path, spec: RunSpec):
    with RunFolder.create(tmp_path, spec) as folder:
        folder.update_manifest(versions={**folder.manifest.versions, "torch": "0.0.1"})
    with RunFolder.open(folder.path) as again:
        again.resume()
        (note,) = again.manifest.notes
        assert note.startswith("Resumed (segment 1) with torch 0.0.1 then, ")


def test_resume_of_a_damaged_run_gives_the_lock_back(tmp_path: Path, spec: RunSpec):
    RunFolder.create(tmp_path, spec).close()
    (path,) = tmp_path.iterdir()
    (path / "samples.jsonl").write_text("rubbish\n")
    for _ in range(2):
        with pytest.raises(DamagedResults, match=r"samples\.jsonl, line 1 is damaged"):
            RunFolder.open(path).resume()
    assert not RunFolder.open(path).being_written()


def test_one_writer_at_a_time(tmp_path: Path, spec: RunSpec):
    with RunFolder.create(tmp_path, spec) as folder:
        other = RunFolder.open(folder.path)
        assert other.being_written()
        with pytest.raises(BadInput, match="being written by another process"):
            other.resume()
    assert not other.being_written()
    with other:
        assert other.resume() == 1


def test_manifest_grows(tmp_path: Path, spec: RunSpec):
    with RunFolder.create(tmp_path, spec) as folder:
        model = ModelFacts(id="tiny", path="/models/tiny", sha256="ab", num_layers=4, dtype="float32")
        folder.update_manifest(model=model, data_sha256={"humaneval": "cd"}, sandbox="bwrap")
        folder.add_notes("one", "two")
        folder.add_notes("two")
        folder.update_manifest(status="complete")
    manifest = RunFolder.open(folder.path).manifest
    assert (manifest.model, manifest.notes, manifest.status) == (model, ("one", "two"), "complete")
    assert manifest.updated > manifest.created
    assert model.info == ModelInfo(id="tiny", num_layers=4, dtype="float32", sha256="ab")


def test_manifest_change_is_checked(tmp_path: Path, spec: RunSpec):
    with RunFolder.create(tmp_path, spec) as folder, pytest.raises(ValueError, match="status"):
        folder.update_manifest(status="finished")


def metrics(run_id: str) -> Metrics:
    return Metrics(
        run_id=run_id,
        status="complete",
        model=ModelInfo(id="tiny", num_layers=4, dtype="float32", sha256="ab"),
        baseline=BaselineMetrics(
            strategy="autoregressive",
            tokens_per_second=None,
            ttft_s=None,
            tpot_s=None,
            generated_tokens=0,
            tasks={},
            noise=None,
            memory=None,
        ),
        strategies=(),
    )


def test_metrics_round_trip(tmp_path: Path, spec: RunSpec):
    with RunFolder.create(tmp_path, spec) as folder:
        assert folder.metrics() is None
        folder.write_metrics(metrics(folder.run_id))
        assert folder.metrics() == metrics(folder.run_id)
        folder.write_text("metrics.json", "{}")
        with pytest.raises(DamagedResults, match="--rescore"):
            folder.metrics()


@pytest.mark.parametrize("name", ["../report.html", "sub/report.html", "samples.jsonl"])
def test_only_whole_files_of_the_folder_are_replaced(tmp_path: Path, spec: RunSpec, name: str):
    with RunFolder.create(tmp_path, spec) as folder, pytest.raises(ValueError, match="not a file"):
        folder.write_text(name, "x")


def test_missing_and_foreign_folders_are_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="No results folder at"):
        RunFolder.open(tmp_path / "nothing")
    with pytest.raises(BadInput, match="is not a results folder"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "run_id": "x"}'])
def test_damaged_manifest_is_named(tmp_path: Path, text: str):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DamagedResults, match=r"manifest\.json is damaged") as caught:
        RunFolder.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_manifest_of_a_later_schema_is_refused(tmp_path: Path, spec: RunSpec):
    with RunFolder.create(tmp_path, spec) as folder:
        text = (folder.path / "manifest.json").read_text().replace('"schema": 1', '"schema": 2', 1)
        folder.write_text("manifest.json", text)
    with pytest.raises(BadInput, match="schema 2"):
        RunFolder.open(folder.path)


def test_file_in_place_of_the_output_folder(tmp_path: Path, spec: RunSpec):
    output = tmp_path / "results"
    output.write_text("not a folder")
    for path in (output, output / "below"):
        with pytest.raises(BadInput, match=r"Cannot write results to .*--output") as caught:
            RunFolder.create(path, spec)
        assert "\n" not in str(caught.value)


def test_read_only_output_folder(open_folder: Path, spec: RunSpec):
    open_folder.chmod(0o555)
    with ordinary_user(), pytest.raises(BadInput, match="Permission denied; choose a folder"):
        RunFolder.create(open_folder, spec)
    assert list(open_folder.iterdir()) == []


def test_read_only_run_can_be_read_but_not_resumed(open_folder: Path, spec: RunSpec, make_record):
    with RunFolder.create(open_folder, spec) as folder:
        folder.append(make_record(0))
    for path in folder.path.iterdir():
        path.chmod(0o444)
    folder.path.chmod(0o555)
    with ordinary_user():
        reader = RunFolder.open(folder.path)
        assert len(reader.records()) == 1
        assert not reader.being_written()
        with pytest.raises(BadInput, match=r"Cannot write to .*Permission denied"):
            reader.resume()
        with pytest.raises(BadInput, match=r"Cannot write .*report\.md: Permission denied"):
            reader.write_text("report.md", "x")
