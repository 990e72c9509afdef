"""The winner and the default, timed beside the baseline on documents that the search never saw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lsbench.errors import BadInput
from lsbench.execution.cluster.bench import Bench
from lsbench.execution.cluster.failure import Lost
from lsbench.execution.lines import key_of
from lsbench.measurement.pairing import first_attempts, generations
from lsbench.measurement.timing import noise, tokens_per_second
from lsbench.metrics import Interval
from lsbench.records import SampleRecord
from lsbench.spec import GenerateRequest
from lsbench.tuning import measuring
from lsbench.tuning.folder import TuneFolder
from lsbench.tuning.quality import Assess, agreement
from lsbench.tuning.split import MIN_FINAL
from lsbench.tuning.trials import Trial
from lsbench.tuning.view import TuneView

_MORE_THAN_ENOUGH = 2 * MIN_FINAL
"""Documents that are run whatever the time."""


@dataclass(frozen=True)
class Finals:
    """What the final documents say.

    Attributes:
        trials: of the finalists, in the order they were given.
        over_default: interval of the first one's speed over the default's, where there are two.
        swing: how far the machine's own speed went up and down, relative.
        seconds_per_token: of the baseline.
    """

    trials: tuple[Trial, ...]
    over_default: Interval | None
    swing: float | None
    seconds_per_token: float | None


def time_finalists(
    bench: Bench,
    folder: TuneFolder,
    finalists: Sequence[Trial],
    requests: Sequence[GenerateRequest],
    view: TuneView,
    until: float | None = None,
    max_retries: int = 2,
    assess: Assess = agreement,
) -> Finals:
    """Time them, all on the same prompts, in alternating order; each request is kept as it is finished.

    Args:
        bench: where.
        folder: of the search; what an earlier process finished stands in it.
        finalists: trials of the search, at most the winner and the default.
        requests: of the final documents, in an order that nothing of the search decides.
        view: is told.
        until: by ``time.monotonic``, when enough documents have been run; at least ten are.
        max_retries: how often a document is run again whose replica died.
        assess: the quality of what is timed.
    """
    baseline = folder.manifest.spec.run.baseline
    for trial in finalists:
        view.trial_started("timed", "final", trial.number, trial.label)
    begun = time.monotonic()
    failure = _run(bench, folder, finalists, requests, until, max_retries)
    seconds = time.monotonic() - begun
    records, floor = folder.samples, folder.manifest.spec.min_quality
    done: list[Trial] = []
    for trial in finalists:
        fields = failure or measuring.of_records(records, baseline, trial.label, floor, assess)
        final = _final(trial, fields, seconds / len(finalists))
        kept = next((each for each in folder.trials if each.key == final.key and each.status == "ok"), None)
        done.append(kept or final)
        if kept is None:
            folder.add(final)
        view.trial_done(done[-1])
    own = first_attempts(generations(records, baseline))
    speed = tokens_per_second(own)
    over = None
    if len(finalists) > 1 and failure is None:
        over = measuring.speed_over(records, finalists[1].label, finalists[0].label)
    return Finals(tuple(done), over, noise(own), None if not speed else 1 / speed)


def _run(
    bench: Bench,
    folder: TuneFolder,
    finalists: Sequence[Trial],
    requests: Sequence[GenerateRequest],
    until: float | None,
    max_retries: int,
) -> dict[str, Any] | None:
    """Until all is there; the fields of a failed trial where it cannot be."""
    choices = [trial.choice for trial in finalists]
    labels = [folder.manifest.spec.run.baseline, *(choice.label for choice in choices)]
    begun = {(record.task, record.doc_id) for record in folder.samples}

    def enough() -> bool:
        over = until is not None and time.monotonic() > until
        return over and len({(each.task, each.doc_id) for each in folder.samples}) >= _MORE_THAN_ENOUGH

    # What an earlier process began was timed in another one: it is run to its end, and its speed left out.
    ordered = sorted(requests, key=lambda request: (request.task, request.doc_id) not in begun)
    losses = 0
    attempts = {}
    while True:
        finished = {record.key for record in folder.samples if record.error is None}
        try:
            bench.change(choices, requests[:1])
            for record in bench.run(ordered, None, enough, finished, attempts, _worth_telling(folder)):
                folder.add_sample(record)
            return None
        except (Lost, BadInput) as error:
            losses += 1
            if isinstance(error, BadInput) or losses > max_retries:
                return measuring.failed(error.reason if isinstance(error, Lost) else str(error))
        finished = {record.key for record in folder.samples}
        in_hand = next(
            (each for each in ordered if any(key_of(n, each, "generate") not in finished for n in labels)),
            None,
        )
        if in_hand is not None:
            attempts = {key_of(name, in_hand, "generate"): losses for name in labels}


def _worth_telling(folder: TuneFolder) -> list[SampleRecord]:
    return [record for record in folder.samples if record.error is None]


def _final(trial: Trial, fields: dict[str, Any], seconds: float) -> Trial:
    kept = {
        name: getattr(trial, name)
        for name in ("number", "strategy", "options", "label", "point", "origin", "seed", "predicted_speedup")
    }
    return Trial(kind="timed", documents="final", seconds=seconds, **kept, **fields)
