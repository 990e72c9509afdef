from __future__ import annotations

from collections.abc import Callable

import pytest

from lsbench.records import SampleRecord


@pytest.fixture
def make_record() -> Callable[..., SampleRecord]:
    """``make_record(label, doc_id, tokens=4, decode_s=0.3, ...)``: one generation."""

    def make(
        label: str = "autoregressive", doc_id: int = 0, tokens: int = 4, **changes: object
    ) -> SampleRecord:
        fields: dict[str, object] = {
            "strategy": label.partition(":")[0],
            "options": {},
            "label": label,
            "task": "humaneval",
            "doc_id": doc_id,
            "kind": "generate",
            "arguments_sha256": "0" * 64,
            "prompt": "def f():",
            "prompt_tokens": 5,
            "token_ids": tuple(range(tokens)),
            "text": "x",
            "stop_reason": "eos",
            "ttft_s": 0.1,
            "decode_s": 0.1 * (tokens - 1),
        }
        return SampleRecord.model_validate({**fields, **changes})

    return make
