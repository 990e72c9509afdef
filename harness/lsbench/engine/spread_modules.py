"""Modules of transformers that need the other ranks, where each holds a part of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lsbench.engine.mlp import PART_OF_WIDTH

Sum = Callable[[Tensor], Tensor]


class SpreadRmsNorm(nn.Module):
    """An RMS norm over all heads together, of which this rank has some: OLMo's of queries and keys.

    In float32 whatever comes in, as transformers' own.

    Args:
        weight: [w] of this rank's components.
        epsilon: added to the mean square.
        width: components of all ranks.
        sum: over ranks.
    """

    def __init__(self, weight: nn.Parameter, epsilon: float, width: int, sum: Sum) -> None:
        super().__init__()
        self.weight = weight
        self._epsilon, self._whole, self._sum = epsilon, width, sum

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., w] to [..., w]."""
        wide = hidden.float()
        mean = self._sum(wide.pow(2).sum(-1, keepdim=True).contiguous()) / self._whole
        return (self.weight * (wide * torch.rsqrt(mean + self._epsilon))).to(hidden.dtype)


def spread_experts(experts: Any, held: int, whole: int, sum: Sum) -> None:
    """Have a mixture of experts, of which this rank holds a part of each one's width, sum over ranks.

    Args:
        experts: transformers' own module, its weights cut already.
        held: how wide its experts are here.
        whole: how wide they are on all ranks together.
        sum: over ranks.
    """
    setattr(experts, PART_OF_WIDTH, (held, whole))
    if hasattr(experts, "intermediate_dim"):
        experts.intermediate_dim = held
    experts.register_forward_hook(lambda module, given, made: sum(made.contiguous()))
