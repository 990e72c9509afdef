"""The head's rows of some tokens: a smaller vocabulary, for whoever proposes and does not decide."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lsbench.engine.linear import Linear


class PartialHead:
    """Final norm and some rows of the output head, copied side by side once.

    Args:
        tokens: [n] int64 ids, each once; kept as ``tokens``.
        head: the whole product.
        norm: what precedes it.
        finish: what becomes of its logits, if anything.

    Attributes:
        vocabulary_size: V, tokens of the model.
        share: what a product reads of the weights that the whole one reads, 0 to 1.
    """

    def __init__(
        self,
        tokens: Tensor,
        head: Linear,
        norm: Callable[[Tensor], Tensor],
        finish: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.tokens = tokens
        self.vocabulary_size = head.out_features
        self._product = head.chosen(tokens)
        self._norm, self._finish = norm, finish
        self.share = self._product.weight_bytes / head.weight_bytes

    def __call__(self, hidden: Tensor) -> Tensor:
        """Hidden states [N, D] at any depth to logits [N, n] of the tokens, in their order."""
        logits = self._product(self._norm(hidden))
        return logits if self._finish is None else self._finish(logits)

    def spread(self, logits: Tensor) -> Tensor:
        """[..., n] to [..., V], each where its token's id is; minus infinity, so no chance, elsewhere."""
        shape = (*logits.shape[:-1], self.vocabulary_size)
        everywhere = torch.full(shape, -torch.inf, dtype=logits.dtype, device=logits.device)
        return everywhere.index_copy_(-1, self.tokens, logits)
