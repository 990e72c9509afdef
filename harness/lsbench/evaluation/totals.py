"""Metrics of a whole corpus that follow from sums over its documents, as BLEU follows from counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsbench_tasks.texts import FORMULAS, Formula, bleu_counts, corpus_bleu


@dataclass(frozen=True)
class Totals:
    """One such metric: resampled documents give it again without their texts."""

    parts: dict[int, tuple[float, ...]]
    """By document, what it adds to each sum."""
    value: Callable[[Sequence[float]], float]
    """From the sums to the metric."""
    formula: Formula | None = None
    """What ``value`` is called in ``lsbench_tasks.texts.FORMULAS``; None for a task's own."""


def totals_of(
    items: Mapping[int, Any], reported: float, aggregate: Callable[[list[Any]], float] | None
) -> Totals | None:
    """A metric as ``Totals``, where parts that are added up give what was reported; None elsewhere.

    Args:
        items: by document, what the task made of it.
        reported: the metric.
        aggregate: how the task makes it from the items. lm-eval's own ``bleu`` keeps texts, which are
            counted here.
    """
    from lm_eval.api.metrics import bleu

    if aggregate is bleu:
        items, aggregate = {document: _bleu_part(item) for document, item in items.items()}, corpus_bleu
    parts = {document: _numbers(item) for document, item in items.items()}
    lengths = set(map(len, parts.values()))
    if aggregate is None or len(lengths) != 1 or lengths == {0}:
        return None
    of_corpus = aggregate
    value = finite(of_corpus([_sums(list(parts.values()))]))
    if value is None or not math.isclose(value, reported, rel_tol=1e-9, abs_tol=1e-12):
        return None
    formula: Formula | None = "bleu" if of_corpus is FORMULAS["bleu"] else None
    return Totals(parts, lambda sums: float(of_corpus([sums])), formula)


def stderr_of(totals: Totals, draws: int) -> float | None:
    """By lm-eval's own bootstrap over documents, which it gives to no metric that it does not know.

    Returns:
        None for fewer than two documents.
    """
    from lm_eval.api.metrics import bootstrap_stderr

    if len(totals.parts) < 2:
        return None
    return bootstrap_stderr(
        lambda parts: totals.value(_sums(parts)), list(totals.parts.values()), iters=draws
    )


def finite(value: Any) -> float | None:
    """A finite number, or None (lm-eval writes "N/A" for a standard error it does not have)."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _sums(parts: Sequence[Sequence[float]]) -> list[float]:
    return [math.fsum(column) for column in zip(*parts, strict=True)]


def _numbers(item: Any) -> tuple[float, ...]:
    """The part itself; empty for anything else than numbers."""
    numbers = isinstance(item, tuple) and all(isinstance(number, int | float) for number in item)
    return item if numbers else ()


def _bleu_part(item: Any) -> tuple[float, ...]:
    """What lm-eval keeps of a document, references and output (either alone or in a list), as counts."""
    references, output = item
    texts = [references] if isinstance(references, str) else list(references)
    return bleu_counts(texts, output if isinstance(output, str) else output[0])
