"""A run that has come to conclusions, read whole."""

from __future__ import annotations

from dataclasses import dataclass

from lsbench.errors import BadInput
from lsbench.metrics import Metrics
from lsbench.records import SampleRecord
from lsbench.store.manifest import Manifest, ModelFacts
from lsbench.store.run_folder import RunFolder
from lsbench.store.scores import StoredScores, read_scores


@dataclass(frozen=True)
class StoredRun:
    """All that a results folder holds for whoever compares it with others."""

    reference: str
    """What names it in a command."""
    manifest: Manifest
    model: ModelFacts
    metrics: Metrics
    records: tuple[SampleRecord, ...]
    """The last attempt at each request."""
    scores: StoredScores | None
    """None in folders of before."""


def read_run(folder: RunFolder) -> StoredRun:
    """Read everything at once.

    Raises:
        BadInput: the run is being written, or has no metrics yet.
        DamagedResults: a file of it cannot be trusted.
    """
    name = folder.reference
    if folder.being_written():
        raise BadInput(f"Run {name} is still running; wait until it ends, or stop it.")
    metrics, model = folder.metrics(), folder.manifest.model
    if metrics is None or model is None:
        raise BadInput(
            f"Run {name} stopped before it had metrics: `lsbench run --resume {name}` finishes it, "
            f"`lsbench report {name} --rescore` scores what it has."
        )
    return StoredRun(name, folder.manifest, model, metrics, tuple(folder.records()), read_scores(folder))
