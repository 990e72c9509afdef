from __future__ import annotations

from pathlib import Path

import pytest

from lsbench.errors import BadInput, DamagedResults
from lsbench.spec import RunSpec
from lsbench.store.listing import find_run, list_runs
from lsbench.store.run_folder import RunFolder


@pytest.fixture
def runs(tmp_path: Path, spec: RunSpec) -> list[RunFolder]:
    """Three runs, oldest first, the oldest with the name that sorts last."""
    made = []
    for name in ("zz-oldest", "20260101-000000-humaneval-a-0001", "20260101-000000-humaneval-a-0002"):
        with RunFolder.create(tmp_path, spec) as folder:
            folder.update_manifest(run_id=name, status="complete")
        folder.path.rename(tmp_path / name)
        made.append(RunFolder.open(tmp_path / name))
    return made


def test_list_is_oldest_first_and_skips_what_is_no_run(tmp_path: Path, runs: list[RunFolder]):
    (tmp_path / "README.md").write_text("runs land here")
    (tmp_path / "empty").mkdir()
    listed = list_runs(tmp_path)
    assert [run.path for run in listed] == [run.path for run in runs]
    assert listed[0].status == "complete"
    assert listed[0].model == "smollm2-135m-instruct"
    assert listed[0].tasks == ("humaneval",)
    assert listed[0].strategies == ("dynamic_skip:max_skip_ratio=0.4",)


def test_damaged_run_is_listed_and_never_latest(tmp_path: Path, runs: list[RunFolder]):
    (runs[-1].path / "manifest.json").write_text("{")
    listed = {run.run_id: run.status for run in list_runs(tmp_path)}
    assert listed[runs[-1].path.name] == "damaged"
    assert find_run("latest", tmp_path).path == runs[1].path
    with pytest.raises(DamagedResults):
        find_run(runs[-1].path.name, tmp_path)


def test_running_and_killed_runs_differ(tmp_path: Path, spec: RunSpec):
    folder = RunFolder.create(tmp_path, spec)
    assert [run.status for run in list_runs(tmp_path)] == ["running"]
    folder.close()
    assert [run.status for run in list_runs(tmp_path)] == ["interrupted"]


def test_found_by_id_path_beginning_and_latest(
    tmp_path: Path, runs: list[RunFolder], monkeypatch: pytest.MonkeyPatch
):
    for run in runs:
        assert find_run(run.run_id, tmp_path).run_id == run.run_id
        assert find_run(run.path, "elsewhere").run_id == run.run_id
    assert find_run("zz", tmp_path).run_id == "zz-oldest"
    assert find_run("latest", tmp_path).run_id == runs[2].run_id
    monkeypatch.chdir(tmp_path)
    assert find_run("zz-oldest", "elsewhere").run_id == "zz-oldest"


def test_ambiguous_beginning(tmp_path: Path, runs: list[RunFolder]):
    with pytest.raises(BadInput, match=r"2 runs begin with '2026': .*0001, .*0002; give more"):
        find_run("2026", tmp_path)
    with pytest.raises(BadInput, match="Unknown run ''"):
        find_run("", tmp_path)


def test_unknown_run_offers_the_nearest(tmp_path: Path, runs: list[RunFolder]):
    with pytest.raises(BadInput, match=r"Unknown run 'zz-oldset'.*Did you mean 'zz-oldest'"):
        find_run("zz-oldset", tmp_path)


@pytest.mark.parametrize("name", ["latest", "20260101"])
def test_no_runs_at_all(tmp_path: Path, name: str):
    for output in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput, match=f"No run '{name}'.*--output"):
            find_run(name, output)
    assert list_runs(tmp_path / "missing") == []


def test_path_that_is_not_there(tmp_path: Path, runs: list[RunFolder]):
    with pytest.raises(BadInput, match="No results folder at"):
        find_run(tmp_path / "gone", tmp_path)
