"""The one seam through which every product with a weight matrix goes.

``Linear`` stands in for the model's own linear modules from loading on, in the way that DeepSpeed's
AutoTP and torchao stand in, so that one place serves every family, shard and strategy. A few rows go through
the product that is compiled for the machine, more of them, and other precisions and devices, through torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsbench.engine.native import Product, most_rows
from lsbench.errors import UnsupportedModel


@dataclass(frozen=True)
class Spread:
    """How a product is spread over ranks that multiply a part of its inputs each, and sum up.

    Attributes:
        sum: adds what each rank made, in place, to the same bits on all.
        adds: whether this rank adds what is to be added once: the bias, and a residual.
        inputs: of all ranks.
        columns: this rank's, where every rank is given all inputs; None where it is given its own alone.
    """

    sum: Callable[[Tensor], Tensor]
    adds: bool
    inputs: int
    columns: slice | None = None


class Linear(nn.Module):
    """``x @ weight.T + bias``.

    Args:
        weight: [out, in].
        bias: [out] or None.
        outputs: of all ranks, where a rank makes some of them alone.
        spread: where a rank multiplies some inputs alone.

    Attributes:
        weight, bias, outputs, spread: as given.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        bias: nn.Parameter | None = None,
        *,
        outputs: int | None = None,
        spread: Spread | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.spread = spread
        self.out_features, self.in_features = weight.shape
        self.outputs = outputs or self.out_features
        self._dtype = weight.dtype
        self._most = most_rows(weight.dtype, weight.device) * self.in_features

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        if self.spread is None:
            return self._multiplied(x, self.bias)
        return self.spread.sum(self._part(x, self.spread))

    def onto(self, hidden: Tensor, x: Tensor, factor: float = 1.0) -> Tensor:
        """``hidden`` [..., out] plus ``factor`` times the product of ``x`` [..., in].

        Over several ranks one of them adds ``hidden`` and all are given the sum, so that what comes out has
        the same bits on each, whatever became of the others' ``hidden``.
        """
        if self.spread is None:
            added = self(x)
            return hidden + (added if factor == 1.0 else added * factor)
        part = self._part(x, self.spread)
        if factor != 1.0:
            part *= factor
        if self.spread.adds:
            part += hidden
        return self.spread.sum(part)

    def rows(self, x: Tensor, start: int) -> Tensor:
        """The product with the output rows from ``start`` on: [..., in] to [..., out - start]."""
        return self._product(x, self.weight[start:], None if self.bias is None else self.bias[start:])

    def _part(self, x: Tensor, spread: Spread) -> Tensor:
        """What this rank adds to the sum."""
        mine = x if spread.columns is None else x[..., spread.columns]
        return self._multiplied(mine, self.bias if spread.adds else None)

    def _multiplied(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return self._product(x, self.weight, bias)

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # The weights may stand in a better precision for a while.
        if 0 < x.numel() <= self._most and x.dtype == weight.dtype == self._dtype:
            return torch.ops.lsbench.product.default(x, weight, bias)
        return functional.linear(x, weight, bias)

    def chosen(self, outputs: Tensor) -> Linear:
        """The product with the output rows ``outputs`` [n] int64 alone, which are copied side by side."""
        chosen: dict[str, Any] = {
            name: nn.Parameter(parameter[outputs], requires_grad=False)
            for name, parameter in self.named_parameters()
        }
        return type(self)(**chosen, spread=self.spread)

    @property
    def product(self) -> Product:
        """What it multiplies with; of several ranks that sum up, one has the bias."""
        return Product(self.weight, self.bias if self.spread is None or self.spread.adds else None, None)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one product reads, on all ranks together."""
        inputs = self.in_features if self.spread is None else self.spread.inputs
        widths = {name: inputs if name == "weight" else 1 for name, _ in self.named_parameters()}
        return sum(
            self.outputs * widths[name] * each.element_size() for name, each in self.named_parameters()
        )

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


def stand_in(model: nn.Module) -> int:
    """Put ``Linear`` in place of every ``nn.Linear`` of ``model``, sharing its parameters (ties kept).

    Returns:
        how many modules were replaced.
    """
    replaced = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                bias = None if child.bias is None else cast(nn.Parameter, child.bias)
                setattr(parent, name, Linear(cast(nn.Parameter, child.weight), bias))
                replaced += 1
    return replaced


def fuse(parts: Sequence[Linear]) -> Linear:
    """One product for several that read the same input, and the parts become views of it.

    The parts keep working (transformers' own forward goes through them) and no weight is held twice.

    Raises:
        ValueError: some parts have a bias and others have none, or only some have int8 weights.
    """
    names = [name for name, _ in parts[0].named_parameters()]
    if any(type(part) is not type(parts[0]) for part in parts):
        raise ValueError("cannot fuse linear modules of which only some have int8 weights")
    if any([name for name, _ in part.named_parameters()] != names for part in parts):
        raise ValueError("cannot fuse linear modules of which only some have a bias")
    whole = {name: torch.cat([part.get_parameter(name).detach() for part in parts]) for name in names}
    start = 0
    for part in parts:
        end = start + part.out_features
        for name, tensor in whole.items():
            setattr(part, name, nn.Parameter(tensor[start:end], requires_grad=False))
        start = end
    fused: dict[str, Any] = {
        name: nn.Parameter(tensor, requires_grad=False) for name, tensor in whole.items()
    }
    return type(parts[0])(**fused, outputs=sum(part.outputs for part in parts))


def linear_in(parent: nn.Module, name: str) -> Linear:
    """The linear module of that name, which ``stand_in`` has replaced.

    Raises:
        UnsupportedModel: it is another kind of module, as in a quantized checkpoint.
    """
    module = parent.get_submodule(name)
    if not isinstance(module, Linear):
        raise UnsupportedModel(
            f"{name} of {type(parent).__name__} is a {type(module).__name__}, not a plain linear module; "
            "use an unquantized checkpoint"
        )
    return module
