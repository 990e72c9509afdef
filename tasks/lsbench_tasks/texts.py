"""How generated texts are scored against reference texts: ROUGE-1/2/L, BLEU and exact match.

Every output of a document counts (``--repeats``): means are over all of them, and BLEU is of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

ROUGE = ("rouge1", "rouge2", "rougeL")
_ORDERS = 4
"""BLEU counts runs of 1 to this many tokens."""

Scores = dict[str, Any]
"""Metric, and its value for one document: a number, or for BLEU the counts that ``corpus_bleu`` adds up."""


def keep_all(responses: Sequence[Sequence[str]], docs: Sequence[object]) -> list[list[str]]:
    """Every output of every document (lm-eval's filter step, whose default keeps the first alone)."""
    return [list(texts) for texts in responses]


def text_scores(references: Sequence[str], outputs: Sequence[str]) -> Scores:
    """All metrics of one document; none where nothing is known to be right.

    Args:
        references: texts that would each have been right. ROUGE and exact match take the nearest of them,
            BLEU counts against all.
        outputs: what was generated, one text a repeat.

    Returns:
        ``rouge1``, ``rouge2``, ``rougeL`` (F-measures, 0 to 1), ``exact_match`` (share of outputs equal to a
        reference, white space at both ends aside), ``bleu`` (counts).
    """
    if not references:
        return {}
    found = [_rouge().score_multi(list(references), output) for output in outputs]
    wanted = {reference.strip() for reference in references}
    counts = [bleu_counts(references, output) for output in outputs]
    return {
        **{name: sum(each[name].fmeasure for each in found) / len(found) for name in ROUGE},
        "bleu": tuple(map(sum, zip(*counts, strict=True))),
        "exact_match": sum(output.strip() in wanted for output in outputs) / len(outputs),
    }


def bleu_counts(references: Sequence[str], output: str) -> tuple[int, ...]:
    """What one output adds to BLEU, by sacrebleu's default tokens.

    Returns:
        runs of 1 to 4 tokens that a reference has too; all such runs; the output's tokens; those of the
        reference nearest in length.
    """
    score = _bleu().corpus_score([output.strip()], [[reference.strip()] for reference in references])
    return (*map(int, score.counts), *map(int, score.totals), int(score.sys_len), int(score.ref_len))


def corpus_bleu(counts: Sequence[Sequence[float]]) -> float:
    """BLEU of a corpus, 0 to 100, from each document's counts: sacrebleu's of the same texts."""
    from sacrebleu.metrics.bleu import BLEU

    sums = [round(sum(column)) for column in zip(*counts, strict=True)]
    common, runs = sums[:_ORDERS], sums[_ORDERS : 2 * _ORDERS]
    return float(BLEU.compute_bleu(common, runs, *sums[2 * _ORDERS :], smooth_method="exp").score)


Formula = Literal["bleu"]
FORMULAS: Mapping[Formula, Callable[[Sequence[Sequence[float]]], float]] = {"bleu": corpus_bleu}
"""By name, metrics of a corpus that follow from what its documents add up to."""


def has_words(text: str) -> bool:
    """Whether ROUGE finds a word in a text: rouge-score knows Latin letters without accents, and digits."""
    from rouge_score.tokenize import tokenize

    return bool(tokenize(text, None))


@lru_cache(maxsize=1)
def _rouge() -> RougeScorer:
    """With Porter's stemmer, as figures for summaries are usually given."""
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE), use_stemmer=True)


@lru_cache(maxsize=1)
def _bleu() -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU()


def scored(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> Scores:
    """``text_scores`` of a document with a field ``references`` (lm-eval's ``process_results``)."""
    (outputs,) = results
    return text_scores(doc["references"], outputs)
