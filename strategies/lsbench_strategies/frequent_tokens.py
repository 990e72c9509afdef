"""Few tokens that do for nearly all that a model writes, and how many of them a draft does best with.

A draft that predicts the most frequent tokens alone reads their part of the output head only, as in FR-Spec
(Zhao et al., 2025, arXiv:2502.14856). Which they are is told by calibration: the model's own predictions,
because the calibration text is far too short to have shown every frequent token once.
"""

from __future__ import annotations

from torch import Tensor

from lsbench.strategy import Preparation

_SMALLEST = 256
_LEAST_GAIN = 1.02
"""Below it, laying a few logits out over the whole vocabulary costs what is gained."""


def frequent_tokens(preparation: Preparation, count: int) -> Tensor:
    """The tokens with the largest mean probability over every position of the calibration prompts.

    The order of ids would cost nothing, but is no order of frequency: SentencePiece vocabularies (Llama 2,
    Gemma) have single characters at their end, the comma and the full stop among them. And where ids are
    in order of merging it is a worse one: the first 4096 of the embedded model's hold 80 % of what it writes
    (1536 tokens after 24 prompts, most of them HumanEval's), the 4096 likeliest 89 %.

    Args:
        preparation: the model and its calibration prompts.
        count: how many, at most V.

    Returns:
        [count] ids, most frequent first; the lower id first where two are alike.
    """
    return preparation.predicted_tokens.most_frequent(count)


def best_draft_vocabulary(preparation: Preparation, num_speculations: int) -> int | None:
    """How many of the most frequent tokens a draft does best with; None where it is the whole vocabulary.

    The powers of two below V are compared by what they gain for the draft that a trimmed head serves worst:
    one as deep as the model, so that the head is the least part of its steps, whose every token would be
    taken, so that every token it lacks is a loss. A shallower draft saves more for it, and one that errs on
    its own loses less, so any gains at least as much. A token it lacks is met as often as the
    calibration prompts say of one another, and ends what a cycle takes. Costs are weights read.

    Args:
        preparation: the model and its calibration prompts.
        num_speculations: tokens drafted a cycle.
    """
    size = preparation.stack.vocabulary_size
    layers, head = sum(preparation.sublayer_bytes), preparation.stack.head_product.weight_bytes
    best, most = None, _LEAST_GAIN
    count = _SMALLEST
    while count < size:
        coverage = preparation.predicted_tokens.coverage(count)
        if coverage is None:
            return None
        gain = trimming_gain(coverage, count / size, head / (layers + head), num_speculations)
        if gain > most:
            best, most = count, gain
        count *= 2
    return best


def trimming_gain(coverage: float, rows: float, head: float, num_speculations: int) -> float:
    """Tokens per cost with a trimmed head over those with a whole one, for the draft that gains least by it.

    Args:
        coverage: how often the right token is among those kept.
        rows: the part of the head's rows that is kept.
        head: the part of all weights that the whole head is.
        num_speculations: K, tokens drafted a cycle.
    """
    tokens = sum(coverage**place for place in range(num_speculations + 1)) / (num_speculations + 1)
    cost = (num_speculations * (1 - head + rows * head) + 1) / (num_speculations + 1)
    return tokens / cost
