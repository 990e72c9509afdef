"""MLPs of a decoder layer, on rows [N, D]: gated, plain, and mixtures of experts."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from lsbench.engine.families import Family
from lsbench.engine.linear import Linear, fuse, linear_in

PART_OF_WIDTH = "lsbench_part_of_width"
"""Attribute of experts that a rank holds a part of: how wide they are there, and on all ranks together."""


class MLP(Protocol):
    """What a block wants of its MLP."""

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        ...

    def onto(self, hidden: Tensor, rows: Tensor, factor: float) -> Tensor:
        """``hidden`` [N, D] plus ``factor`` times what comes of ``rows`` [N, D]."""
        ...

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one token reads, on all ranks together."""
        ...


class GatedMLP:
    """``down(activation(gate(x)) * up(x))``, gate and up as one product (Shazeer, 2020).

    Args:
        gate_up: [2I, D], the gate's rows first.
        down: [D, I].
        activation: the module's own.
    """

    def __init__(self, gate_up: Linear, down: Linear, activation: nn.Module) -> None:
        self.gate_up, self.down, self._activation = gate_up, down, activation

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        return self.down(self._inner(rows))

    def onto(self, hidden: Tensor, rows: Tensor, factor: float) -> Tensor:
        """``hidden`` [N, D] plus ``factor`` times what comes of ``rows`` [N, D]."""
        return self.down.onto(hidden, self._inner(rows), factor)

    def _inner(self, rows: Tensor) -> Tensor:
        gate, up = self.gate_up(rows).chunk(2, dim=-1)
        return self._activation(gate) * up

    @property
    def is_silu(self) -> bool:
        """Whether the activation is x * sigmoid(x)."""
        return type(self._activation).__name__ in ("SiLU", "SiLUActivation")

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one token reads."""
        return self.gate_up.weight_bytes + self.down.weight_bytes


class PlainMLP:
    """``down(activation(up(x)))``."""

    def __init__(self, up: Linear, down: Linear, activation: nn.Module) -> None:
        self.up, self.down, self._activation = up, down, activation

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        return self.down(self._activation(self.up(rows)))

    def onto(self, hidden: Tensor, rows: Tensor, factor: float) -> Tensor:
        """``hidden`` [N, D] plus ``factor`` times what comes of ``rows`` [N, D]."""
        return self.down.onto(hidden, self._activation(self.up(rows)), factor)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one token reads."""
        return self.up.weight_bytes + self.down.weight_bytes


class Experts:
    """A mixture of experts: transformers' own module, router and all, with its own weights."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        return self._module(rows[None])[0]

    def onto(self, hidden: Tensor, rows: Tensor, factor: float) -> Tensor:
        """``hidden`` [N, D] plus ``factor`` times what comes of ``rows`` [N, D]."""
        added = self(rows)
        return hidden + (added if factor == 1.0 else added * factor)

    @property
    def weight_bytes(self) -> int:
        """What one token reads: router, shared parts, and its share of the experts, k of E."""
        experts = self._module.experts
        chosen = next(part.top_k for part in self._module.children() if hasattr(part, "top_k"))
        apart = _bytes(experts)
        return _bytes(self._module) - apart + apart * chosen // experts.num_experts


def mlp_of(module: nn.Module, family: Family) -> MLP:
    """The layer's MLP: a mixture of experts where it has any, else as its family declares."""
    if hasattr(module, "experts"):
        return Experts(module)
    activation: nn.Module = getattr(module, family.activation)
    down = linear_in(module, family.down)
    if family.gate_up is not None:
        return GatedMLP(linear_in(module, family.gate_up), down, activation)
    if family.gate is None:
        return PlainMLP(linear_in(module, family.up), down, activation)
    return GatedMLP(fuse([linear_in(module, family.gate), linear_in(module, family.up)]), down, activation)


def take_experts_one_by_one(model: Any) -> str | None:
    """Have a mixture of experts multiply by torch's plain products: the grouped one lacks float64.

    Args:
        model: a transformers causal LM, with experts or without.

    Returns:
        how transformers had chosen to take them, for ``model.config``; None in a model without any.
    """
    before = getattr(model.config, "_experts_implementation", None)
    if before is not None:
        model.config._experts_implementation = "eager"
    return before


def _bytes(module: nn.Module) -> int:
    """Of all ranks together: of experts that hold a part of their width, of the whole width."""
    total = 0
    for part in module.modules():
        if isinstance(part, Linear):
            total += part.weight_bytes
            continue
        own = sum(each.numel() * each.element_size() for each in part.parameters(recurse=False))
        held, whole = getattr(part, PART_OF_WIDTH, (1, 1))
        total += own // held * whole
    return total
