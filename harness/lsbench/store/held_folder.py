"""A folder of results that one process at a time writes to, and any may read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lsbench.errors import BadInput
from lsbench.store.atomic import write_atomically

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LOCK = ".lock"
_PATIENCE_S = 0.3
"""Long enough to outlast a reader that only asks whether anyone writes."""


class HeldFolder(ABC):
    """What folders of runs and of searches have in common; a context manager that lets go of the lock.

    The lock goes with the process, however it ends.

    Args:
        path: where it is.
        kind: what it is of, as a message begins: ``Run`` or ``Search``.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._kind = kind
        self._lock: BaseFileLock | None = None

    @property
    def reference(self) -> str:
        """How to name it in a command: its id where results usually are, its path elsewhere."""
        return self.path.name if self.path.parent == Path("results") else str(self.path)

    @property
    def is_held(self) -> bool:
        """Whether this process writes to it."""
        return self._lock is not None

    def being_written(self) -> bool:
        """Whether some process holds the folder's lock now."""
        return self.is_held or is_being_written(self.path)

    def close(self) -> None:
        """Give up the lock, if held."""
        self._close_files()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _close_files(self) -> None:
        """Close what is open in it."""

    def _acquire(self) -> None:
        """Take the lock.

        Raises:
            BadInput: another process has it.
            OSError: the folder is read-only.
        """
        if self._lock is not None:
            return
        import filelock

        # Whichever thread lets go of it.
        lock = filelock.FileLock(self.path / _LOCK, timeout=_PATIENCE_S, thread_local=False)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise BadInput(
                f"{self._kind} {self.path.name} is being written by another process; wait until it ends, or "
                "stop it."
            ) from error
        self._lock = lock

    def _replace(self, name: str, text: str) -> None:
        """Replace one file; a reader never sees half of it.

        Raises:
            BadInput: the folder is read-only, or the disk is full.
        """
        try:
            write_atomically(self.path / name, text)
        except OSError as error:
            raise BadInput(f"Cannot write {self.path / name}: {error.strerror or error}.") from error


def is_being_written(path: Path) -> bool:
    """Whether some process holds the lock of the folder at ``path`` now."""
    if not (path / _LOCK).exists():
        return False
    import filelock

    lock = filelock.FileLock(path / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def cannot_write(output: Path, error: OSError) -> BadInput:
    """Why no folder can be made under ``output``."""
    return BadInput(
        f"Cannot write results to {output}: {error.strerror or error}; choose a folder that can be written "
        "to with --output DIR."
    )
