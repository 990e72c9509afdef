"""A search's folder while the search writes to it: one process at a time; no kill loses what is finished."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lsbench.errors import BadInput
from lsbench.records import SampleRecord
from lsbench.store import machine
from lsbench.store.held_folder import HeldFolder, cannot_write
from lsbench.store.naming import new_folder
from lsbench.store.samples import SamplesFile
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.trials import (
    TRIALS,
    Trial,
    TrialsFile,
    TuneManifest,
    read_manifest,
    write_manifest,
)

FINAL_SAMPLES = "final_samples.jsonl"
"""Every request that was timed on the final documents."""


class TuneFolder(HeldFolder):
    """A folder, held for writing until it is closed. Any thread may add to it.

    Args:
        path: where it is.
        manifest: that stands in it.
    """

    def __init__(self, path: Path, manifest: TuneManifest) -> None:
        super().__init__(path, "Search")
        self.manifest = manifest
        self._trials_file, self._samples_file = TrialsFile(path / TRIALS), SamplesFile(path / FINAL_SAMPLES)
        self._trials: list[Trial] = []
        self._samples: list[SampleRecord] = []
        self._guard = threading.RLock()

    @classmethod
    def create(cls, spec: TuneSpec, gpus: tuple[str, ...], threads: int | None) -> TuneFolder:
        """Make the folder of a new search.

        Raises:
            BadInput: it cannot be made or written to.
        """
        output, now = Path(spec.run.output), datetime.now(UTC)
        named = spec.run.model_copy(update={"tasks": (f"tune_{spec.run.tasks[0]}", *spec.run.tasks[1:])})
        try:
            path = new_folder(output, named, now)
            manifest = TuneManifest(
                tune_id=path.name,
                status="running",
                spec=spec,
                created=now,
                updated=now,
                versions=machine.versions(),
                hardware=machine.hardware(gpus),
                seeds={"split": spec.seed, "searcher": spec.seed, "requests": spec.run.seed},
                threads=threads,
                load_average=machine.load_average(),
                git=machine.git_state(),
            )
            folder = cls(path, manifest)
            folder._acquire()
            write_manifest(path, manifest)
        except OSError as error:
            raise cannot_write(output, error) from error
        return folder

    @classmethod
    def resume(cls, path: Path) -> TuneFolder:
        """Hold a stopped search's folder, and mend what a kill left behind.

        Raises:
            BadInput: it is none, or another process writes to it.
            DamagedResults: its files cannot be trusted.
        """
        folder = cls(path, read_manifest(path))
        try:
            folder._acquire()
        except OSError as error:
            raise BadInput(f"Cannot write to {path}: {error.strerror or error}.") from error
        trials, samples = folder._trials_file.read(), folder._samples_file.read()
        if trials.torn_bytes:
            folder._trials_file.cut_to(trials.sound_bytes)
        if samples.torn_bytes:
            folder._samples_file.cut_to(samples.sound_bytes)
        folder._trials, folder._samples = list(trials.trials), list(samples.records.values())
        folder.update(status="running", segments=folder.manifest.segments + 1)
        return folder

    @property
    def tune_id(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every finished one, in the order in which they finished."""
        with self._guard:
            return tuple(self._trials)

    @property
    def samples(self) -> tuple[SampleRecord, ...]:
        """What was timed on the final documents."""
        return tuple(self._samples)

    def add(self, trial: Trial) -> None:
        """Keep a trial; it is on the disk when this returns.

        Raises:
            LsbenchError: the disk is full.
        """
        with self._guard:
            self._trials_file.append(trial)
            self._trials = [each for each in self._trials if each.key != trial.key] + [trial]

    def add_sample(self, record: SampleRecord) -> None:
        """Keep a record of the final documents, likewise."""
        self._samples_file.append(record)
        self._samples.append(record)

    def update(self, **changes: Any) -> None:
        """Write the manifest with some fields changed."""
        with self._guard:
            changes["updated"] = datetime.now(UTC)
            self.manifest = self.manifest.model_copy(update=changes)
            write_manifest(self.path, self.manifest)

    def note(self, *texts: str) -> None:
        """Add notes that are not there yet."""
        new = [text for text in dict.fromkeys(texts) if text not in self.manifest.notes]
        if new:
            self.update(notes=(*self.manifest.notes, *new))

    def write(self, name: str, text: str) -> None:
        """Replace a file of the folder.

        Raises:
            BadInput: it cannot be written.
        """
        self._replace(name, text)

    def _close_files(self) -> None:
        self._trials_file.close()
        self._samples_file.close()
