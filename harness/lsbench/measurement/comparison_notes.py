"""What a reader of a comparison must know before believing a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lsbench.comparison import ComparedRun, PairDifference
from lsbench.measurement.comparability import remarks
from lsbench.measurement.pairing import generations
from lsbench.measurement.timing import NOISE_LIMIT

if TYPE_CHECKING:
    from lsbench.store.stored_run import StoredRun

_CHANCE = 1 / 20


def comparison_notes(
    runs: Mapping[str, StoredRun],
    compared: Sequence[ComparedRun],
    pairs: Sequence[PairDifference],
    strategies: Sequence[str],
    against: str | None,
) -> list[str]:
    """Sentences, each once.

    Args:
        runs: by their letters.
        compared: the same, as they are shown.
        pairs: what was compared.
        strategies: keys of all rows that are no baseline.
        against: the one row that was asked for, if one was.
    """
    said = [note for key, run in runs.items() for note in _about_run(key, run)]
    said += remarks(runs)
    said += [note for run in compared for note in _about_baseline(run)]
    said += _about_outputs(runs)
    if any(pair.across_processes for pair in pairs):
        said.append(
            "Strategies of different runs ran in different processes, so each is taken against its own run's "
            "baseline on the same prompts, and speeds are never compared as tokens/s."
        )
    every = len(strategies) * (len(strategies) - 1) // 2
    if against is None and len(pairs) < every:
        said.append(
            f"{every} pairs are too many to show: each is compared with {strategies[0]} alone; "
            "--against ROW chooses another."
        )
    tests = sum(_tests(pair) for pair in pairs)
    if tests * _CHANCE >= 1:
        said.append(
            f"{tests} differences are tested here, each wrong by chance one time in 20: expect about "
            f"{tests * _CHANCE:.0f} to look significant where nothing differs."
        )
    return list(dict.fromkeys(said))


def _tests(pair: PairDifference) -> int:
    """How many intervals a pair has."""
    scores = [difference for task in pair.tasks.values() for difference in task.difference.values()]
    every = [pair.speed, pair.token_agreement, *scores]
    return sum(each is not None and each.ci95 is not None for each in every)


_STATUS = {
    "interrupted": "was interrupted; what it did not finish is left out of every difference",
    "running": "was killed; what it did not finish is left out of every difference",
    "failed_samples": "has samples that failed; they are left out of every difference",
}


def _about_run(key: str, run: StoredRun) -> list[str]:
    said: list[str] = []
    if run.metrics.status in _STATUS:
        said.append(f"Run {key} {_STATUS[run.metrics.status]}.")
    noise = run.metrics.baseline.noise
    if noise is not None and noise > NOISE_LIMIT:
        said.append(
            f"Run {key}'s machine was noisy: two halves of its baseline's requests differ by {noise:.1%} in "
            "time per token. Faster or slower is said only of an interval further from 1 than that."
        )
    if run.scores is None:
        said.append(
            f"Run {key} has no scores of its documents, so its differences in quality have no interval: "
            f"`lsbench report {run.reference} --rescore` makes them, without a model."
        )
    return said


def _about_baseline(run: ComparedRun) -> list[str]:
    speed = run.baseline_speed
    if speed is None or abs(speed.value - 1) <= NOISE_LIMIT:
        return []
    return [
        f"The same baseline ran {speed.value:.2f} times as fast in run {run.key} as in run A: the machine "
        "was in another state. Ratios of speedups between the two are believed only as far as they exceed it."
    ]


def _about_outputs(runs: Mapping[str, StoredRun]) -> list[str]:
    """Greedy baselines that wrote different things: something differs that no manifest tells."""
    written = {
        key: {
            (record.task, record.doc_id, record.repeat): record.token_ids
            for record in generations(run.records, run.manifest.spec.baseline)
        }
        for key, run in runs.items()
    }
    greedy = not any(record.kind == "certificate" for run in runs.values() for record in run.records)
    if not greedy or any(run.manifest.spec.temperature for run in runs.values()):
        return []
    said: list[str] = []
    for key, own in written.items():
        shared = own.keys() & written["A"].keys()
        other = sum(own[place] != written["A"][place] for place in shared)
        if other:
            said.append(
                f"The baselines of runs A and {key} wrote different tokens in {other} of {len(shared)} "
                "outputs: something differs that neither manifest tells."
            )
    return said
