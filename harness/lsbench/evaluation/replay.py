"""Stored records in the place of a model: every answer is looked up, none is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from lm_eval.api.model import LM

from lsbench.errors import ReplayMiss
from lsbench.records import SampleRecord
from lsbench.spec import arguments_hash

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

T = TypeVar("T")

Place = tuple[int, int, int]
"""Document, request of that document, repeat."""


class ReplayModel(LM):
    """An lm-eval model class that only looks answers up, and proves that they answer the same request.

    Args:
        task: the task whose requests it answers.
        records: that task's records by place.
        documents: the true index of each document, where lm-eval has numbered a selection from 0.
    """

    def __init__(self, task: str, records: Mapping[Place, SampleRecord], documents: Sequence[int]) -> None:
        super().__init__()
        self._task = task
        self._records = records
        self._documents = documents

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The stored texts.

        Raises:
            ReplayMiss: no record answers a request, or one answers another request than this.
        """
        return [_given(record, record.text) for record in self._answers(requests)]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The stored log-likelihoods, and whether each continuation was the greedy one.

        Raises:
            ReplayMiss: as ``generate_until``.
        """
        return [
            (_given(record, record.logprob), _given(record, record.is_greedy))
            for record in self._answers(requests)
        ]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """The stored log-likelihoods of whole texts.

        Raises:
            ReplayMiss: as ``generate_until``.
        """
        return [_given(record, record.logprob) for record in self._answers(requests)]

    def _answers(self, requests: Sequence[Instance]) -> list[SampleRecord]:
        """One record a request; a request that comes again is its next repeat."""
        seen: Counter[tuple[int, int]] = Counter()
        answers: list[SampleRecord] = []
        for request in requests:
            if request.doc_id is None or request.doc_id >= len(self._documents):
                raise ReplayMiss(
                    f"Task {self._task!r}: lm-eval asks for document {request.doc_id}, unknown here."
                )
            document = self._documents[request.doc_id]
            # A log-likelihood does not vary, so one record answers all repeats.
            repeat = seen[document, request.idx] if request.request_type == "generate_until" else 0
            seen[document, request.idx] += 1
            answers.append(self._answer(request, (document, request.idx, repeat)))
        return answers

    def _answer(self, request: Instance, place: Place) -> SampleRecord:
        where = f"Task {self._task!r}, document {place[0]}, request {place[1]}, repeat {place[2]}"
        record = self._records.get(place)
        if record is None:
            raise ReplayMiss(f"{where}: no stored record answers it.")
        if record.error is not None:
            raise ReplayMiss(f"{where}: the stored record failed ({record.error}).")
        if record.arguments_sha256 != arguments_hash(request.args):
            raise ReplayMiss(
                f"{where}: the stored record answers another request; the task, its data, the tokenizer or "
                "lm-eval has changed since the run."
            )
        return record


def _given(record: SampleRecord, value: T | None) -> T:
    if value is None:
        raise ReplayMiss(
            f"Task {record.task!r}, document {record.doc_id}: the stored {record.kind} record has no answer."
        )
    return value
