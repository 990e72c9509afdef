"""Folders in the user's cache that are made once, whole or not at all.

A folder is made beside its final place and moved there when it is finished, under a lock, so that
processes starting together make it once. A marker file inside holds the fingerprint of every file;
it is written last, and a folder that does not agree with its marker is made again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lsbench.catalog.fingerprint import Fingerprint, fingerprint
from lsbench.catalog.progress import Progress
from lsbench.errors import BadInput

MARKER = "lsbench-prepared.json"


class Marker(BaseModel):
    """What a prepared folder should hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    """How the folder was made; a folder made another way is made again."""
    files: dict[str, Fingerprint]
    """Every file by its path relative to the folder, the marker itself left out."""


def prepared_folder(
    place: Path, recipe: str, what: str, make: Callable[[Path], None], progress: Progress
) -> Path:
    """The folder at ``place``, made by ``make`` unless it already stands there undamaged.

    Args:
        place: where the folder belongs; its parents are made as needed.
        recipe: names how ``make`` works; change it to have old folders made again.
        what: what the folder holds, for messages, such as ``"the model x"``.
        make: fills the empty folder it is given; what it raises passes through.
        progress: told when another process is being waited for.

    Raises:
        BadInput: the cache folder cannot be written.
    """
    if is_intact(place, recipe):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place, what, progress):
            _remove_leftovers(place)
            if not is_intact(place, recipe):  # another process may have made it while we waited
                _make(place, recipe, make)
    except OSError as error:
        raise BadInput(
            f"Cannot prepare {what} in the cache folder {str(place.parent)!r}: {error.strerror or error}. "
            "Make room or give write access there, or set LSBENCH_CACHE to another folder."
        ) from error
    return place


def is_intact(place: Path, recipe: str, *, thorough: bool = False) -> bool:
    """Whether a prepared folder stands at ``place`` and holds exactly what was once written.

    Sizes and times are compared; only where a time differs is that file's content hashed.

    Args:
        place: the prepared folder.
        recipe: how it should have been made.
        thorough: hash every file, however familiar it looks.
    """
    try:
        marker = Marker.model_validate_json((place / MARKER).read_bytes())
        if marker.recipe != recipe:
            return False
        seen: dict[str, Fingerprint] = {}
        for name, was in marker.files.items():
            if (place / name).stat().st_size != was.size:
                return False
            seen[name] = fingerprint(place / name, None if thorough else was)
            if seen[name].sha256 != was.sha256:
                return False
    except (OSError, ValidationError):
        return False
    if seen != marker.files:
        _remember(place, Marker(recipe=recipe, files=seen))
    return True


def _make(place: Path, recipe: str, make: Callable[[Path], None]) -> None:
    partial = Path(tempfile.mkdtemp(prefix=_partial_prefix(place), dir=place.parent))
    try:
        make(partial)
        names = sorted(p.relative_to(partial).as_posix() for p in partial.rglob("*") if p.is_file())
        _write_marker(partial, Marker(recipe=recipe, files={n: fingerprint(partial / n) for n in names}))
        partial.chmod(0o755)
        if place.exists():  # damaged: moved out of the way in one step, so that nobody sees half of it
            place.rename(partial.with_name(partial.name + "-old"))
        partial.rename(place)
    finally:
        _remove_leftovers(place)


def _write_marker(folder: Path, marker: Marker) -> None:
    temporary = folder / f".{MARKER}.{os.getpid()}"
    temporary.write_text(marker.model_dump_json(indent=1))
    temporary.replace(folder / MARKER)


def _remember(place: Path, marker: Marker) -> None:
    """Note new times of unchanged files, so that they need not be hashed at every start."""
    try:
        _write_marker(place, marker)
    except OSError:
        return  # a cache we may only read is as good, only slower


@contextmanager
def _locked(place: Path, what: str, progress: Progress) -> Generator[None]:
    from filelock import FileLock, Timeout

    # The operating system frees this lock when its holder dies, however it dies.
    lock = FileLock(place.with_name(place.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.update(f"Waiting for another lsbench process that is preparing {what}", 0, None)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _partial_prefix(place: Path) -> str:
    return f".{place.name}.partial-"


def _remove_leftovers(place: Path) -> None:
    for leftover in place.parent.glob(_partial_prefix(place) + "*"):
        shutil.rmtree(leftover, ignore_errors=True)
