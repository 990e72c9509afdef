"""Trials come back as they were written, however the writing ended."""

import json
import math
from datetime import UTC, datetime

import pytest

from lsbench.errors import BadInput, DamagedResults, LsbenchError
from lsbench.spec import RunSpec, parse_strategy
from lsbench.store.machine import hardware
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.split import split_documents
from lsbench.tuning.trials import TrialsFile, TuneManifest, read_manifest, write_manifest


def test_what_is_appended_is_read_back(tmp_path, make_trial):
    written = [
        make_trial(0),
        make_trial(
            1, status="failed", reason="out of memory", speedup=None, speedup_ci95=None, objective=0.1
        ),
        make_trial(0, kind="predicted", speedup=None, predicted_speedup=1.4, origin="start"),
        make_trial(0, documents="final", origin="default"),
        make_trial(2, objective=-math.inf),
    ]
    file = TrialsFile(tmp_path / "trials.jsonl")
    for trial in written:
        file.append(trial)
    file.close()
    read = file.read()
    assert list(read.trials) == written
    assert read.torn_bytes == 0
    for line in file.path.read_text().splitlines():  # strict JSON for every other reader
        json.loads(line, parse_constant=lambda name: pytest.fail(name))


def test_types_of_a_point_survive(tmp_path, make_trial):
    file = TrialsFile(tmp_path / "trials.jsonl")
    file.append(make_trial(3))
    (trial,) = file.read().trials
    assert [type(value) for value in trial.point.values()] == [int, str, bool, float, type(None)]
    assert trial.choice == parse_strategy(trial.label)


def test_every_cut_of_the_last_line_loses_that_line_only(tmp_path, make_trial):
    file = TrialsFile(tmp_path / "trials.jsonl")
    file.append(make_trial(0))
    sound = file.path.stat().st_size
    file.append(make_trial(1))
    file.close()
    whole = file.path.read_bytes()
    for length in range(sound, len(whole), 17):
        file.path.write_bytes(whole[:length])
        read = file.read()
        assert [trial.number for trial in read.trials] == [0]
        assert (read.sound_bytes, read.torn_bytes) == (sound, length - sound)
    file.cut_to(sound)
    file.append(make_trial(1))
    assert file.path.read_bytes() == whole


def test_a_missing_file_holds_nothing(tmp_path):
    assert TrialsFile(tmp_path / "trials.jsonl").read().trials == ()


def test_a_trial_that_failed_may_be_tried_again_one_that_did_not_may_not(tmp_path, make_trial):
    file = TrialsFile(tmp_path / "trials.jsonl")
    file.append(make_trial(0, status="timed_out", reason="after 60 s"))
    file.append(make_trial(0))
    assert [trial.status for trial in file.read().trials] == ["ok"]
    file.append(make_trial(0))
    with pytest.raises(
        DamagedResults, match="line 3: timed trial 0 on tuning documents stands here a second"
    ):
        file.read()


@pytest.mark.parametrize("line", ["{}", "nothing", '{"schema": 1, "number": -1}'])
def test_a_damaged_line_is_named(tmp_path, make_trial, line):
    file = TrialsFile(tmp_path / "trials.jsonl")
    file.append(make_trial(0))
    with file.path.open("a") as text:
        text.write(line + "\n")
    with pytest.raises(DamagedResults, match="line 2 is damaged"):
        file.read()


def test_another_schema_is_refused(tmp_path, make_trial):
    file = TrialsFile(tmp_path / "trials.jsonl")
    file.append(make_trial(0, schema=2))
    with pytest.raises(DamagedResults, match="schema 2"):
        file.read()


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, make_trial, monkeypatch):
    file = TrialsFile(tmp_path / "trials.jsonl")
    file.append(make_trial(0))
    before = file.path.read_bytes()
    import os

    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:40]))
    with pytest.raises(LsbenchError, match="the disk is full"):
        file.append(make_trial(1))
    monkeypatch.undo()
    assert file.path.read_bytes() == before


def test_a_manifest_comes_back(tmp_path):
    run = RunSpec(strategies=(parse_strategy("static_exit"),), tasks=("humaneval",), limit=6)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    manifest = TuneManifest(
        tune_id="tune-1",
        status="running",
        spec=TuneSpec(run=run, trials=20, min_quality=0.98, space={"exit_layer": "4..12"}),
        created=now,
        updated=now,
        versions={"ray": "2.60"},
        hardware=hardware(),
        seeds={"split": 3},
        split=split_documents({"humaneval": range(164)}, 6, seed=3),
        skip_ranking=(("3.mlp", 0.1, 1000.0),),
    )
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert json.loads((tmp_path / "tune.json").read_text())["schema"] == 1
    (tmp_path / "tune.json").write_text("{}")
    with pytest.raises(DamagedResults, match=r"tune\.json is damaged"):
        read_manifest(tmp_path)
    with pytest.raises(BadInput, match="no folder of a search"):
        read_manifest(tmp_path / "elsewhere")


def test_a_search_is_of_one_strategy_whose_options_are_fixed_once():
    run = RunSpec(strategies=(parse_strategy("static_exit:kv_fill=mask"),), tasks=("humaneval",))
    spec = TuneSpec(run=run)
    assert spec.with_fixed({"exit_layer": 3, "kv_fill": "mask"}) == parse_strategy(
        "static_exit:exit_layer=3,kv_fill=mask"
    )
    with pytest.raises(BadInput, match="'kv_fill' is given as mask and fixed to recompute"):
        spec.with_fixed({"kv_fill": "recompute"})
    with pytest.raises(ValueError, match="one strategy"):
        TuneSpec(run=run.model_copy(update={"strategies": ()}))
