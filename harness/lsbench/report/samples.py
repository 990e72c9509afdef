"""What was written, token by token: the samples of a run as a page's data, as many as it can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsbench.records import SampleRecord
from lsbench.report import figures
from lsbench.report.plain import one_line, printable

MOST_CHARACTERS = 12_000_000
"""Of samples in a page, before they are compressed to about a third."""
_PROMPT_CHARACTERS = 3000
_TEXT_CHARACTERS = 20_000
CUT = "[…]"


@dataclass(frozen=True)
class SampleView:
    """The samples of a page.

    Attributes:
        data: JSON for ``samples.js``: ``layers``, and ``samples``, each with name, prompt and answers.
        shown: how many samples are in it.
        known: how many the run has.
    """

    data: str
    shown: int
    known: int

    @property
    def words(self) -> str:
        """How many of them are here, in a sentence."""
        if self.shown == self.known:
            return f"All {self.known:,} of the run." if self.known > 1 else "The only one of the run."
        return (
            f"The first {self.shown:,} of the run's {self.known:,}: more would make this page too large; "
            "samples.jsonl has all."
        )


def sample_view(
    records: Iterable[SampleRecord],
    baseline: str,
    labels: tuple[str, ...],
    num_layers: int,
    most_characters: int = MOST_CHARACTERS,
) -> SampleView | None:
    """Every generated sample with every answer to it, the baseline's first; None where nothing was generated.

    Where a page cannot hold all, each task gives its first ones in turn.

    Args:
        records: a run's records, in any order.
        baseline: the baseline's label.
        labels: the strategies' labels, in the run's order.
        num_layers: L.
        most_characters: how much JSON there may be; one sample is given in any case.
    """
    found: dict[tuple[str, int, int], dict[str, SampleRecord]] = {}
    for record in records:
        if record.kind == "generate" and record.repeat == 0:
            found.setdefault((record.task, record.doc_id, record.idx), {})[record.label] = record
    chosen: dict[tuple[str, int, int], str] = {}
    size = 0
    for key in _in_turn(found):
        text = json.dumps(
            _sample(key, found[key], (baseline, *labels)), ensure_ascii=False, separators=(",", ":")
        )
        size += len(text)
        if chosen and size > most_characters:
            break
        chosen[key] = text
    if not chosen:
        return None
    samples = ",".join(chosen[key] for key in sorted(chosen))
    return SampleView(f'{{"layers":{num_layers},"samples":[{samples}]}}', len(chosen), len(found))


def _in_turn(keys: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """One of each task, then the next of each."""
    by_task: dict[str, int] = {}
    order = []
    for key in sorted(keys):
        place = by_task[key[0]] = by_task.get(key[0], -1) + 1
        order.append((place, key))
    return [key for _, key in sorted(order)]


def _sample(
    key: tuple[str, int, int], by_label: Mapping[str, SampleRecord], labels: Sequence[str]
) -> dict[str, Any]:
    task, doc_id, idx = key
    present = [by_label[label] for label in dict.fromkeys(labels) if label in by_label]
    reference = by_label.get(labels[0])
    prompt = printable(next(iter(by_label.values())).prompt)
    name = f"{one_line(task)}, document {doc_id}" + (f", request {idx + 1}" if idx else "")
    return {
        "name": name,
        "prompt": prompt if len(prompt) <= _PROMPT_CHARACTERS else CUT + prompt[-_PROMPT_CHARACTERS:],
        "answers": [_answer(record, reference) for record in present],
    }


def _answer(record: SampleRecord, reference: SampleRecord | None) -> dict[str, Any]:
    """One answer. Of ``tokens`` each list has one value a token, and is left out where it is not known."""
    answer: dict[str, Any] = {"label": one_line(record.label), "facts": _facts(record, reference)}
    if record.error is not None:
        return answer | {"error": one_line(record.error)}
    ids = record.token_ids or ()
    if record.token_texts is None:
        text, shared = _readable(record), 0
        if reference is not None and reference.error is None:
            shared = _shared_length(text, _readable(reference))
        return answer | {"text": text, "shared": shared}
    answer["texts"] = [printable(text) for text in record.token_texts]
    if reference is not None and reference.error is None:
        answer["shared"] = _shared_length(ids, reference.token_ids or ())
    if record.layers_run is not None:
        answer["layers"] = [round(layers, 2) for layers in record.layers_run]
    if record.drafted_tokens is not None:
        answer["drafted"] = [int(drafted) for drafted in record.drafted_tokens]
    if record.confidences is not None:
        answer["confidences"] = [None if one is None else float(f"{one:.3g}") for one in record.confidences]
    if record.token_s is not None:
        answer["ms"] = [round(seconds * 1000, 1) for seconds in record.token_s]
    return answer


def _shared_length(one: Sequence[object], other: Sequence[object]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _readable(record: SampleRecord) -> str:
    text = printable(record.text or "")
    return text if len(text) <= _TEXT_CHARACTERS else text[:_TEXT_CHARACTERS] + CUT


def _facts(record: SampleRecord, reference: SampleRecord | None) -> str:
    if record.error is not None:
        return "failed"
    tokens = len(record.token_ids or ())
    parts = ["1 token" if tokens == 1 else f"{tokens} tokens"]
    if record.decode_s and tokens > 1:
        parts.append(f"{figures.significant((tokens - 1) / record.decode_s)} tokens/s")
    decoded = (record.layers_run or ())[1:]
    if decoded:
        parts.append(f"{figures.significant(sum(decoded) / len(decoded))} layers per token")
    if record.drafted:
        parts.append(f"{figures.share((record.accepted or 0) / record.drafted)} of drafts accepted")
    if record.stop_reason is not None:
        parts.append(f"stopped by {record.stop_reason.replace('_', ' ')}")
    other = None if reference is None or reference.label == record.label else reference
    if other is not None and other.error is None and other.token_ids == record.token_ids:
        parts.append("identical to the baseline's")
    return ", ".join(parts)
