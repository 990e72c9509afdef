"""A record of a request, but for what came of it: the same wherever it is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from lsbench.records import SCHEMA, RecordKey, SampleRecord
from lsbench.spec import GenerateRequest, Request, StrategyChoice

Kind = Literal["generate", "score", "fidelity", "parity", "certificate"]


def key_of(label: str, request: Request, kind: Kind) -> RecordKey:
    """The identity within its run of what a strategy makes of a request."""
    return RecordKey(label, kind, request.task, request.doc_id, request.idx, request.repeat)


def line_of(
    choice: StrategyChoice, request: Request, kind: Kind, attempt: int, segment: int, replica: int = 0
) -> Callable[..., SampleRecord]:
    """Give what came of it, by the names of the record's fields, and have the record."""
    return partial(
        SampleRecord,
        schema=SCHEMA,
        strategy=choice.name,
        options=choice.options,
        label=choice.label,
        task=request.task,
        doc_id=request.doc_id,
        idx=request.idx,
        repeat=request.repeat,
        kind=kind,
        arguments_sha256=request.arguments_sha256,
        prompt=request.prompt,
        prompt_tokens=_prompt_length(request),
        replica=replica,
        attempt=attempt,
        segment=segment,
    )


def reason(error: BaseException) -> str:
    """Why something failed, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _prompt_length(request: Request) -> int:
    if isinstance(request, GenerateRequest):
        return len(request.prompt_tokens)
    return sum(len(window.context) for window in request.windows)
