"""What a reader must know before believing a figure, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsbench.measurement.statistics import MIN_PROMPTS, SMALLEST_DIFFERENCE
from lsbench.measurement.timing import NOISE_LIMIT
from lsbench.metrics import Ceiling, Fidelity, Measured, Speed, TaskScores
from lsbench.records import SampleRecord

IMPOSSIBLE = 1.15
"""A speedup this many times its ceiling is an error of measurement; less may be one of the costs'."""

_UNEXPLAINED = 0.25
"""A share of a strategy's time beyond the parts that were worked out which calls for an explanation."""
_OVERRUN = 0.03
"""By how much parts may exceed the whole before that is said."""
BUSY_SHARE = 0.5
"""Load average before the run, as a share of the cores, from which other work counts as a disturbance."""
_FEW_PROMPTS = 10
_MUCH_LONGER = 1.5
"""How many times as many tokens an output must have for its longer context to be told."""


def about_machine(noise: float | None, load_average: float | None, cores: int | None) -> list[str]:
    """Whether the machine was quiet enough to time on."""
    said: list[str] = []
    if noise is not None and noise > NOISE_LIMIT:
        said.append(
            f"The machine was too noisy for small differences: two halves of the baseline's requests differ "
            f"by {noise:.1%} in time per token (more than {NOISE_LIMIT:.0%}). Faster or slower is said only "
            "of an interval that lies further from 1× than that."
        )
    if load_average is not None and cores and load_average > BUSY_SHARE * cores:
        said.append(
            f"Other work was running when the run began (load average {load_average:.1f} on {cores} "
            f"core{'s' if cores != 1 else ''}): times may be longer than on a quiet machine."
        )
    return said


def about_placement(replicas: int, ranks: int, shared: bool) -> list[str]:
    """What seconds mean where several processes ran at the same time.

    Args:
        replicas: copies of the model.
        ranks: processes that shared each.
        shared: whether processes got in each other's way.
    """
    if not shared:
        return []
    who = _count(replicas * ranks, "process")
    where = f"{who} ({_count(replicas, 'replica')} of {_count(ranks, 'rank')})"
    return [
        f"{where} shared cores or memory: seconds and tokens per second are those of a crowded machine and "
        "say nothing about one copy alone. Speed rests on ratios only, of baseline and strategy that took "
        "turns within the same replica."
    ]


def about_retries(records: Sequence[SampleRecord]) -> list[str]:
    """How many generations came of a later attempt, so that their times do not count."""
    again = sum(
        record.attempt > 1 and record.kind == "generate" and record.error is None for record in records
    )
    if not again:
        return []
    verb = "was" if again == 1 else "were"
    return [
        f"{_count(again, 'generation')} {verb} run again after a failed attempt: tokens and scores count, "
        "times do not, and what each would have been compared with stays out of the speedup too."
    ]


