"""What a comparison of runs concludes: the schema of ``lsbench compare --json``.

A value that does not apply is None.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from lsbench.metrics import (
    Agreement,
    Ceiling,
    Difference,
    Interval,
    Measured,
    ModelInfo,
    Speedup,
    Status,
    TaskScores,
    Verdict,
)

SCHEMA = 1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Mismatch(_Model):
    """Something that runs must have alike to be compared, and have not."""

    what: str
    """In a word or two: ``dtype``, ``documents``."""
    values: dict[str, str]
    """What it is in each run, by the run's letter."""

    @property
    def words(self) -> str:
        """Both on one line, such as ``dtype (A float32, B bfloat16)``."""
        return f"{self.what} ({', '.join(f'{run} {value}' for run, value in self.values.items())})"


class SpeedRatio(_Model):
    """One speed over another on the same prompts: above 1, the first is the faster."""

    value: float
    ci95: Interval | None
    """Paired bootstrap over prompts; None with too few."""
    verdict: Verdict
    prompts: int
    """Prompts that both were timed on."""
    swing: float = 0.0
    """How far the machine's own speed went up and down, relative: the interval must lie further from 1."""


class ComparedRun(_Model):
    """One of the runs."""

    key: str
    """A letter: ``A`` is the first that was named."""
    run_id: str
    reference: str
    """What names it in a command."""
    created: datetime
    status: Status
    model: ModelInfo
    machine: str
    """Processor, accelerators and threads."""
    tasks: tuple[str, ...]
    baseline: str
    documents: int
    """That its baseline finished."""
    tokens_per_second: float | None
    """Of its baseline, as it was measured in its own process: between runs, see ``baseline_speed``."""
    noise: float | None
    """Relative difference of the baseline's time per token between two halves of its requests."""
    baseline_speed: SpeedRatio | None = None
    """Its baseline's speed over the first run's: two processes, so the machine's state is in it, and nothing
    cancels that. None for the first, and where no prompt was timed in both."""


class Row(_Model):
    """One strategy of one run, or its baseline, as that run's own metrics have it."""

    key: str
    """The run's letter and the place of the strategy there; 0 is the baseline: ``A0``, ``A1``."""
    run: str
    """The run's letter."""
    label: str
    is_baseline: bool
    unavailable: str | None = None
    """Why it could not run on its run's model or machine; then it is in no pair."""
    lossless: bool
    claim_failed: bool
    """It claims to be lossless, and its output refutes that."""
    speedup: Speedup | None
    """Against its own run's baseline."""
    tokens_per_second: float | None
    scores: dict[str, dict[str, Measured]]
    """By task, then metric."""
    token_agreement: Agreement | None
    """With its own run's baseline."""
    acceptance_rate: float | None
    mean_accepted_length: float | None
    mean_layers: float | None
    ceiling: Ceiling | None
    peak_bytes: int | None


class PairDifference(_Model):
    """One row against another, over what both did on the same prompts and documents."""

    row: str
    against: str
    """Keys of rows."""
    across_processes: bool
    """Whether they are of different runs. Then each speed is taken against its own run's baseline, and the
    ratio is one of speedups; of strategies of one run that baseline is the same and cancels."""
    speed: SpeedRatio | None
    """None where no prompt was timed in both."""
    token_agreement: Difference | None
    """Row minus the other, each with its own run's baseline."""
    tasks: dict[str, TaskScores]
    """By task, the row's scores and how they differ from the other's, over the same documents."""


class FrontPoint(_Model):
    """A row in the picture of speed against quality."""

    row: str
    speedup: float
    speedup_ci95: Interval | None
    quality: float
    on_front: bool
    """No other row has both figures at least as good, and one better."""


class Front(_Model):
    """Speed against one measure of quality."""

    quality: str
    """A task and its metric, or ``token agreement``."""
    higher_is_better: bool
    points: tuple[FrontPoint, ...]
    """Fastest first. Baselines are one point: speedup 1, the first run's score."""


class Comparison(_Model):
    """Runs side by side."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    forced: bool
    """Whether the runs are not comparable and were compared all the same."""
    mismatches: tuple[Mismatch, ...]
    """What makes them so."""
    runs: tuple[ComparedRun, ...]
    rows: tuple[Row, ...]
    """Run by run, each run's baseline first."""
    pairs: tuple[PairDifference, ...]
    fronts: tuple[Front, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know before believing a figure."""

    def row(self, key: str) -> Row:
        """The row of that key.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(key)
