"""The sandbox on the real thing: all 164 problems, solved and left undone."""

from __future__ import annotations

import json

import pytest

from lsbench.catalog import prepare_data
from lsbench.evaluation.sandbox import Limits, Sandbox

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def problems() -> list[dict[str, str]]:
    with open(prepare_data("humaneval"), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def run(problems: list[dict[str, str]], body: str | None) -> dict[str, bool]:
    """Whether each problem passes with its own solution, or with ``body`` for the function's body."""
    pairs = [
        (
            problem["prompt"] + (problem["canonical_solution"] if body is None else body),
            f"{problem['test']}\ncheck({problem['entry_point']})",
        )
        for problem in problems
    ]
    outcomes = Sandbox.detect(limits=Limits(wall_s=60.0, cpu_s=60)).run_many(pairs)
    return {problem["task_id"]: outcome.passed for problem, outcome in zip(problems, outcomes, strict=True)}


def test_every_canonical_solution_passes(problems):
    assert len(problems) == 164
    assert [task for task, passed in run(problems, None).items() if not passed] == []


def test_every_problem_left_undone_fails(problems):
    assert [task for task, passed in run(problems, "    pass\n").items() if passed] == []
