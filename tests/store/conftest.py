from __future__ import annotations

from collections.abc import Callable

import pytest

from lsbench.records import SampleRecord
from lsbench.spec import RunSpec, StrategyChoice


@pytest.fixture
def spec() -> RunSpec:
    return RunSpec(
        strategies=(StrategyChoice(name="dynamic_skip", options={"max_skip_ratio": 0.4}),),
        tasks=("humaneval",),
        limit=4,
    )


@pytest.fixture
def make_record() -> Callable[..., SampleRecord]:
    def make(doc_id: int = 0, **changes: object) -> SampleRecord:
        fields: dict[str, object] = {
            "strategy": "autoregressive",
            "options": {},
            "label": "autoregressive",
            "task": "humaneval",
            "doc_id": doc_id,
            "kind": "generate",
            "arguments_sha256": "0" * 64,
            "prompt": "def f():\n    ",
            "prompt_tokens": 5,
            "token_ids": (1, 2, 3),
            "text": "return 'é\u2028\x85'\n",
            "stop_reason": "eos",
            "ttft_s": 0.1,
            "decode_s": 0.2,
            "layers_run": (30.0, 12.5, 30.0),
        }
        return SampleRecord.model_validate({**fields, **changes})

    return make
