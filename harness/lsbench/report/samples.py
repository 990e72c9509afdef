"""A few samples side by side: what the baseline wrote and what each strategy made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lsbench.records import SampleRecord
from lsbench.report import figures
from lsbench.report.plain import printable

_PROMPT_CHARACTERS = 600
_TEXT_CHARACTERS = 4000
CUT = "[…]"


@dataclass(frozen=True)
class Answer:
    """What one strategy wrote for one prompt."""

    label: str
    shared: str
    """Its beginning that equals the baseline's text (the whole of it, for the baseline)."""
    rest: str
    """What follows."""
    facts: str
    """Tokens, speed, layers and why it stopped, in one line."""
    error: str | None


@dataclass(frozen=True)
class Sample:
    """One prompt with every answer to it, the baseline's first."""

    task: str
    doc_id: int
    prompt_tail: str
    answers: tuple[Answer, ...]


def preview(
    records: Iterable[SampleRecord], baseline: str, labels: tuple[str, ...], count: int
) -> list[Sample]:
    """The first ``count`` prompts of each generating task, for reading.

    Args:
        records: a run's records, in any order.
        baseline: the baseline's label.
        labels: the strategies' labels, in the run's order.
        count: prompts for each task.
    """
    found: dict[tuple[str, int], dict[str, SampleRecord]] = {}
    for record in records:
        if record.kind == "generate" and record.repeat == 0:
            found.setdefault((record.task, record.doc_id), {})[record.label] = record
    shown: dict[str, int] = {}
    samples = []
    for (task, doc_id), by_label in sorted(found.items()):
        if shown.get(task, 0) < count:
            shown[task] = shown.get(task, 0) + 1
            samples.append(_sample(task, doc_id, by_label, (baseline, *labels)))
    return samples


def _sample(task: str, doc_id: int, by_label: dict[str, SampleRecord], labels: tuple[str, ...]) -> Sample:
    present = [by_label[label] for label in dict.fromkeys(labels) if label in by_label]
    reference = by_label.get(labels[0])
    prompt = printable(next(iter(by_label.values())).prompt)
    tail = prompt if len(prompt) <= _PROMPT_CHARACTERS else CUT + prompt[-_PROMPT_CHARACTERS:]
    return Sample(task, doc_id, tail, tuple(_answer(record, reference) for record in present))


def _answer(record: SampleRecord, reference: SampleRecord | None) -> Answer:
    text, facts = _readable(record), _facts(record)
    shared = 0
    if reference is not None and reference.error is None and record.error is None:
        shared = _shared_length(text, _readable(reference))
        if record.label != reference.label and record.token_ids == reference.token_ids:
            facts += ", identical to the baseline's"
    return Answer(record.label, text[:shared], text[shared:], facts, record.error)


def _shared_length(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _readable(record: SampleRecord) -> str:
    text = printable(record.text or "")
    return text if len(text) <= _TEXT_CHARACTERS else text[:_TEXT_CHARACTERS] + CUT


def _facts(record: SampleRecord) -> str:
    if record.error is not None:
        return "failed"
    tokens = len(record.token_ids or ())
    parts = ["1 token" if tokens == 1 else f"{tokens} tokens"]
    if record.decode_s and tokens > 1:
        parts.append(f"{figures.significant((tokens - 1) / record.decode_s)} tokens/s")
    decoded = (record.layers_run or ())[1:]
    if decoded:
        parts.append(f"{figures.significant(sum(decoded) / len(decoded))} layers per token")
    if record.stop_reason is not None:
        parts.append(f"stopped by {record.stop_reason.replace('_', ' ')}")
    return ", ".join(parts)
