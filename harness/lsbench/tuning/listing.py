"""The searches under an output folder: found by name, listed by age."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from lsbench.errors import BadInput, LsbenchError, unknown
from lsbench.store.held_folder import is_being_written
from lsbench.store.listing import LATEST, list_runs
from lsbench.store.overview import StrategyOutcome
from lsbench.tuning.trials import MANIFEST, TuneManifest, read_manifest


@dataclass(frozen=True)
class TuneListing:
    """One search; fields of a damaged one that cannot be told are None or empty."""

    tune_id: str
    path: Path
    status: Literal["running", "complete", "interrupted", "failed", "damaged"]
    created: datetime | None
    model: str | None
    tasks: tuple[str, ...]
    strategy: str
    """Its label, with what is fixed."""


def best_of(tune: TuneListing) -> StrategyOutcome:
    """The best that a search found, with its speed on the final documents; else what it searches.

    ``outcome.json`` is not held to its schema here, so that hundreds of folders are listed in a second.
    """
    from lsbench.tuning.result import OUTCOME

    try:
        outcome = json.loads((tune.path / OUTCOME).read_bytes())
        best, beats = outcome["best"], outcome["beats_baseline"]
        low, high = best["speedup_ci95"] or (None, None)
        speedup, label = float(best["speedup"]), str(best["label"])
    except (OSError, ValueError, KeyError, TypeError):
        return StrategyOutcome(tune.strategy)
    said = "the best found, faster" if beats else "the best found, not shown to be faster"
    interval = None if low is None or high is None else (float(low), float(high))
    return StrategyOutcome(label, speedup, interval, said)


def is_tune_folder(path: Path) -> bool:
    """Whether a folder is a search's."""
    return (path / MANIFEST).is_file()


def list_tunes(output_dir: Path | str) -> list[TuneListing]:
    """Every search's folder directly under ``output_dir``, oldest first; none when it does not exist.

    Raises:
        BadInput: the folder cannot be read.
    """
    listings = [_listing(path) for path in _tune_paths(Path(output_dir))]
    return sorted(
        listings, key=lambda each: (each.created.timestamp() if each.created else 0.0, each.tune_id)
    )


def find_tune(name_or_path: str | Path, output_dir: Path | str) -> Path:
    """The folder of one search, by its path, its id, the beginning of its id, or ``latest``.

    Raises:
        BadInput: there is none, or several begin so.
    """
    name, output = str(name_or_path), Path(output_dir)
    paths = {path.name: path for path in _tune_paths(output)}
    if name in paths:
        return paths[name]
    if name not in ("", LATEST) and (Path(name).is_dir() or "/" in name):
        if not is_tune_folder(Path(name)):
            raise BadInput(f"{name} is no folder of a search: it has no {MANIFEST}.")
        return Path(name)
    if not paths:
        raise BadInput(f"No search {name!r}: {output} holds none; say where they are with --output DIR.")
    if name == LATEST:
        sound = [each for each in list_tunes(output) if each.status != "damaged"]
        if not sound:
            raise BadInput(f"No latest search: every one in {output} is damaged.")
        return sound[-1].path
    beginning = [known for known in paths if name and known.startswith(name)]
    if len(beginning) == 1:
        return paths[beginning[0]]
    if beginning:
        shown = ", ".join(beginning[:5]) + (", ..." if len(beginning) > 5 else "")
        raise BadInput(f"{len(beginning)} searches begin with {name!r}: {shown}; give more of the id.")
    raise unknown("search", name, paths)


def named_tune(name: str, output_dir: Path | str) -> Path | None:
    """The search that a name stands for where runs are named, too; None where it stands for none.

    ``latest`` is whatever was begun last.

    Raises:
        BadInput: the folder cannot be read.
    """
    output = Path(output_dir)
    if is_tune_folder(Path(name)) or is_tune_folder(output / name):
        return find_tune(name, output)
    runs = list_runs(output)
    if name == LATEST:
        tunes = [each for each in list_tunes(output) if each.created is not None]
        newest = max((run.created for run in runs if run.created is not None), default=None)
        if tunes and tunes[-1].created is not None and (newest is None or tunes[-1].created > newest):
            return tunes[-1].path
        return None
    if not name or any(run.run_id.startswith(name) for run in runs):
        return None
    beginning = [path for path in _tune_paths(output) if path.name.startswith(name)]
    return find_tune(name, output) if beginning else None


def _tune_paths(output: Path) -> list[Path]:
    if not output.is_dir():
        return []
    try:
        return sorted(path.parent for path in output.glob(f"*/{MANIFEST}"))
    except OSError as error:
        raise BadInput(f"Cannot read {output}: {error.strerror or error}.") from error


def _listing(path: Path) -> TuneListing:
    try:
        manifest = read_manifest(path)
    except LsbenchError:
        return TuneListing(path.name, path, "damaged", None, None, (), "")
    spec = manifest.spec
    return TuneListing(
        manifest.tune_id,
        path,
        _status(path, manifest),
        manifest.created,
        spec.run.model,
        spec.run.tasks,
        spec.strategy.label,
    )


def _status(path: Path, manifest: TuneManifest) -> Literal["running", "complete", "interrupted", "failed"]:
    """``interrupted`` for one that was killed, whatever its manifest still says."""
    if manifest.status != "running" or is_being_written(path):
        return manifest.status
    return "interrupted"
