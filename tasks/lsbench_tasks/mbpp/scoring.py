"""Which generated programs pass the tests of their problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsbench_tasks.programs import run_each


def run_tests(responses: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[bool]]:
    """Run every program of every problem in one batch (lm-eval's filter step).

    Args:
        responses: for each problem, its programs.
        docs: the problems, in the same order.

    Returns:
        For each problem, which of its programs passed all its tests, after the problem's own preparation.
    """
    return run_each(
        [
            [(program, "\n".join([doc["test_setup_code"], *doc["test_list"]])) for program in own]
            for doc, own in zip(docs, responses, strict=True)
        ]
    )
