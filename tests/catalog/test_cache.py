from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lsbench.catalog.cache import MARKER, is_intact, prepared_folder
from lsbench.errors import BadInput
from lsbench.user_cache import cache_folder

RECIPE = "two-files-1"


class Maker:
    """Fills a folder with two files, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "sub").mkdir()
        (folder / "first.bin").write_bytes(b"x" * 1000)
        (folder / "sub" / "second.txt").write_text("second")


def prepare(place: Path, make, told, recipe: str = RECIPE) -> Path:
    return prepared_folder(place, recipe, "the thing", make, told)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_made_once_and_found_again(tmp_path: Path, told):
    make, place = Maker(), tmp_path / "deep" / "place"
    assert prepare(place, make, told) == place
    assert prepare(place, make, told) == place
    assert make.times == 1
    assert (place / "sub" / "second.txt").read_text() == "second"
    assert names(place.parent) == ["place", "place.lock"]


@pytest.mark.parametrize("damage", ["truncated", "missing", "same size", "no marker", "half a marker"])
def test_damage_is_seen_and_made_again(tmp_path: Path, told, damage: str):
    make, place = Maker(), tmp_path / "place"
    prepare(place, make, told)
    if damage == "truncated":
        os.truncate(place / "first.bin", 999)
    elif damage == "missing":
        (place / "sub" / "second.txt").unlink()
    elif damage == "same size":
        (place / "first.bin").write_bytes(b"y" * 1000)
    elif damage == "no marker":
        (place / MARKER).unlink()
    else:
        os.truncate(place / MARKER, 20)
    assert not is_intact(place, RECIPE)
    prepare(place, make, told)
    assert make.times == 2
    assert (place / "first.bin").read_bytes() == b"x" * 1000
    assert names(tmp_path) == ["place", "place.lock"]


def test_another_recipe_is_made_again(tmp_path: Path, told):
    make, place = Maker(), tmp_path / "place"
    prepare(place, make, told)
    prepare(place, make, told, recipe="two-files-2")
    assert make.times == 2


def test_a_copy_with_new_times_is_intact_and_remembered(tmp_path: Path, told):
    make, place = Maker(), tmp_path / "place"
    prepare(place, make, told)
    os.utime(place / "first.bin", ns=(1, 1))
    before = (place / MARKER).read_text()
    assert is_intact(place, RECIPE)
    assert (place / MARKER).read_text() != before
    assert make.times == 1


def test_only_the_thorough_check_sees_what_size_and_time_hide(tmp_path: Path, told):
    place = tmp_path / "place"
    prepare(place, Maker(), told)
    time_before = (place / "first.bin").stat().st_mtime_ns
    (place / "first.bin").write_bytes(b"y" * 1000)
    os.utime(place / "first.bin", ns=(time_before, time_before))
    assert is_intact(place, RECIPE)
    assert not is_intact(place, RECIPE, thorough=True)


def test_a_failed_preparation_leaves_nothing(tmp_path: Path, told):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise BadInput("no")

    with pytest.raises(BadInput, match="no"):
        prepare(tmp_path / "place", fail, told)
    assert names(tmp_path) == ["place.lock"]


_CHILD = """
import sys, time
from pathlib import Path
from lsbench.catalog.cache import prepared_folder

class Said:
    def update(self, stage, done, total):
        print(stage, flush=True)

def make(folder):
    (folder / "first.bin").write_text("from the child")
    print("making", flush=True)
    time.sleep(float(sys.argv[2]))

prepared_folder(Path(sys.argv[1]), "two-files-1", "the thing", make, Said())
print("ready", flush=True)
"""


def child(place: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(place), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_killed_in_the_middle_leaves_nothing_that_is_believed(tmp_path: Path, told):
    place = tmp_path / "place"
    process = child(place, 60)
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any("partial" in name for name in names(tmp_path))
    assert not place.exists()
    make = Maker()
    prepare(place, make, told)
    assert make.times == 1
    assert told.stages == []  # the dead process's lock is not waited for
    assert names(tmp_path) == ["place", "place.lock"]


def test_the_second_process_waits_says_so_and_makes_nothing(tmp_path: Path, told):
    place, make = tmp_path / "place", Maker()
    process = child(place, 0.6)
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    started = time.monotonic()
    prepare(place, make, told)
    assert make.times == 0
    assert told.stages == ["Waiting for another lsbench process that is preparing the thing"]
    assert time.monotonic() - started > 0.2
    assert (place / "first.bin").read_text() == "from the child"
    assert process.wait() == 0


def test_a_cache_that_cannot_be_a_folder_is_named(tmp_path: Path, told):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="set LSBENCH_CACHE") as refused:
        prepare(tmp_path / "file" / "place", Maker(), told)
    assert str(tmp_path / "file") in str(refused.value)


def test_the_environment_moves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("LSBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "lsbench"
