"""Acceptance rules made wrong on purpose, each to stand in for a part of ``lsbench.strategy.acceptance``."""

from __future__ import annotations

from torch import Tensor

from lsbench.strategy import Drafted


def always(target: Tensor, proposed: Drafted, uniform: float) -> bool:
    """In place of ``is_taken``: every draft is."""
    return True


def unweighted(target: Tensor, proposed: Drafted, uniform: float) -> bool:
    """In place of ``is_taken``: by the target's probability alone, not over the draft's."""
    return uniform < float(target[proposed.token])


def whole_target(target: Tensor, proposed: Drafted) -> Tensor:
    """In place of ``remainder``: what was refused is not taken off. The least obvious fault of the three."""
    return target
