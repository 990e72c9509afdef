"""The schema of ``metrics.json``: what a run concludes. A value that does not apply is None."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

SCHEMA = 1

Interval = tuple[float, float]
Verdict = Literal["faster", "slower", "no significant difference"]
Status = Literal["running", "complete", "interrupted", "failed_samples"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ModelInfo(_Model):
    """Which weights were run, and in what precision."""

    id: str
    num_layers: int
    dtype: str
    sha256: str


class Percentiles(_Model):
    """Median and 95th percentile over requests, in seconds."""

    p50: float
    p95: float


class Measured(_Model):
    """A task metric with its standard error (None where lm-eval gives none)."""

    value: float
    stderr: float | None = None


class Difference(_Model):
    """Strategy minus baseline over the same documents, with a 95 % interval."""

    value: float
    ci95: Interval | None = None
    p_value: float | None = None
    """Exact McNemar for pass/fail metrics; None elsewhere."""


class TaskScores(_Model):
    """One task under one strategy."""

    n: int
    failed: int
    affected_by_strategy: bool
    """False when the strategy cannot change this task's result (a lossless one on a log-likelihood task)."""
    tells_apart: bool
    """False when the task cannot tell strategy from baseline here (the baseline solves nothing, say)."""
    metrics: dict[str, Measured]
    difference: dict[str, Difference]


class Speedup(_Model):
    """Ratio of totals, baseline over strategy, with its 95 % paired bootstrap interval over prompts."""

    value: float
    ci95: Interval | None
    verdict: Verdict


class EndToEndSpeedup(_Model):
    """The same with prefill in."""

    value: float
    ci95: Interval | None


class Speed(_Model):
    """How fast one strategy was, against the baseline on the same prompts."""

    speedup: Speedup | None
    end_to_end_speedup: EndToEndSpeedup | None
    tokens_per_second: float | None
    """Decode speed: (tokens - 1) / decode seconds, totals over all prompts; of a batch, all its sequences
    together."""
    ttft_s: Percentiles | None
    tpot_s: Percentiles | None
    generated_tokens: int
    pairs: int
    """Prompts whose baseline and strategy timings were taken in one process and enter the ratio."""
    batches: int | None = None
    """How many batches those prompts decoded in, which the intervals are over; None when each was alone."""


class Depth(_Model):
    """How many layers a decoded token ran (the prefill's own token left out)."""

    mean_layers: float
    histogram: tuple[int, ...]
    """Tokens by layers run, rounded, index 0..L."""


class Agreement(_Model):
    """A share with its 95 % bootstrap interval over prompts."""

    value: float
    ci95: Interval | None


class Fidelity(_Model):
    """How close the strategy stays to the full model, where a task's score may not move."""

    identical_outputs: int
    common_prefix_fraction: float
    token_agreement: Agreement
    compared: int | None = None
    """Outputs that were compared with the baseline's: what ``identical_outputs`` is out of."""


class AcceptanceAt(_Model):
    """What became of the drafted tokens that stood at one place of their drafts."""

    position: int
    """1 is the first token that a cycle drafts."""
    drafted: int
    accepted: int


class Speculation(_Model):
    """Draft-and-verify counts; rates are None when nothing was drafted."""

    drafted: int
    accepted: int
    acceptance_rate: float | None
    mean_accepted_length: float | None
    verify_passes: int
    acceptance_by_position: tuple[AcceptanceAt, ...] = ()
    """From 1 to the longest draft; empty when nothing was drafted, and in folders of before. Added up they
    are ``drafted`` and ``accepted``: a draft that a stop condition cut counts as accepted up to the cut."""


class Parity(_Model):
    """Token identity of a lossless strategy with the baseline."""

    compared: int
    identical: int
    numerical_ties: int
    violations: int


class DistributionTest(_Model):
    """A chi-square test of sampled tokens against the full model's exact distribution."""

    tokens: int
    """Tokens that were counted."""
    cells: int
    """What they were counted in."""
    statistic: float
    degrees_of_freedom: int
    p_value: float
    corrected_p_value: float
    """Times the number of tests that the run makes, 1 at most."""
    detectable_shift: float
    """Had this share of the tokens gone to other cells, the test would have refuted the claim with
    probability 0.9, however they were spread."""


class Certificate(_Model):
    """Whether sampled output of a lossless strategy has the full model's distribution."""

    refuted: bool
    """In a run whose strategies are all lossless, true for any of them by chance once in 1000 at most."""
    p_value: float
    """The smaller corrected one of both tests."""
    tests: int
    """How many the run makes, over all strategies."""
    outputs: DistributionTest | None
    """Of the outputs that were timed, token by token; None with too few tokens."""
    draws: DistributionTest | None
    """Of repeated draws after the same tokens; None where there were none, or no two tokens likely enough."""
    drawn: int
    """How often it drew again, over all spots."""
    spots: int
    """After how many different beginnings."""


