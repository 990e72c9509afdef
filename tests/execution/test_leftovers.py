"""Runs that are killed for real, and what the next one finds of them."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lsbench.execution import leftovers
from lsbench.execution.leftovers import Ledger, clean

RUN = """
import subprocess, sys, time
from pathlib import Path
from lsbench.execution.leftovers import Ledger

ledger = Ledger.open("20260101-abc")
# A shell that starts another process and outlives whoever started it.
shell = subprocess.Popen(["sh", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE, text=True,
                         start_new_session=True)
ledger.process(shell.pid)
for name in sys.argv[1:]:
    ledger.file(name)
print(shell.pid, shell.stdout.readline().strip(), flush=True)
time.sleep(300)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "leftovers"


class Run:
    """A process that keeps a ledger of a shell and its child."""

    def __init__(self, *files: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *map(str, files)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.started = [int(pid) for pid in self.process.stdout.readline().split()]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def alive(self) -> list[int]:
        return [pid for pid in self.started if leftovers._started(pid) is not None]


@pytest.fixture
def begin():
    runs: list[Run] = []

    def begin(*files: Path) -> Run:
        runs.append(Run(*files))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()
        run.process.stdout.close()
        for pid in run.alive:
            os.kill(pid, signal.SIGKILL)


def test_what_a_killed_run_left_is_cleaned_up_and_told(begin, tmp_path, cache):
    file, folder = tmp_path / "buffer", tmp_path / "session"
    file.write_bytes(b"x" * (3 << 20))
    (folder / "sockets").mkdir(parents=True)
    (folder / "sockets" / "log").write_bytes(b"x" * (1 << 20))
    other = tmp_path / "not in the ledger"
    other.touch()
    run = begin(file, folder, tmp_path / "never made")
    said: list[str] = []
    assert clean(said.append) == 0, "it lives"
    assert len(run.alive) == 2
    assert file.exists()
    run.kill()
    assert len(run.alive) == 2, "its own are not its killer's business"
    assert clean(said.append) == 4
    assert said == ["cleaned up 2 processes and 2 files (4 MiB) of run 20260101-abc, which had been killed"]
    assert run.alive == []
    assert not file.exists()
    assert not folder.exists()
    assert other.exists()
    assert list(cache.iterdir()) == []
    assert clean(said.append) == 0


def test_a_process_that_does_not_end_when_asked_is_killed(begin, monkeypatch, cache):
    monkeypatch.setattr(leftovers, "_PATIENCE_S", 0.2)
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(300)"
    stubborn = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE)
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    with stubborn.stdout, Ledger.open("run") as ledger:
        ledger.process(stubborn.pid)
    assert stubborn.wait(timeout=10) == -signal.SIGKILL or leftovers._started(stubborn.pid) is None


def test_a_number_that_has_been_given_to_another_process_is_not_ours(begin, cache):
    run = begin()
    run.kill()
    (path,) = cache.iterdir()
    shell = run.started[0]
    moved = path.read_text().replace(
        f'{{"process": {shell}, "started": ', f'{{"process": {shell}, "started": 1'
    )
    assert moved != path.read_text()
    path.write_text(moved)
    assert clean(print) == 0
    assert len(run.alive) == 2
    assert not path.exists()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_who_writes_into_a_folder_of_ours_is_ours_and_who_reads_is_not(cache, tmp_path):
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "log").touch()
    (tmp_path / "session2").mkdir()
    started = {
        name: subprocess.Popen(["sh", "-c", f"exec sleep 300 {how}"])
        for name, how in {
            "writer": f">> {folder}/log",
            "reader": f"< {folder}/log",
            "neighbour": f"> {tmp_path}/session2/log",
        }.items()
    }
    for process in started.values():
        while b"sleep" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()[:5]:
            time.sleep(0.005)
    with Ledger.open("run") as ledger:
        ledger.file(folder)
    ended = {name for name, process in started.items() if leftovers._started(process.pid) is None}
    for process in started.values():
        process.kill()
        process.wait()
    assert ended == {"writer"}
    assert not folder.exists()


@pytest.mark.parametrize("torn", ['{"process": 1', '{"process": null, "started": 5}', "[]", "\x00", "7"])
def test_a_line_that_was_cut_short_hides_no_other(begin, torn, cache, tmp_path):
    (tmp_path / "file").touch()
    with Ledger.open("run") as ledger:
        ledger._file.write(torn + "\n")
        ledger.file(tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("part", [0, -1])
def test_ledgers_of_other_machines_are_left_to_these_until_they_are_old(part, cache, tmp_path):
    file = tmp_path / "file"
    file.touch()
    place = leftovers._place()
    place[part] = "elsewhere"
    cache.mkdir(parents=True)
    ledger = cache / "1-ab.jsonl"
    lines = ({"run": "r", "place": place, "owner": 1, "started": 0.5}, {"file": str(file)})
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert clean(print) == 0
    assert ledger.exists()
    long_ago = time.time() - 31 * 24 * 3600
    os.utime(ledger, (long_ago, long_ago))
    assert clean(print) == 0
    assert not ledger.exists()
    assert file.exists()


def test_a_file_that_a_later_run_has_in_its_memory_stays(tmp_path, cache):
    file = tmp_path / "buffer"
    file.write_bytes(b"x" * 4096)
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0):
        with Ledger.open("earlier") as ledger:
            ledger.file(file)
        assert file.exists()
    with Ledger.open("earlier") as ledger:
        ledger.file(file)
    assert not file.exists()


def test_what_is_closed_has_nothing_left(tmp_path, cache):
    with Ledger.open("run") as ledger:
        child = subprocess.Popen(["sleep", "300"])
        ledger.process(child.pid)
        ledger.process(os.getpid())  # never itself
        ledger.file(tmp_path / "file")
        (tmp_path / "file").touch()
    child.wait(timeout=10)
    assert not (tmp_path / "file").exists()
    assert list(cache.iterdir()) == []
    ledger.close()


def test_a_process_that_is_gone_already_is_not_written_down(cache):
    child = subprocess.Popen(["true"])
    child.wait()
    with Ledger.open("run") as ledger:
        ledger.process(child.pid)
        assert "process" not in next(cache.iterdir()).read_text()


@pytest.mark.parametrize("path", ["relative", "/", "/tmp", Path.home()])
def test_what_no_run_makes_is_refused(path, cache):
    with Ledger.open("run") as ledger, pytest.raises(ValueError, match="not something that a run makes"):
        ledger.file(path)


def test_it_knows_a_process_by_when_it_started():
    own = psutil.Process()
    started = leftovers._started(own.pid)
    assert started is not None
    assert started == leftovers._started(own.pid)
    assert leftovers._started(1 << 22) is None
    child = subprocess.Popen(["true"])
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.005)
    assert leftovers._started(child.pid) is None, "only waited for"
    child.wait()
