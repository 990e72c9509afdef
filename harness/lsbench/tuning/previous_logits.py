"""The prediction before a token, which some policies decide by: looked up when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from lsbench.engine import DecoderStack, StepContext
from lsbench.engine.policy import normalised_entropy, probability_margin
from lsbench.tuning.references import Reference

_TOGETHER = 64
"""Rows whose logits are made, and held, at once: together they may be far larger than all that is kept."""


class Previous(Protocol):
    """What a row's own token was chosen from."""

    def logits(self) -> Tensor:
        """[V]."""
        ...

    def entropy(self) -> float:
        """As ``StepContext.previous_entropy``."""
        ...

    def margin(self) -> float:
        """As ``StepContext.previous_margin``."""
        ...


class Predicted:
    """A prediction at hand.

    Args:
        logits: [V].
    """

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    def logits(self) -> Tensor:
        """[V]."""
        return self._logits

    def entropy(self) -> float:
        """Of the prediction."""
        return normalised_entropy(self._logits)

    def margin(self) -> float:
        """Of the prediction."""
        return probability_margin(self._logits)


class PreviousLogits:
    """What the full model predicted before each row of a reference; how sure it was is worked out once."""

    def __init__(self, stack: DecoderStack, reference: Reference) -> None:
        self._stack, self._reference = stack, reference
        self._latest: tuple[int, Tensor] | None = None

    def of(self, row: int) -> Previous:
        """What the row's own token was chosen from."""
        return _FullModel(self, row)

    @torch.inference_mode()
    def logits(self, row: int) -> Tensor:
        """[V], made together with those of the rows around it."""
        if row == 0:
            return self._reference.first_logits
        first = (row - 1) // _TOGETHER * _TOGETHER
        if self._latest is None or self._latest[0] != first:
            hidden = self._reference.hidden[-1][first : first + _TOGETHER]
            self._latest = first, self._stack.head(hidden)
        return self._latest[1][row - 1 - first]

    @cached_property
    def entropies(self) -> list[float]:
        """Before each row."""
        return self._of_all(normalised_entropy)

    @cached_property
    def margins(self) -> list[float]:
        """Before each row."""
        return self._of_all(probability_margin)

    @torch.inference_mode()
    def _of_all(self, measure: Callable[[Tensor], float]) -> list[float]:
        found = [measure(self.logits(row)) for row in range(self._reference.rows)]
        self._latest = None
        return found


class _FullModel:
    """One row of ``PreviousLogits``."""

    def __init__(self, every: PreviousLogits, row: int) -> None:
        self._every, self._row = every, row

    def logits(self) -> Tensor:
        return self._every.logits(self._row)

    def entropy(self) -> float:
        return self._every.entropies[self._row]

    def margin(self) -> float:
        return self._every.margins[self._row]


class Context(StepContext):
    """What a policy knows before a step; the prediction before it is looked up when it is asked for."""

    def __init__(self, reference: Reference, num_layers: int, row: int, previous: Previous) -> None:
        self._previous = previous
        self.has_looked = False
        prompt = reference.prompt_length
        perplexity = reference.session.prompt_perplexity[0]
        super().__init__(num_layers, prompt + row, prompt, reference.first_logits, perplexity)

    @property
    def previous_logits(self) -> Tensor:
        """[V]."""
        self.has_looked = True
        return self._previous.logits()

    @previous_logits.setter
    def previous_logits(self, value: Tensor) -> None:
        """Set once by the base class, and not looked at."""

    @cached_property
    def previous_entropy(self) -> float:
        """As the base class has it."""
        self.has_looked = True
        return self._previous.entropy()

    @cached_property
    def previous_margin(self) -> float:
        """As the base class has it."""
        self.has_looked = True
        return self._previous.margin()
