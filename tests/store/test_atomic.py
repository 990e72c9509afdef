from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lsbench.store.atomic import remove_leftovers, write_atomically


def test_concurrent_reader_never_sees_half(tmp_path: Path):
    path = tmp_path / "report.html"
    texts = {"a" * 300_000, "b" * 900_000}
    write_atomically(path, "a" * 300_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for text in texts:
                write_atomically(path, text)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [path.read_text(encoding="utf-8") for _ in range(150)]
    finally:
        stop.set()
        writer.join()
    assert set(seen) <= texts
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "metrics.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path):
    (tmp_path / ".metrics.json.0123abcd.part").write_text("ha")
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / ".lock").write_text("")
    remove_leftovers(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "metrics.json"]
