"""How tasks whose answers are programs are scored: pass@k, from which of several programs passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

from lsbench_tasks.execution import run_programs

PAPER_K = (1, 10, 100)
"""The k of the paper; those above the number of samples are left out, and that number itself is added."""


def run_each(programs: Sequence[Sequence[tuple[str, str]]]) -> list[list[bool]]:
    """Run all programs of all problems in one batch.

    Args:
        programs: for each problem, its programs, each with what tests it.

    Returns:
        for each problem, which of them passed.
    """
    verdicts = iter(run_programs([program for own in programs for program in own]))
    return [[next(verdicts) for _ in own] for own in programs]


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Unbiased estimate of the chance that one of ``k`` samples passes (Chen et al., 2021, section 2.1).

    Written here because no installed library has it to call: lm-eval takes it from a metric that it fetches
    from the hub.
    """
    return 1.0 - comb(samples - passed, k) / comb(samples, k)


def programs_passed(doc: Mapping[str, object], results: Sequence[Sequence[bool]]) -> dict[str, float]:
    """``pass@k`` of one problem from the verdicts of its programs."""
    (verdicts,) = results
    samples, passed = len(verdicts), sum(verdicts)
    sizes = sorted({k for k in PAPER_K if k <= samples} | {samples})
    return {f"pass@{k}": pass_at_k(samples, passed, k) for k in sizes}
