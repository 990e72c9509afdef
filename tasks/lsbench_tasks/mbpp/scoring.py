"""Which generated programs pass the tests of their problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsbench_tasks.execution import run_programs


def run_tests(responses: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[bool]]:
    """Run every program of every problem in one batch (lm-eval's filter step).

    Args:
        responses: for each problem, its programs.
        docs: the problems, in the same order.

    Returns:
        For each problem, which of its programs passed all its tests, after the problem's own preparation.
    """
    programs = [
        (program, "\n".join([doc["test_setup_code"], *doc["test_list"]]))
        for doc, own in zip(docs, responses, strict=True)
        for program in own
    ]
    verdicts = iter(run_programs(programs))
    return [[next(verdicts) for _ in own] for own in responses]
