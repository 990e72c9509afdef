"""What the two halves of a draft-and-verify cycle cost: in seconds, or in layers read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lsbench.engine import DecoderStack
from lsbench.engine.clock import Clock
from lsbench.strategy.acceptance import Drafted


class CycleCost(Protocol):
    """Asked three times a cycle, in order."""

    def begin(self) -> None:
        """The cycle begins."""

    def drafted(self, drafted: Sequence[Drafted]) -> float:
        """What drafting cost; all of ``drafted`` is there."""
        ...

    def verified(self) -> float:
        """What verifying cost; it is done."""
        ...


def cycle_cost(stack: DecoderStack, in_seconds: bool) -> CycleCost:
    """Seconds by the engine's clock, or layers by the bytes of weights read: the same at every run.

    Of several ranks that share the model, seconds are rank 0's: they decide.
    """
    return _Seconds(stack) if in_seconds else _Layers(stack)


class _Seconds:
    def __init__(self, stack: DecoderStack) -> None:
        self._clock = Clock(stack.device)
        self._agreement = stack.agreement
        self._last = 0.0

    def begin(self) -> None:
        self._last = self._clock.now_s()

    def drafted(self, drafted: Sequence[Drafted]) -> float:
        return self._lap()

    def verified(self) -> float:
        return self._lap()

    def _lap(self) -> float:
        now = self._clock.now_s()
        passed, self._last = now - self._last, now
        return self._agreement.number(passed)


class _Layers:
    """Verifying reads every layer once, however many rows resume: the last drafted token has run none yet."""

    def __init__(self, stack: DecoderStack) -> None:
        self._head = stack.head_product.weight_bytes * stack.num_layers / sum(stack.sublayer_bytes)
        self._full = stack.num_layers + self._head

    def begin(self) -> None:
        pass

    def drafted(self, drafted: Sequence[Drafted]) -> float:
        return sum(
            proposed.layers + self._head * proposed.head_share for proposed in drafted if proposed.layers
        )

    def verified(self) -> float:
        return self._full
