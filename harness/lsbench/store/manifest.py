"""``manifest.json``: what was asked, on which machine, with which versions, and how far it came."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from lsbench.errors import BadInput, DamagedResults
from lsbench.metrics import ModelInfo, Status
from lsbench.records import Bandwidth, LoopTimes, Products, StepCost
from lsbench.spec import Frozen, RunSpec
from lsbench.store.machine import GitState, Hardware
from lsbench.store.placement import PlacementFacts

SCHEMA = 1


class ModelFacts(Frozen):
    """The weights that were run."""

    id: str
    path: str | None
    """Folder they were read from."""
    sha256: str
    num_layers: int
    dtype: str

    @property
    def info(self) -> ModelInfo:
        """The part that ``metrics.json`` repeats."""
        return ModelInfo(id=self.id, num_layers=self.num_layers, dtype=self.dtype, sha256=self.sha256)


class Manifest(Frozen):
    """Everything needed to ask the same again; written when a run begins and whenever more is known."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    run_id: str
    status: Status
    spec: RunSpec
    created: datetime
    """UTC."""
    updated: datetime
    """UTC."""
    versions: dict[str, str | None]
    """Of the process that began the run; a resume with other versions is told in ``notes``."""
    model: ModelFacts | None = None
    """None until the model has been found."""
    lossless: dict[str, bool] = Field(default_factory=dict)
    """By label, the baseline's included, whether a strategy claimed to give the full model's own output when
    it ran: what scoring again must know of it. Empty in folders of before."""
    unavailable: dict[str, str] = Field(default_factory=dict)
    """Strategies that could not run on this model or machine, by label, and why."""
    data_sha256: dict[str, str] = Field(default_factory=dict)
    """Hash of each task's documents."""
    files_sha256: dict[str, str] = Field(default_factory=dict)
    """Of the user's own files (``--data``, ``--data-fewshot``), by the name they were given; empty in folders
    of before."""
    hardware: Hardware
    threads: int | None = None
    """Threads of torch's CPU operators as they were, not as asked."""
    products: Products | None = None
    """What multiplied a few rows with weights; a resume with others is told in ``notes``. None in folders of
    before, when torch's did."""
    load_average: tuple[float, float, float] | None = None
    """Over 1, 5 and 15 minutes, before the run began."""
    seeds: dict[str, int] = Field(default_factory=dict)
    git: GitState | None = None
    costs: tuple[StepCost, ...] = ()
    """What the parts of a step cost, by width; empty when nothing was generated."""
    bandwidth: Bandwidth | None = None
    """Of memory, measured with the costs; None too where caches hold the model."""
    loop_times: tuple[LoopTimes, ...] = ()
    """Of those who decode in loops of their own, likewise."""
    sandbox: str | None = None
    """What confined generated code; None when none was run."""
    notes: tuple[str, ...] = ()
    segments: int = Field(default=1, ge=1)
    """How many processes wrote to the folder: the first, and one for each resume."""
    placements: tuple[PlacementFacts, ...] = ()
    """Of each segment whose model ran in other processes than the one that wrote; empty for one process."""


def read_manifest(path: Path) -> Manifest:
    """Read a ``manifest.json``.

    Raises:
        BadInput: it is of a later schema, or cannot be opened.
        DamagedResults: it is not a manifest.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {error.strerror or error}.") from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise DamagedResults(f"{path} is damaged: {first_problem(error)}.") from error
    if manifest.schema_ != SCHEMA:
        raise BadInput(f"{path} has schema {manifest.schema_}, this lsbench reads {SCHEMA}; update lsbench.")
    return manifest


def first_problem(error: ValidationError) -> str:
    """The first thing pydantic found wrong, on one line."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = " ".join(problem["msg"].split())
    return f"{where}: {message}" if where else message
