"""Runs side by side: every strategy against every other."""

from __future__ import annotations

import string
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from lsbench.comparison import ComparedRun, Comparison
from lsbench.errors import BadInput, unknown
from lsbench.measurement.comparability import mismatches
from lsbench.measurement.compared_rows import MeasuredRow, measured_rows
from lsbench.measurement.comparison_notes import comparison_notes
from lsbench.measurement.fronts import fronts
from lsbench.measurement.row_differences import baseline_speed, row_difference
from lsbench.records import UNTIMED

if TYPE_CHECKING:
    from lsbench.store.stored_run import StoredRun

MOST_RUNS = len(string.ascii_uppercase)
MOST_PAIRS = 28
"""Where there would be more, each is compared with one alone: eight strategies make as many."""


def compare(runs: Sequence[StoredRun], force: bool = False, against: str | None = None) -> Comparison:
    """Put runs side by side.

    Args:
        runs: one or more; the first is ``A``.
        force: compare what is not comparable, over what is shared.
        against: key of the one row that all others are compared with; None compares each with each, up to
            ``MOST_PAIRS``.

    Raises:
        BadInput: the runs are not comparable and ``force`` is not given, one is named twice, there is nothing
            to compare, or no such row.
    """
    named = _named(runs)
    differing = mismatches(named)
    if differing and not force:
        said = "; ".join(mismatch.words for mismatch in differing)
        raise BadInput(f"These runs are not comparable; they differ in {said}. --force compares them anyway.")
    measured = [one for key, run in named.items() for one in measured_rows(key, run)]
    strategies = [one for one in measured if not (one.row.is_baseline or one.row.unavailable)]
    if len(strategies) < 2 and len(named) < 2:
        raise BadInput(
            f"Run {runs[0].reference} has one strategy alone, and that stands beside its baseline already: "
            f"`lsbench report {runs[0].reference}` shows it. Name another run, too."
        )
    keys = [one.row.key for one in strategies]
    pairs = _pairs(strategies, against)
    differences = tuple(row_difference(one, other) for one, other in pairs)
    compared = tuple(_compared(key, run, named["A"]) for key, run in named.items())
    return Comparison(
        forced=bool(differing),
        mismatches=differing,
        runs=compared,
        rows=tuple(one.row for one in measured),
        pairs=differences,
        fronts=tuple(fronts(measured)),
        notes=tuple(comparison_notes(named, compared, differences, keys, against)),
    )


def _named(runs: Sequence[StoredRun]) -> dict[str, StoredRun]:
    if len(runs) > MOST_RUNS:
        raise BadInput(f"{len(runs)} runs are more than fit side by side; name {MOST_RUNS} at most.")
    ids = [run.manifest.run_id for run in runs]
    twice = next((run for run in ids if ids.count(run) > 1), None)
    if twice is not None:
        raise BadInput(f"Run {twice} is named twice; leave one out.")
    return dict(zip(string.ascii_uppercase, runs, strict=False))


def _pairs(strategies: Sequence[MeasuredRow], against: str | None) -> list[tuple[MeasuredRow, MeasuredRow]]:
    """The later of two stands first: what is newer against what was there."""
    if against is not None:
        known = {one.row.key: one for one in strategies}
        if against not in known:
            raise unknown("row in --against", against, known)
        return [(one, known[against]) for one in strategies if one.row.key != against]
    every = [(later, earlier) for earlier, later in combinations(strategies, 2)]
    return every if len(every) <= MOST_PAIRS else [(one, strategies[0]) for one in strategies[1:]]


def _compared(key: str, run: StoredRun, first: StoredRun) -> ComparedRun:
    manifest, baseline = run.manifest, run.metrics.baseline
    hardware = manifest.hardware
    threads = (
        "" if manifest.threads is None else f"{manifest.threads} thread{'s' if manifest.threads != 1 else ''}"
    )
    answered = {
        (record.task, record.doc_id)
        for record in run.records
        if record.label == baseline.strategy and record.kind not in UNTIMED and record.error is None
    }
    parts = [hardware.cpu, f"{hardware.cores} cores", *hardware.gpus, threads]
    return ComparedRun(
        key=key,
        run_id=manifest.run_id,
        reference=run.reference,
        created=manifest.created,
        status=run.metrics.status,
        model=run.metrics.model,
        machine=", ".join(filter(None, parts)),
        tasks=manifest.spec.tasks,
        baseline=baseline.strategy,
        documents=len(answered),
        tokens_per_second=baseline.tokens_per_second,
        noise=baseline.noise,
        baseline_speed=None if run is first else baseline_speed(run, first),
    )
