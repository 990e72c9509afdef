"""The runs under an output folder: found by name, listed by age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from lsbench.errors import BadInput, LsbenchError, unknown
from lsbench.metrics import Status
from lsbench.store.run_folder import MANIFEST, RunFolder

LATEST = "latest"


@dataclass(frozen=True)
class RunListing:
    """One line of ``lsbench ls runs``; fields of a damaged run that cannot be told are None or empty."""

    run_id: str
    path: Path
    status: Status | Literal["damaged"]
    """``interrupted`` for a run that was killed, whatever its manifest still says."""
    created: datetime | None
    model: str | None
    tasks: tuple[str, ...]
    strategies: tuple[str, ...]
    """Labels: names with options."""


def list_runs(output_dir: Path | str) -> list[RunListing]:
    """Every results folder directly under ``output_dir``, oldest first; none when it does not exist."""
    listings = [_listing(path) for path in _run_paths(Path(output_dir))]
    return sorted(listings, key=lambda run: (run.created.timestamp() if run.created else 0.0, run.run_id))


def find_run(name_or_path: str | Path, output_dir: Path | str) -> RunFolder:
    """Find one run, by its path, its id, the beginning of its id, or ``latest``.

    Raises:
        BadInput: there is none, or several begin so.
        DamagedResults: its manifest cannot be trusted.
    """
    name, output = str(name_or_path), Path(output_dir)
    paths = {path.name: path for path in _run_paths(output)}
    if name in paths:
        return RunFolder.open(paths[name])
    if name not in ("", LATEST) and (Path(name).is_dir() or "/" in name or "\\" in name):
        return RunFolder.open(name)
    if not paths:
        raise BadInput(f"No run {name!r}: {output} holds no results; say where they are with --output DIR.")
    if name == LATEST:
        sound = [run for run in list_runs(output) if run.status != "damaged"]
        if not sound:
            raise BadInput(f"No latest run: every results folder in {output} is damaged.")
        return RunFolder.open(sound[-1].path)
    beginning = [known for known in paths if name and known.startswith(name)]
    if len(beginning) == 1:
        return RunFolder.open(paths[beginning[0]])
    if beginning:
        shown = ", ".join(beginning[:5]) + (", ..." if len(beginning) > 5 else "")
        raise BadInput(f"{len(beginning)} runs begin with {name!r}: {shown}; give more of the id.")
    raise unknown("run", name, paths)


def _run_paths(output: Path) -> list[Path]:
    if not output.is_dir():
        return []
    try:
        return sorted(path.parent for path in output.glob(f"*/{MANIFEST}"))
    except OSError as error:
        raise BadInput(f"Cannot read {output}: {error.strerror or error}.") from error


def _listing(path: Path) -> RunListing:
    try:
        folder = RunFolder.open(path)
    except LsbenchError:
        return RunListing(path.name, path, "damaged", None, None, (), ())
    manifest = folder.manifest
    status = manifest.status
    if status == "running" and not folder.being_written():
        status = "interrupted"
    return RunListing(
        run_id=manifest.run_id,
        path=path,
        status=status,
        created=manifest.created,
        model=manifest.spec.model,
        tasks=manifest.spec.tasks,
        strategies=tuple(choice.label for choice in manifest.spec.strategies),
    )
