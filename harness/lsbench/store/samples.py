"""``samples.jsonl``: one finished request a line, the unit of resume."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import pydantic_core
from pydantic import ValidationError

from lsbench.errors import DamagedResults, LsbenchError
from lsbench.records import SCHEMA, RecordKey, SampleRecord
from lsbench.store.manifest import first_problem


@dataclass(frozen=True)
class SamplesRead:
    """What a samples file holds."""

    records: dict[RecordKey, SampleRecord]
    """The last attempt at each request, in the order they were written."""
    sound_bytes: int
    """Length of the file up to and with its last newline."""
    torn_bytes: int
    """What stands after it: a line whose writing was cut short (or, while a run goes on, not finished)."""


class SamplesFile:
    """Appends records, and reads them back as strictly as a measurement deserves.

    A record is one ``write`` of a whole line on a descriptor opened for appending, then ``fsync``
    (0.14 ms for 4 KB on an SSD, and never inside a timed region), so a process killed at any moment
    leaves at most one line without its newline.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def read(self) -> SamplesRead:
        """Read every record; a missing file holds none.

        A failed attempt is replaced by any later attempt at the same request.

        Raises:
            DamagedResults: a finished line is not a record, or a request was finished twice.
        """
        records: dict[RecordKey, SampleRecord] = {}
        lines: dict[RecordKey, int] = {}
        sound = 0
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return SamplesRead({}, 0, 0)
        except OSError as error:
            raise DamagedResults(f"Cannot read {self.path}: {error.strerror or error}.") from error
        with file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return SamplesRead(records, sound, len(line))
                sound += len(line)
                record = self._parse(line, number)
                earlier = records.pop(record.key, None)
                if earlier is not None and earlier.error is None:
                    raise DamagedResults(
                        f"{self.path}, line {number}: the same request as line {lines[record.key]} "
                        f"({_words(record.key)}); remove one of the two lines."
                    )
                records[record.key] = record
                lines[record.key] = number
        return SamplesRead(records, sound, 0)

    def cut_to(self, length: int) -> None:
        """Drop everything from byte ``length`` on."""
        os.truncate(self.path, length)

    def append(self, record: SampleRecord) -> None:
        """Add one line and see it onto the disk.

        Raises:
            LsbenchError: the line could not be written whole; the file is then as it was.
        """
        # Infinite log-probabilities become strings: every JSON reader takes them, and so does read().
        line = pydantic_core.to_json(record.model_dump(by_alias=True), inf_nan_mode="strings") + b"\n"
        before: int | None = None
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                self._descriptor = os.open(self.path, flags, 0o666)
            before = os.fstat(self._descriptor).st_size
            if os.write(self._descriptor, line) != len(line):
                raise OSError("the disk is full")
            os.fsync(self._descriptor)
        except OSError as error:
            if self._descriptor is not None and before is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, before)
            raise LsbenchError(
                f"Cannot write to {self.path}: {error.strerror or error}; what was finished is kept, "
                "and --resume goes on from there."
            ) from error

    def close(self) -> None:
        """Close the descriptor that appends go through."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _parse(self, line: bytes, number: int) -> SampleRecord:
        try:
            record = SampleRecord.model_validate_json(line)
        except ValidationError as error:
            raise DamagedResults(
                f"{self.path}, line {number} is damaged: {first_problem(error)}; "
                "remove that line and --resume the run, which runs its request again."
            ) from error
        if record.schema_ != SCHEMA:
            raise DamagedResults(
                f"{self.path}, line {number} has schema {record.schema_}, this lsbench reads {SCHEMA}."
            )
        return record


def _words(key: RecordKey) -> str:
    which = f"{key.task} document {key.doc_id}, request {key.idx}, repeat {key.repeat}"
    return f"{key.kind} of {which}, {key.strategy}"
