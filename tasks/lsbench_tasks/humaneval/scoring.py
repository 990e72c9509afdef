"""How HumanEval is scored: which programs pass their tests, bits per byte of the reference solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsbench_tasks.programs import run_each


def run_tests(responses: Sequence[Sequence[str]], docs: Sequence[Mapping[str, str]]) -> list[list[bool]]:
    """Run every completion of every problem in one batch (lm-eval's filter step).

    Args:
        responses: for each problem, its completions.
        docs: the problems, in the same order.

    Returns:
        For each problem, which of its completions passed.
    """
    return run_each(
        [
            [
                (doc["prompt"] + completion, f"{doc['test']}\ncheck({doc['entry_point']})")
                for completion in own
            ]
            for doc, own in zip(docs, responses, strict=True)
        ]
    )


def solution_bits(
    doc: Mapping[str, str], results: Sequence[tuple[float, bool]]
) -> dict[str, tuple[float, int]]:
    """Log-likelihood (natural log) and UTF-8 bytes of one reference solution.

    lm-eval's ``bits_per_byte`` aggregation divides the sum of the first by the sum of the second.
    """
    ((logprob, _),) = results
    return {"bits_per_byte": (logprob, len(doc["canonical_solution"].encode("utf-8")))}
