"""How HumanEval is scored: pass@k of generated programs, bits per byte of the reference solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

from lsbench_tasks.execution import run_programs

PAPER_K = (1, 10, 100)
"""The k of the paper; those above the number of samples are left out, and that number itself is added."""


def run_tests(responses: Sequence[Sequence[str]], docs: Sequence[Mapping[str, str]]) -> list[list[bool]]:
    """Run every completion of every problem in one batch (lm-eval's filter step).

    Args:
        responses: for each problem, its completions.
        docs: the problems, in the same order.

    Returns:
        For each problem, which of its completions passed.
    """
    programs = [
        (doc["prompt"] + completion, f"{doc['test']}\ncheck({doc['entry_point']})")
        for doc, completions in zip(docs, responses, strict=True)
        for completion in completions
    ]
    verdicts = iter(run_programs(programs))
    return [[next(verdicts) for _ in completions] for completions in responses]


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Unbiased estimate of the chance that one of ``k`` samples passes (Chen et al., 2021, section 2.1)."""
    return 1.0 - comb(samples - passed, k) / comb(samples, k)


def programs_passed(doc: Mapping[str, str], results: Sequence[Sequence[bool]]) -> dict[str, float]:
    """``pass@k`` of one problem from the verdicts of its completions."""
    (verdicts,) = results
    samples, passed = len(verdicts), sum(verdicts)
    sizes = sorted({k for k in PAPER_K if k <= samples} | {samples})
    return {f"pass@{k}": pass_at_k(samples, passed, k) for k in sizes}


def solution_bits(
    doc: Mapping[str, str], results: Sequence[tuple[float, bool]]
) -> dict[str, tuple[float, int]]:
    """Log-likelihood (natural log) and UTF-8 bytes of one reference solution.

    lm-eval's ``bits_per_byte`` aggregation divides the sum of the first by the sum of the second.
    """
    ((logprob, _),) = results
    return {"bits_per_byte": (logprob, len(doc["canonical_solution"].encode("utf-8")))}
