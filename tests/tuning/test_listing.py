"""Searches under an output folder."""

import filelock
import pytest

from lsbench.errors import BadInput
from lsbench.spec import RunSpec, parse_strategy
from lsbench.store.run_folder import RunFolder
from lsbench.tuning.listing import find_tune, list_tunes, named_tune
from lsbench.tuning.trials import read_manifest, write_manifest
from support.tune_folder import write_search


@pytest.fixture
def output(tmp_path):
    write_search(tmp_path / "20261126-120000-tune_a-x-0001", [])
    later = write_search(tmp_path / "20261126-130000-tune_b-y-0002", [])
    manifest = read_manifest(later)
    write_manifest(later, manifest.model_copy(update={"created": manifest.created.replace(hour=13)}))
    damaged = tmp_path / "20261126-140000-tune_c-z-0003"
    damaged.mkdir()
    (damaged / "tune.json").write_text("{")
    return tmp_path


def test_all_are_listed_the_damaged_ones_too(output):
    assert {tune.tune_id[-4:]: tune.status for tune in list_tunes(output)} == {
        "0001": "interrupted",
        "0002": "interrupted",
        "0003": "damaged",
    }
    assert list_tunes(output / "none") == []


def test_a_search_that_was_killed_is_told_from_one_that_runs(output):
    folder = find_tune("latest", output)
    write_manifest(folder, read_manifest(folder).model_copy(update={"status": "running"}))
    assert list_tunes(output)[-1].status == "interrupted"
    with filelock.FileLock(folder / ".lock"):
        assert list_tunes(output)[-1].status == "running"


def test_one_is_found_by_id_beginning_path_or_as_the_latest(output):
    first, second = output / "20261126-120000-tune_a-x-0001", output / "20261126-130000-tune_b-y-0002"
    assert find_tune(first.name, output) == first
    assert find_tune("20261126-13", output) == second
    assert find_tune(str(second), "elsewhere") == second
    assert find_tune("latest", output) == second


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("20261126-1", "3 searches begin with '20261126-1'"),
        ("20261126-120000-tune_a-x-0009", "Did you mean '20261126-120000-tune_a-x-0001'"),
        ("/nowhere/at-all", "is no folder of a search"),
    ],
)
def test_what_cannot_be_found_is_said(output, name, words):
    with pytest.raises(BadInput) as caught:
        find_tune(name, output)
    assert words in str(caught.value)
    with pytest.raises(BadInput, match="holds none"):
        find_tune("latest", output / "none")


def test_a_name_among_runs_and_searches_stands_for_one(output):
    spec = RunSpec(strategies=(parse_strategy("static_exit:exit_layer=2"),), tasks=("t",))
    with RunFolder.create(output, spec) as run:
        # Made now, and so after the searches, which were made in a year to come.
        run.update_manifest(created=read_manifest(find_tune("latest", output)).created.replace(hour=15))
    assert named_tune(run.run_id, output) is None
    assert named_tune("latest", output) is None
    assert named_tune("20261126-12", output) == output / "20261126-120000-tune_a-x-0001"
    assert named_tune("nothing", output) is None
    run.path.rename(output.parent / "gone")
    assert named_tune("latest", output) == output / "20261126-130000-tune_b-y-0002"
