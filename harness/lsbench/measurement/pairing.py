"""Which of a strategy's generations stand beside which of the baseline's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lsbench.records import SampleRecord

Prompt = tuple[str, int, int]
"""Task, document, request: what is resampled; its repeats stay together."""


@dataclass(frozen=True)
class Pair:
    """The same request under the baseline and under a strategy, neither failed."""

    baseline: SampleRecord
    strategy: SampleRecord

    @property
    def prompt(self) -> Prompt:
        """Which prompt both continued."""
        return prompt_of(self.strategy)


@dataclass(frozen=True)
class Pairing:
    """Pairs, and how many requests have none, by the reason in words."""

    pairs: tuple[Pair, ...]
    left_out: Mapping[str, int]


def prompt_of(record: SampleRecord) -> Prompt:
    """The prompt a record continued, whatever the repeat."""
    return (record.task, record.doc_id, record.idx)


def generations(records: Iterable[SampleRecord], label: str) -> list[SampleRecord]:
    """The generations under one label that did not fail, in the order they were written."""
    return [r for r in records if r.label == label and r.kind == "generate" and r.error is None]


def first_attempts(records: Iterable[SampleRecord]) -> list[SampleRecord]:
    """Those whose times count: what runs again after a crash may run beside a model that is loaded anew."""
    return [record for record in records if record.attempt == 1]


def pair_up(records: Sequence[SampleRecord], baseline: str, label: str) -> Pairing:
    """Pair every generation under ``label`` with the baseline's of the same request."""
    both = {baseline: {}, label: {}}
    for record in records:
        if record.kind == "generate" and record.label in both:
            both[record.label][record.key._replace(strategy="")] = record
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for key in dict.fromkeys((*both[baseline], *both[label])):
        first, second = both[baseline].get(key), both[label].get(key)
        if first is None or second is None:
            left_out["run under one of the two only"] += 1
        elif first.error is not None or second.error is not None:
            left_out["failed under one of the two or both"] += 1
        else:
            pairs.append(Pair(first, second))
    return Pairing(tuple(pairs), dict(left_out))


def comparable_in_time(pairing: Pairing) -> Pairing:
    """The pairs whose timings may be compared: one replica, one process of the run, first attempts, a decode
    to speak of.

    Of sequences that decoded together, all or none: who is missing took time from the others, too.
    """
    pairs: list[Pair] = []
    left_out = Counter(pairing.left_out)
    for pair in pairing.pairs:
        reason = _why_not(pair.baseline, pair.strategy)
        if reason is None:
            pairs.append(pair)
        else:
            left_out[reason] += 1
    whole = _in_whole_batches(pairs)
    if len(whole) < len(pairs):
        left_out["decoded in a batch that did not run whole"] += len(pairs) - len(whole)
    return Pairing(tuple(whole), dict(left_out))


def _in_whole_batches(pairs: Sequence[Pair]) -> list[Pair]:
    """Those that decoded alone, and those whose whole batch is there, from one process."""
    groups: defaultdict[tuple[str, int, int], list[Pair]] = defaultdict(list)
    for pair in pairs:
        record = pair.strategy
        if record.batch is not None:
            groups[record.task, record.batch, record.repeat].append(pair)
    broken = {
        key
        for key, group in groups.items()
        if len(group) < group[0].strategy.batch_size or len({_process(pair.strategy) for pair in group}) > 1
    }
    return [
        pair
        for pair in pairs
        if (pair.strategy.task, pair.strategy.batch, pair.strategy.repeat) not in broken
    ]


def _process(record: SampleRecord) -> tuple[int, int]:
    """Which copy of the model, in which process of the run, made a record."""
    return (record.segment, record.replica)


def _why_not(baseline: SampleRecord, strategy: SampleRecord) -> str | None:
    if baseline.segment != strategy.segment:
        return "timed in different processes because the run was resumed between the two"
    if baseline.replica != strategy.replica:
        return "timed in different replicas"
    if len(first_attempts((baseline, strategy))) < 2:
        return "run again after a failed attempt"
    if baseline.batch is not None:
        return None  # in a batch even one that ended at once has been waited for
    if len(baseline.token_ids or ()) < 2 or len(strategy.token_ids or ()) < 2:
        return "ended before a second token"
    if not baseline.decode_s or not strategy.decode_s or baseline.ttft_s is None or strategy.ttft_s is None:
        return "not timed"
    return None
