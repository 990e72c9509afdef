"""What a run started and made beside its results, written down so that it is cleaned up however the run ends.

A run ends what it started by itself. One that is killed (``kill -9``, no memory left) cannot: its processes
may live on, and its files in ``/dev/shm`` hold memory until they are deleted. So each run keeps a ledger in
the user's cache folder, one line a process or file, written before it is needed; ``clean`` reads the ledgers
of runs that are gone. What is in none is never touched: somebody else's process may bear the same number, so
a process counts as ours only with the time it started, and ledgers of other machines are left to these.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lsbench.user_cache import cache_folder

_SUFFIX = ".jsonl"
_PATIENCE_S = 5.0
"""How long a process may take to end when asked, before it is killed."""
_LOOK_EVERY_S = 0.01
_FORGOTTEN_S = 30 * 24 * 3600.0
"""Age from which a ledger of another machine is deleted: that machine does not come back for it."""
_PROC = Path("/proc")


class Ledger:
    """What one run has started and made; a context manager, or call ``close``.

    Every entry is in the file when the call returns, so that a kill a moment later is survived.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    @classmethod
    def open(cls, run: str) -> Ledger:
        """Begin the ledger of a run of this process.

        Args:
            run: what to call it when telling of it, such as its id.

        Raises:
            OSError: the cache folder cannot be written to.
        """
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        ledger = cls(folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
        ledger._write(run=run, place=_place(), owner=os.getpid(), started=_started(os.getpid()))
        return ledger

    def process(self, pid: int) -> None:
        """Write down a process, which is ours with all that it starts; one that is gone is left out."""
        started = _started(pid)
        if started is not None:
            self._write(process=pid, started=started)

    def file(self, path: Path | str) -> None:
        """Write down a file, or a folder with all it holds; it need not be there yet.

        Raises:
            ValueError: it is not absolute, or a folder of the system's own or the user's home.
        """
        place = Path(path)
        if not place.is_absolute() or len(place.parts) < 3 or place == Path.home():
            raise ValueError(f"not something that a run makes: {path}")
        self._write(file=str(place))

    def close(self) -> None:
        """End and delete what is left of it all, and the ledger with it."""
        if self._file.closed:
            return
        self._file.close()
        _clean_one(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, **entry: object) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


@dataclass(frozen=True)
class Found:
    """What a run that is gone had left.

    Attributes:
        run: what it was called.
        processes: how many processes were ended.
        files: how many files and folders were deleted.
        bytes: what the files held.
    """

    run: str
    processes: int
    files: int
    bytes: int

    @property
    def words(self) -> str:
        """All that in a few words."""
        held = f" ({self.bytes / (1 << 20):.0f} MiB)" if self.bytes >= 1 << 20 else ""
        parts = [
            f"{self.processes} process{'es' if self.processes != 1 else ''}" if self.processes else "",
            f"{self.files} file{'s' if self.files != 1 else ''}{held}" if self.files else "",
        ]
        return f"{' and '.join(filter(None, parts))} of run {self.run}, which had been killed"


def clean(tell: Callable[[str], None]) -> int:
    """End the processes and delete the files that killed runs on this machine left behind.

    Args:
        tell: is told, a line a run, what was found and cleaned up.

    Returns:
        how many processes and files there were.
    """
    total = 0
    for found in clean_up():
        tell(f"cleaned up {found.words}")
        total += found.processes + found.files
    return total


def clean_up() -> Iterator[Found]:
    """As ``clean``, run by run."""
    for path in sorted(_folder().glob(f"*{_SUFFIX}")):
        with contextlib.suppress(OSError):
            if _abandoned(path):
                found = _clean_one(path)
                if found.processes or found.files:
                    yield found


@dataclass
class _Entries:
    """A ledger as read."""

    run: str = "unknown"
    place: list[str] = field(default_factory=list)
    owner: int = 0
    owner_started: float | None = None
    processes: dict[int, float] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def _folder() -> Path:
    return cache_folder() / "leftovers"


def _read(path: Path) -> _Entries:
    """A line that was cut short by a kill is left out."""
    entries = _Entries()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry: dict[str, Any] = json.loads(line)
            if "owner" in entry:
                entries.run, entries.place = str(entry["run"]), list(entry["place"])
                entries.owner, entries.owner_started = int(entry["owner"]), entry["started"]
            elif "process" in entry:
                entries.processes[int(entry["process"])] = float(entry["started"])
            elif "file" in entry:
                entries.files.append(Path(entry["file"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return entries


def _abandoned(path: Path) -> bool:
    """Whether the run of a ledger is gone and was one of this machine; an old one of another is deleted."""
    entries = _read(path)
    if entries.place != _place():
        if time.time() - path.stat().st_mtime > _FORGOTTEN_S:
            path.unlink(missing_ok=True)
        return False
    return _started(entries.owner) != entries.owner_started


def _clean_one(path: Path) -> Found:
    """End and delete what a ledger lists, then the ledger; whoever comes second finds it empty."""
    import filelock

    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.exists():
            return Found("", 0, 0, 0)
        entries = _read(path)
        ended = _end(entries.processes | _writers(entries.files))
        sizes = [size for file in entries.files if (size := _delete(file)) is not None]
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)
    return Found(entries.run, ended, len(sizes), sum(sizes))


def _writers(paths: list[Path]) -> dict[int, float]:
    """Processes that write to a file in a folder of ours, by when they started: ours too, though nobody wrote
    them down. Some begin after whoever began them was written down, and outlive it. Who only reads, such as a
    person that follows a log, is not one."""
    folders = tuple(f"{path}{os.sep}" for path in paths if path.is_dir() and not path.is_symlink())
    found: dict[int, float] = {}
    for link in _PROC.glob("[0-9]*/fd/*") if folders else ():
        with contextlib.suppress(OSError, ValueError, StopIteration):
            if not os.readlink(link).startswith(folders):
                continue
            told = (link.parent.parent / "fdinfo" / link.name).read_text().splitlines()
            flags = int(next(line for line in told if line.startswith("flags:")).split()[1], 8)
            pid = int(link.parent.parent.name)
            if flags & os.O_ACCMODE != os.O_RDONLY and (started := _started(pid)) is not None:
                found[pid] = started
    return found


def _end(processes: dict[int, float]) -> int:
    """Ask processes and all they started to end, kill those that do not; how many there were."""
    import psutil

    ours: dict[int, tuple[psutil.Process, float]] = {}
    for pid, started in processes.items():
        if pid == os.getpid() or _started(pid) != started:
            continue
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                if (since := _started(one.pid)) is not None:
                    ours[one.pid] = one, since
    ours.pop(os.getpid(), None)
    for send in (psutil.Process.terminate, psutil.Process.kill):
        waited_until = time.monotonic() + _PATIENCE_S
        left = [(process, since) for process, since in ours.values() if _started(process.pid) == since]
        for process, _ in left:
            with contextlib.suppress(psutil.Error):
                send(process)
        # psutil's own waiting goes on for a process that nobody reaps.
        while time.monotonic() < waited_until and any(_started(one.pid) == since for one, since in left):
            time.sleep(_LOOK_EVERY_S)
    return len(ours)


def _delete(path: Path) -> int | None:
    """Delete a file or folder; its bytes, or None if it was not there or somebody uses it."""
    try:
        if path.is_dir() and not path.is_symlink():
            size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
            shutil.rmtree(path, ignore_errors=True)
            return size
        size = path.lstat().st_size
        if _in_use(path):
            return None
        path.unlink()
    except OSError:
        return None
    return size


def _in_use(path: Path) -> bool:
    """Whether some process has a file in its memory: a later run may have made one of the same name."""
    name = f" {path}"
    for maps in _PROC.glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            if any(line.endswith(name) for line in maps.read_text("utf-8", errors="replace").splitlines()):
                return True
    return False


def _started(pid: int) -> float | None:
    """When a process started, in the system's own count, or None if it is gone or only waited for.

    Clock ticks since the machine's start on Linux: the time of day may be set while it runs.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        state, *rest = fields.rpartition(")")[2].split()
        return None if state in "ZX" else float(rest[18])
    except (OSError, ValueError, IndexError):
        if (_PROC / "self" / "stat").exists():
            return None
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _place() -> list[str]:
    """Where process numbers mean what they mean here: the machine, its start, and the container."""
    place = [platform.node()]
    with contextlib.suppress(OSError):
        place.append((_PROC / "sys/kernel/random/boot_id").read_text().strip())
        place.append(os.readlink(_PROC / "self/ns/pid"))
    return place
