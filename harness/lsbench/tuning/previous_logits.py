"""The prediction before a token, which some policies decide by: looked up when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lsbench.engine import DecoderStack, StepContext
from lsbench.tuning.references import Reference


class PreviousLogits:
    """What the full model predicted before each row of a reference, computed when first asked for."""

    def __init__(self, stack: DecoderStack, reference: Reference) -> None:
        self._stack, self._reference = stack, reference
        self._made: Tensor | None = None

    def of(self, row: int) -> Callable[[], Tensor]:
        """Gives [V] that the row's own token was chosen from."""
        return lambda: self._reference.first_logits if row == 0 else self._all()[row - 1]

    @torch.inference_mode()
    def _all(self) -> Tensor:
        if self._made is None:
            self._made = self._stack.head(self._reference.hidden[-1])
        return self._made


class Context(StepContext):
    """What a policy knows before a step; the prediction before it is looked up when it is asked for."""

    def __init__(
        self, reference: Reference, num_layers: int, row: int, previous: Callable[[], Tensor]
    ) -> None:
        self._previous = previous
        self.has_looked = False
        prompt = reference.prompt_length
        perplexity = reference.session.prompt_perplexity[0]
        super().__init__(num_layers, prompt + row, prompt, reference.first_logits, perplexity)

    @property
    def previous_logits(self) -> Tensor:
        """[V]."""
        self.has_looked = True
        return self._previous()

    @previous_logits.setter
    def previous_logits(self, value: Tensor) -> None:
        """Set once by the base class, and not looked at."""