class TimeShares(_Model):
    """Where the seconds of decoding went, as shares of all of them that make 1. A part that cannot be told is
    None and stays in ``other``. Each is how often something was done, times what it costs once where nothing
    else is going on, ÷ the decode seconds of those who did it."""

    draft_layers: float | None = None
    """Layers run to draft tokens; 0 where nothing is drafted."""
    draft_heads: float | None = None
    """Final norm and output head behind each drafted token."""
    layers: float | None = None
    """Layers of the steps that decide tokens: verifying passes where tokens are drafted, else every step."""
    head: float | None = None
    """Final norm and output head of these."""
    fixed: float | None = None
    """What every step takes besides: embedding, bookkeeping, choosing the likeliest token."""
    checks: float | None = None
    """Looking at tokens on their way up: heads made for that alone, and reading a confidence."""
    kv_fill: float | None = None
    """Projecting keys and values that were left out, or running left-out positions later."""
    sampling: float | None = None
    """Drawing tokens; 0 under greedy decoding."""
    other: float
    """The rest: Python, waiting, a machine slower than when costs were measured, whatever was not measured.
    Below 0, the measured costs were too high: the shares err by at least as much."""


class Remainder(_Model):
    """What a strategy lacks to its ceiling; with ``achieved_fraction`` the shares make 1. The baseline's own
    rest (``TimeShares.other``) is in none of them: a ceiling is what can be reached beside that baseline."""

    checks: float
    """Looking at tokens on their way up: heads made for that alone, and reading a confidence."""
    kv_fill: float
    """Projecting keys and values that were left out, or running left-out positions later."""
    sampling: float
    """Drawing drafts, and weighing them against the full model; 0 under greedy decoding."""
    other: float
    """Python, and what else was not measured. Below 0, the measured costs were too high: the shares err by at
    least as much."""


class Ceiling(_Model):
    """The speedup the method could reach here with no overhead, and the share reached."""

    speedup: float
    achieved_fraction: float
    remainder: Remainder | None = None
    """None where the costs of these parts were not measured."""
    bandwidth_fraction: float | None = None
    """The share of what memory allows that the ceiling itself stands for: the bytes of weights that a cycle
    reads ÷ the machine's bandwidth ÷ the cycle's measured costs. None where bandwidth was not measured, as
    for a model so small that caches hold it."""


class Memory(_Model):
    """Peaks over all requests, in bytes."""

    peak_bytes: int
    kv_bytes: int | None


class BaselineMetrics(_Model):
    """The baseline's own figures."""

    strategy: str
    tokens_per_second: float | None
    ttft_s: Percentiles | None
    tpot_s: Percentiles | None
    generated_tokens: int
    tasks: dict[str, dict[str, Measured]]
    noise: float | None
    """Relative difference of TPOT between the two halves of the baseline's requests (odd and even);
    above 0.05 the machine was too noisy for small differences. None with fewer than 4 requests."""
    memory: Memory | None
    bandwidth_fraction: float | None = None
    """The share of what memory allows at which its step of one token runs: all weights that it reads ÷ the
    machine's bandwidth ÷ the step's measured costs. None where that was not measured, of a baseline that is
    not the engine's own, and of batches."""
    time_shares: TimeShares | None = None
    """Where its decode time went."""
    no_time_shares: str | None = None
    """Why that cannot be told, in words for people."""


class StrategyMetrics(_Model):
    """One strategy against the baseline."""

    name: str
    options: dict[str, JsonValue]
    label: str
    unavailable: str | None = None
    """Why it could not run on this model or machine; then nothing below carries a value."""
    lossless: bool
    tasks: dict[str, TaskScores]
    speed: Speed | None
    depth: Depth | None
    fidelity: Fidelity | None
    speculation: Speculation | None
    parity: Parity | None
    """Of greedy outputs."""
    certificate: Certificate | None = None
    """Of sampled outputs."""
    ceiling: Ceiling | None
    memory: Memory | None
    time_shares: TimeShares | None = None
    """Where its decode time went."""
    no_time_shares: str | None = None
    """Why that cannot be told, in words for people."""


class Metrics(_Model):
    """The whole of ``metrics.json``."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    run_id: str
    status: Status
    model: ModelInfo
    baseline: BaselineMetrics
    strategies: tuple[StrategyMetrics, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know before believing a figure: noise, clashes, fallbacks, samples left out."""
