"""``trials.jsonl``, one finished trial a line, the unit of resume; and ``tune.json``, a search's manifest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, JsonValue, ValidationError

from lsbench.errors import BadInput, DamagedResults
from lsbench.metrics import Interval
from lsbench.records import StepCost
from lsbench.spec import Frozen, StrategyChoice
from lsbench.store.atomic import write_atomically
from lsbench.store.line_file import LineFile
from lsbench.store.machine import GitState, Hardware
from lsbench.store.manifest import ModelFacts, first_problem
from lsbench.tuning.domains import Token
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.split import Split

SCHEMA = 1
TRIALS = "trials.jsonl"
MANIFEST = "tune.json"


class TrialKey(NamedTuple):
    """What makes a trial unique within a search, and so what resuming goes by."""

    kind: str
    documents: str
    number: int


class Trial(Frozen):
    """One setting of a strategy's options, and what came of it. A value that does not apply is None."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    number: int = Field(ge=0)
    """Counted from 0 within its kind."""
    kind: Literal["predicted", "timed"]
    """From one teacher-forced pass and measured costs, or from decoding that was timed."""
    documents: Literal["tuning", "final"] = "tuning"
    """Which documents it ran on; the search sees nothing of the final ones."""
    status: Literal["ok", "failed", "invalid", "timed_out"]
    reason: str | None = None
    """Why it is not ``ok``, in one line."""
    strategy: str
    options: dict[str, JsonValue]
    label: str
    point: dict[str, Token] = Field(default_factory=dict)
    """Where it lies in the search space; empty for one that lies outside, as the default may."""
    origin: Literal["default", "start", "searcher", "grid", "random", "prediction"] = "searcher"
    """Who proposed it; ``prediction`` is a timed trial of what was predicted to be among the best."""
    objective: float | None = None
    """What the searcher was told, the penalty of a trial that is not ``ok`` included."""
    predicted_speedup: float | None = None
    speedup: float | None = None
    """Measured, over the baseline."""
    speedup_ci95: Interval | None = None
    tpot_ratio: float | None = None
    """Its seconds per token over the baseline's."""
    quality: float | None = None
    quality_name: str | None = None
    """``token_agreement``, or the task metric that ``quality`` is."""
    quality_bound: float | None = None
    """The lower end of its 95 % interval: what a quality floor is held against."""
    acceptance: float | None = None
    """Accepted ÷ drafted tokens."""
    mean_layers: float | None = None
    """Layers run for each decoded token."""
    prompts: int | None = None
    """How many it is measured on."""
    seconds: float = Field(ge=0)
    """What the trial cost, whatever came of it."""
    seed: int

    @property
    def key(self) -> TrialKey:
        """This trial's identity within its search."""
        return TrialKey(self.kind, self.documents, self.number)

    @property
    def choice(self) -> StrategyChoice:
        """The strategy with its options."""
        return StrategyChoice(name=self.strategy, options=self.options)


class TuneManifest(Frozen):
    """Everything needed to search the same again; written when a search begins and whenever more is known."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    tune_id: str
    status: Literal["running", "complete", "interrupted", "failed"]
    spec: TuneSpec
    created: datetime
    """UTC."""
    updated: datetime
    """UTC."""
    versions: dict[str, str | None]
    hardware: Hardware
    seeds: dict[str, int]
    """By what they are for: the split, the searcher, the requests."""
    split: Split | None = None
    """None until the tasks' documents are known."""
    model: ModelFacts | None = None
    """None until the model has been found."""
    files_sha256: dict[str, str] = Field(default_factory=dict)
    """Of the user's own files (``--data``, ``--data-fewshot``), by the name they were given."""
    threads: int | None = None
    load_average: tuple[float, float, float] | None = None
    git: GitState | None = None
    costs: tuple[StepCost, ...] = ()
    """What the parts of a step cost on this machine: what speedups are predicted from."""
    skip_ranking: tuple[tuple[str, float, float], ...] = ()
    """Item, block influence and bytes of each sub-layer, where skip sets were searched."""
    search_s: float = Field(default=0.0, ge=0)
    """Seconds that all segments of the search took together."""
    segments: int = Field(default=1, ge=1)
    """How many processes went on with it."""
    notes: tuple[str, ...] = ()


def write_manifest(folder: Path, manifest: TuneManifest) -> None:
    """Put a manifest in the search's folder; a reader sees the old one or the new one, never a part.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_atomically(folder / MANIFEST, manifest.model_dump_json(by_alias=True, indent=2) + "\n")


def read_manifest(folder: Path) -> TuneManifest:
    """Read the manifest of a search's folder.

    Raises:
        BadInput: there is none, or it is of another schema.
        DamagedResults: it is not a manifest.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{folder} is no folder of a search: {path.name}: {error.strerror or error}"
        ) from error
    try:
        manifest = TuneManifest.model_validate_json(text)
    except ValidationError as error:
        raise DamagedResults(f"{path} is damaged: {first_problem(error)}.") from error
    if manifest.schema_ != SCHEMA:
        raise BadInput(f"{path} has schema {manifest.schema_}, this lsbench reads {SCHEMA}; update lsbench.")
    return manifest


@dataclass(frozen=True)
class TrialsRead:
    """What a trials file holds.

    Attributes:
        trials: the last attempt at each, in the order they were written.
        sound_bytes: length of the file up to and with its last newline.
        torn_bytes: what stands after it: a line whose writing was cut short.
    """

    trials: tuple[Trial, ...]
    sound_bytes: int
    torn_bytes: int


class TrialsFile(LineFile):
    """Appends trials, and reads them back, as ``store.samples.SamplesFile`` does records."""

    def read(self) -> TrialsRead:
        """Read every trial; a missing file holds none. A trial that was not ``ok`` may have been tried again.

        Raises:
            DamagedResults: a finished line is no trial, or a trial came out twice.
        """
        found: dict[TrialKey, Trial] = {}
        sound = 0
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return TrialsRead((), 0, 0)
        except OSError as error:
            raise DamagedResults(f"Cannot read {self.path}: {error.strerror or error}.") from error
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                break
            sound += len(line)
            trial = self._parse(line, number)
            earlier = found.pop(trial.key, None)
            if earlier is not None and earlier.status == "ok":
                raise DamagedResults(
                    f"{self.path}, line {number}: {trial.kind} trial {trial.number} on {trial.documents} "
                    "documents stands here a second time; remove one of the two lines."
                )
            found[trial.key] = trial
        return TrialsRead(tuple(found.values()), sound, len(content) - sound)

    def append(self, trial: Trial) -> None:
        """Add one line and see it onto the disk.

        Raises:
            LsbenchError: the line could not be written whole; the file is then as it was.
        """
        self._write(trial)

    def _parse(self, line: bytes, number: int) -> Trial:
        try:
            trial = Trial.model_validate_json(line)
        except ValidationError as error:
            raise DamagedResults(
                f"{self.path}, line {number} is damaged: {first_problem(error)}; "
                "remove that line and --resume the search, which goes on from the others."
            ) from error
        if trial.schema_ != SCHEMA:
            raise DamagedResults(
                f"{self.path}, line {number} has schema {trial.schema_}, this lsbench reads {SCHEMA}."
            )
        return trial
