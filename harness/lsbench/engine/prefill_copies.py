"""Sessions that go on from the same prompt again and again, which is run once."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from lsbench.engine.cache import KVCache
from lsbench.engine.clock import Clock
from lsbench.engine.session import Session
from lsbench.engine.stack import DecoderStack


@dataclass(frozen=True)
class _Prefilled:
    """A session as its prefill left it; ``logits`` [1, V] is what that returned."""

    cache: KVCache
    perplexity: float | None
    logits: Tensor


class PrefillCopies:
    """Makes sessions of one sequence; what one of them has prefilled, the others copy.

    Args:
        stack: the model.

    Attributes:
        clock: the model's.
    """

    def __init__(self, stack: DecoderStack) -> None:
        self._stack = stack
        self._kept: dict[tuple[tuple[int, ...], bool], _Prefilled] = {}
        self.clock = Clock(stack.device)

    def session(self, capacity: int) -> Session:
        """An empty one."""
        return _CopyingSession(self._stack, self._kept, capacity)


class _CopyingSession(Session):
    def __init__(
        self, stack: DecoderStack, kept: dict[tuple[tuple[int, ...], bool], _Prefilled], capacity: int
    ) -> None:
        super().__init__(stack, capacity=capacity)
        self._kept = kept

    @torch.inference_mode()
    def prefill(self, tokens: Tensor, with_perplexity: bool = False) -> Tensor:
        """As ``Session.prefill``, and the same result."""
        if self.lengths[0] or tokens.shape[0] != 1:
            return super().prefill(tokens, with_perplexity)
        ids = tuple(tokens[0].tolist())
        kept = self._kept.get((ids, with_perplexity))
        if kept is None:
            logits = super().prefill(tokens, with_perplexity)
            self._kept[ids, with_perplexity] = _Prefilled(
                copy.deepcopy(self.cache), self.prompt_perplexity[0], logits
            )
            return logits
        self.cache = copy.deepcopy(kept.cache)
        self._tokens[0].extend(ids)
        self.prompt_lengths = [len(ids)]
        self.prompt_perplexity = [kept.perplexity]
        self._predictions[0] = (len(ids) - 1, kept.logits)
        return kept.logits
