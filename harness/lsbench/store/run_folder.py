"""One run's folder: created, appended to by one process at a time, read by any."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import ValidationError

from lsbench.errors import BadInput, DamagedResults, LsbenchError
from lsbench.metrics import Metrics
from lsbench.records import Products, RecordKey, SampleRecord
from lsbench.spec import RunSpec
from lsbench.store import machine
from lsbench.store.atomic import remove_leftovers
from lsbench.store.held_folder import HeldFolder, cannot_write
from lsbench.store.manifest import Manifest, first_problem, read_manifest
from lsbench.store.naming import new_folder
from lsbench.store.resume import changes_since
from lsbench.store.samples import SamplesFile

MANIFEST = "manifest.json"
SAMPLES = "samples.jsonl"
METRICS = "metrics.json"
TORN_NOTE = (
    "The last line of samples.jsonl was cut short when the run was stopped; its request was run again."
)


class RunFolder(HeldFolder):
    """A results folder.

    Opened, it only reads. ``create`` and ``resume`` take the folder's lock, and from then on this
    process alone may append; the lock goes with the process, however it ends. Use it as a context
    manager, or call ``close``, to give the lock up.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, "Run")
        self._manifest = manifest
        self._samples = SamplesFile(path / SAMPLES)
        self._finished: set[RecordKey] = set()

    @classmethod
    def create(
        cls,
        output_dir: Path | str,
        spec: RunSpec,
        *,
        gpus: tuple[str, ...] = (),
        threads: int | None = None,
        products: Products | None = None,
        seeds: dict[str, int] | None = None,
    ) -> RunFolder:
        """Make the folder of a new run and write its manifest, before anything slow begins.

        Args:
            output_dir: the folder of all runs; made when missing.
            spec: what was asked.
            gpus: names of the devices used.
            threads: threads of torch's CPU operators, as they are.
            products: what multiplies a few rows with weights.
            seeds: seeds beside the run's own.

        Raises:
            BadInput: the folder cannot be made or written to.
        """
        output = Path(output_dir)
        now = datetime.now(UTC)
        try:
            path = new_folder(output, spec, now)
            manifest = Manifest(
                run_id=path.name,
                status="running",
                spec=spec,
                created=now,
                updated=now,
                versions=machine.versions(),
                hardware=machine.hardware(gpus),
                threads=threads,
                products=products,
                load_average=machine.load_average(),
                seeds={"run": spec.seed, **(seeds or {})},
                git=machine.git_state(),
            )
            folder = cls(path, manifest)
            folder._acquire()
            folder.write_manifest(manifest)
        except OSError as error:
            raise cannot_write(output, error) from error
        return folder

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Open a folder for reading.

        Raises:
            BadInput: it does not exist, or is not a results folder.
            DamagedResults: its manifest cannot be trusted.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BadInput(f"No results folder at {folder}.")
        if not (folder / MANIFEST).is_file():
            raise BadInput(f"{folder} is not a results folder: it has no {MANIFEST}.")
        return cls(folder, read_manifest(folder / MANIFEST))

    def resume(self, products: Products | None = None) -> int:
        """Take the lock, mend what a kill left behind, and begin the run's next segment.

        Call ``check_resumable`` first. A torn last line is cut off, with a note in the manifest; noted too
        are versions, hardware and products that differ from those the run was begun with.

        Args:
            products: what multiplies a few rows with weights now.

        Returns:
            The new segment's number, for ``SampleRecord.segment``.

        Raises:
            BadInput: another process writes to this folder, or it is read-only.
            DamagedResults: the samples cannot be trusted.
        """
        try:
            self._acquire()
            self._manifest = read_manifest(self.path / MANIFEST)
            read = self._samples.read()
            notes = list(self._manifest.notes)
            if read.torn_bytes:
                self._samples.cut_to(read.sound_bytes)
                notes.append(TORN_NOTE)
            remove_leftovers(self.path)
            self._finished = {key for key, record in read.records.items() if record.error is None}
            segment = self._manifest.segments
            notes += changes_since(self._manifest, segment, products)
            self.update_manifest(segments=segment + 1, status="running", notes=tuple(dict.fromkeys(notes)))
        except OSError as error:
            self.close()
            raise BadInput(f"Cannot write to {self.path}: {error.strerror or error}.") from error
        except LsbenchError:
            self.close()
            raise
        return segment

    def hold(self) -> None:
        """Take the lock without beginning a segment, to write metrics and reports anew.

        Raises:
            BadInput: another process writes to this folder, or it is read-only.
        """
        try:
            self._acquire()
        except OSError as error:
            raise BadInput(f"Cannot write to {self.path}: {error.strerror or error}.") from error

    @property
    def run_id(self) -> str:
        """The run's name, which is the folder's."""
        return self._manifest.run_id

    @property
    def manifest(self) -> Manifest:
        """The manifest as last read or written by this object."""
        return self._manifest

    @property
    def segment(self) -> int:
        """Number of the latest segment, counted from 0."""
        return self._manifest.segments - 1

    def append(self, record: SampleRecord) -> None:
        """Add one finished request, safely on the disk when this returns.

        Raises:
            RuntimeError: this process does not hold the folder's lock.
            ValueError: the request was finished before.
            LsbenchError: the disk did not take the line.
        """
        self._require_lock()
        if record.key in self._finished:
            raise ValueError(f"already finished: {record.key}")
        self._samples.append(record)
        if record.error is None:
            self._finished.add(record.key)

    def records(self) -> list[SampleRecord]:
        """The last attempt at each request, failed ones included, in the order they were written.

        A last line without its newline is left out: it was cut short, or is being written now.

        Raises:
            DamagedResults: naming the file and the line.
        """
        return list(self._samples.read().records.values())

    def finished(self) -> set[RecordKey]:
        """The requests that need not be run again: those whose last attempt did not fail."""
        return {record.key for record in self.records() if record.error is None}

    def attempts(self) -> dict[RecordKey, int]:
        """The number of the last attempt at each request that failed, for numbering the next one."""
        return {record.key: record.attempt for record in self.records() if record.error is not None}

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest; only for who holds the lock."""
        self._require_lock()
        self.write_text(MANIFEST, manifest.model_dump_json(by_alias=True, indent=2) + "\n")
        self._manifest = manifest

    def update_manifest(self, **changes: Any) -> Manifest:
        """Replace the named fields of the manifest (and the time it was updated), and write it."""
        fields = {**dict(self._manifest), "updated": datetime.now(UTC), **changes}
        fields["schema"] = fields.pop("schema_")
        manifest = Manifest.model_validate(fields)
        self.write_manifest(manifest)
        return manifest

    def add_notes(self, *notes: str) -> None:
        """Add to the manifest what a reader must know; a note that is there already is not repeated."""
        together = tuple(dict.fromkeys((*self._manifest.notes, *notes)))
        if together != self._manifest.notes:
            self.update_manifest(notes=together)

    def write_metrics(self, metrics: Metrics) -> None:
        """Replace ``metrics.json``."""
        fields = metrics.model_dump(by_alias=True)
        text = pydantic_core.to_json(fields, indent=2, inf_nan_mode="strings").decode()
        self.write_text(METRICS, text + "\n")

    def metrics(self) -> Metrics | None:
        """Read ``metrics.json``; None when the run has not come that far.

        Raises:
            DamagedResults: it is not what lsbench writes.
        """
        path = self.path / METRICS
        try:
            return Metrics.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedResults(f"Cannot read {path}: {error.strerror or error}.") from error
        except ValidationError as error:
            raise DamagedResults(
                f"{path} is damaged: {first_problem(error)}; `lsbench report {self.run_id} --rescore` "
                "makes it again."
            ) from error

    def write_text(self, name: str, text: str) -> None:
        """Replace one file of the folder, such as ``report.html``; a reader never sees half of it.

        Raises:
            BadInput: the folder is read-only, or the disk is full.
        """
        if Path(name).name != name or name == SAMPLES:
            raise ValueError(f"not a file that is written whole: {name!r}")
        self._replace(name, text)

    def discard_if_empty(self) -> None:
        """Remove the folder of a run that stopped before its first finished request."""
        self._require_lock()
        if not (self.path / SAMPLES).exists():
            self.close()
            shutil.rmtree(self.path, ignore_errors=True)

    def _close_files(self) -> None:
        self._samples.close()

    def _require_lock(self) -> None:
        if not self.is_held:
            raise RuntimeError(f"{self.path} is open for reading only; create or resume it to write")
