"""Requests as a strategy gets them, without a task behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsbench.spec import GenerateRequest


def generate_request(prompt: Sequence[int], count: int, **given: Any) -> GenerateRequest:
    """Up to ``count`` new tokens after ``prompt``; greedy unless ``sampling`` is given."""
    fields = {"task": "t", "doc_id": 0, "arguments_sha256": "", "prompt": ""}
    return GenerateRequest(
        **{**fields, **given},
        prompt_tokens=tuple(prompt),
        max_new_tokens=count,
    )