def about_pairs(label: str, speed: Speed | None, left_out: Mapping[str, int]) -> list[str]:
    """What is missing from a speedup, and whether enough is left."""
    said: list[str] = []
    if left_out:
        total = sum(left_out.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        said.append(f"{label}: {_count(total, 'generation')} left out of the speedup ({reasons}).")
    if speed is None:
        return said
    timings, what = (speed.pairs, "prompt") if speed.batches is None else (speed.batches, "batch of prompts")
    if timings == 0:
        said.append(f"{label}: no speedup, because no prompt was timed under both it and the baseline.")
    elif timings < MIN_PROMPTS:
        said.append(
            f"{label}: {_count(timings, what)} timed, too few for an interval of the speedup or a "
            f"verdict; run at least {MIN_PROMPTS}."
        )
    elif timings < _FEW_PROMPTS:
        said.append(f"{label}: only {_count(timings, what)} timed, so the interval of the speedup is rough.")
    return said + _about_small_differences(label, speed)


def _about_small_differences(label: str, speed: Speed) -> list[str]:
    """Why an interval that leaves out 1 is no difference."""
    if speed.speedup is None or speed.speedup.ci95 is None:
        return []
    low, high = speed.speedup.ci95
    beyond = low - 1 if low > 1 else 1 / high - 1
    if not 0 < beyond <= SMALLEST_DIFFERENCE:
        return []
    return [
        f"{label}: the interval of its speedup leaves out 1×, but not by more than "
        f"{SMALLEST_DIFFERENCE:.0%}; a program differs from itself by that much now and then, so it is "
        "called no difference."
    ]


def about_batches(records: Sequence[SampleRecord]) -> list[str]:
    """What the figures mean where sequences decoded together."""
    size = max((record.batch_size for record in records if record.batch is not None), default=None)
    if size is None:
        return []
    return [
        f"Sequences decoded together, up to {size} at a time, and a batch ran until its last one had ended: "
        "tokens per second and speedups are of whole batches, times to the first token and per token of "
        "each sequence within its batch. No ceiling is worked out for batches."
    ]


def about_failures(records: Sequence[SampleRecord], label: str) -> list[str]:
    """How many requests failed under one label, with the first reason."""
    failed = [record for record in records if record.error is not None]
    if not failed:
        return []
    first = " ".join((failed[0].error or "").split())[:200]
    return [f"{label}: {len(failed)} of {_count(len(records), 'request')} failed, the first with: {first}"]


def about_lengths(label: str, ours: Sequence[SampleRecord], theirs: Sequence[SampleRecord]) -> list[str]:
    """Whether times per token belong to outputs of much different lengths.

    Args:
        label: the strategy's.
        ours, theirs: generations of the strategy and of the baseline.
    """
    lengths = [sum(len(record.token_ids or ()) for record in records) for records in (ours, theirs)]
    if len(ours) != len(theirs) or not all(lengths):
        return []
    longer = lengths[0] / lengths[1]
    if 1 / _MUCH_LONGER < longer < _MUCH_LONGER:
        return []
    slower, how = ("more", "longer") if longer > 1 else ("less", "shorter")
    times = longer if longer > 1 else 1 / longer
    return [
        f"{label}: its outputs are {times:.1f} times {how} than the baseline's, so that its tokens look back "
        f"on {how} contexts and take {slower} time each for that alone; its speedup per token is not one at "
        "the same length."
    ]


def about_bandwidth(fraction: float | None) -> list[str]:
    """Whether steps ran faster than memory was found to allow."""
    if fraction is None or fraction <= IMPOSSIBLE:
        return []
    return [
        f"The baseline's step reads its weights at {fraction:.0%} of the memory bandwidth that was measured, "
        "so that was measured too low (other work on the machine, or a cache that holds the weights)."
    ]


def about_ceiling(label: str, ceiling: Ceiling | None) -> list[str]:
    """Whether a speedup is more than the work left out could give, or its parts more or far less than all."""
    if ceiling is None:
        return []
    rest = ceiling.remainder
    if ceiling.achieved_fraction <= IMPOSSIBLE:
        if rest is not None and rest.other > _UNEXPLAINED:
            return [
                f"{label}: {rest.other:.0%} of its time is in none of the parts that were measured (layers, "
                "head, checks, KV filling, drawing). Either Python of its own takes that long, or the "
                "machine stood still or slowed down while it ran: look at its slowest sample before "
                "believing its speedup."
            ]
        if rest is None or rest.other >= -_OVERRUN:
            return []
        return [
            f"{label}: the parts of its time that were worked out make {1 - rest.other:.0%} of it, so the "
            "measured costs were too high and the shares of what it lacks to its best are rough."
        ]
    return [
        f"{label}: do not believe its speedup. It is {ceiling.achieved_fraction:.0%} of the best that the "
        "measured costs allow, so the machine's speed changed while the run was timed; run it again on a "
        "quiet machine."
    ]


def about_tasks(
    label: str,
    tasks: Mapping[str, TaskScores],
    baseline: Mapping[str, Mapping[str, Measured]],
    fidelity: Fidelity | None,
) -> list[str]:
    """Which tasks say nothing about a strategy, and why."""
    said: list[str] = []
    for task, scores in tasks.items():
        if not scores.affected_by_strategy:
            said.append(
                f"{label} is lossless and {task} asks for log-likelihoods only: its score is the full "
                "model's by definition, not an achievement."
            )
        elif task not in baseline:
            said.append(f"{label}: {task} has no baseline score to compare with.")
        elif not scores.tells_apart:
            look = "; look at its fidelity instead" if fidelity is not None else ""
            said.append(f"{task} cannot tell {label} from the baseline: {_same(scores)}{look}.")
    return said


def _same(scores: TaskScores) -> str:
    documents = _count(scores.n, "document")
    if not scores.difference:
        return "they share no scored document"
    if all(scores.metrics[name].value == 0 for name in scores.difference):
        return f"both score 0 on all {documents}"
    return f"both have full marks on all {documents}"


def _count(number: int, what: str) -> str:
    if number == 1:
        return f"1 {what}"
    if what.startswith("batch"):
        return f"{number} batches{what.removeprefix('batch')}"
    return f"{number} {what}{'es' if what.endswith('s') else 's'}"
