"""How sure the model already is after some layer, as one number: larger is always more confident.

| measure | confidence |
|---|---|
| ``softmax_max`` | largest probability (Shallow-Deep Networks: Kaya et al., 2019) |
| ``softmax_margin`` | first minus second largest probability (CALM's softmax: Schuster et al., 2022) |
| ``entropy`` | 1 - entropy / log V (BranchyNet: Teerapittayanon et al., 2016; DeeBERT: Xin et al., 2020) |
| ``hidden_cosine`` | cosine of the layer's input and output (CALM's hidden-state saturation) |
| ``patience`` | how many candidates in a row agreed with the one before (PABEE: Zhou et al., 2020) |

``hidden_cosine`` reads hidden states alone; all others apply final norm and head to the newest position.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lsbench.engine import ExitView, PartialHead

Measure = Literal["softmax_max", "softmax_margin", "entropy", "hidden_cosine", "patience"]


@dataclass(frozen=True)
class Scale:
    """The thresholds that a measure can have.

    Attributes:
        low, high: bounds, both included.
        default: the threshold when none is given.
    """

    low: float
    high: float
    default: float


SCALES: Mapping[Measure, Scale] = {
    "softmax_max": Scale(0, 1, 0.95),
    "softmax_margin": Scale(0, 1, 0.9),
    "entropy": Scale(0, 1, 0.975),
    "hidden_cosine": Scale(-1, 1, 0.98),
    "patience": Scale(1, math.inf, 2),
}
"""Under each default, about six tokens in ten of the embedded model stop early at the default candidates, so
that measures compared without further options are compared at one saving."""


class Confidence:
    """A measure, for one request at a time.

    Args:
        measure: what is read.
        partial_head: logits of the few tokens that the check looks at; None looks at all of them.
    """

    def __init__(self, measure: Measure, partial_head: PartialHead | None = None) -> None:
        self._measure: Measure = measure
        self._partial_head = partial_head
        self._choice: int | None = None
        self._agreed = 0

    def begin_token(self) -> None:
        """Forget what the candidates of the token before chose."""
        self._choice, self._agreed = None, 0

    def of(self, view: ExitView) -> float:
        """The confidence at a candidate; call it once at each, in order."""
        if self._measure == "hidden_cosine":
            return view.cosine
        logits = view.logits if self._partial_head is None else view.logits_of(self._partial_head)
        if self._measure == "patience":
            return float(self._agreements(int(logits.argmax())))
        return _of_logits(self._measure, logits.float())

    def _agreements(self, choice: int) -> int:
        self._agreed = self._agreed + 1 if choice == self._choice else 0
        self._choice = choice
        return self._agreed


def _of_logits(measure: Measure, logits: Tensor) -> float:
    """A measure of softmax(``logits`` [n])."""
    if measure == "softmax_max":
        return float((logits.max() - torch.logsumexp(logits, dim=-1)).exp())
    if measure == "softmax_margin":
        top = torch.topk(logits, 2).values - torch.logsumexp(logits, dim=-1)
        first, second = top.exp().tolist()
        return first - second
    # A token that a trimmed head leaves out has no chance, and adds nothing.
    entropy = float(torch.special.entr(torch.softmax(logits, dim=-1)).sum())
    return 1 - entropy / math.log(logits.shape[-1])


def decayed_threshold(threshold: float, decay: float, step: int) -> float:
    """CALM's decaying threshold (Schuster et al., 2022, eq. 5): later tokens need less confidence.

    An early mistake changes everything after it, a late one little. CALM decays with t / N over a fixed
    length N; here ``decay`` is per token, because a shorter continuation that is scored, or a higher
    ``max_new_tokens``, must not change what is decided about the same token.

    Args:
        threshold: lambda, 0 to 1.
        decay: tau per token, above 0.
        step: t, tokens that ran since the prompt.

    Returns:
        0.9 lambda + 0.1 exp(-tau t), kept within 0 and 1.
    """
    return min(1.0, max(0.0, 0.9 * threshold + 0.1 * math.exp(-decay * step)))
