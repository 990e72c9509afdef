"""The one seam through which every product with a weight matrix goes.

``Linear`` stands in for the model's own linear modules from loading on, in the way that DeepSpeed's
AutoTP and torchao stand in, so that one place serves every family, shard and strategy. A few rows go through
the product that is compiled for the machine, more of them, and other precisions and devices, through torch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsbench.engine.native import Product, most_rows
from lsbench.errors import UnsupportedModel


class Linear(nn.Module):
    """``x @ weight.T + bias``.

    Attributes:
        weight: [out, in].
        bias: [out] or None.
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.out_features, self.in_features = weight.shape
        self._dtype = weight.dtype
        self._most = most_rows(weight.dtype, weight.device) * self.in_features

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return self._product(x, self.weight, self.bias)

    def rows(self, x: Tensor, start: int) -> Tensor:
        """The product with the output rows from ``start`` on: [..., in] to [..., out - start]."""
        return self._product(x, self.weight[start:], None if self.bias is None else self.bias[start:])

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # The weights may stand in a better precision for a while.
        if 0 < x.numel() <= self._most and x.dtype == weight.dtype == self._dtype:
            return torch.ops.lsbench.product.default(x, weight, bias)
        return functional.linear(x, weight, bias)

    def chosen(self, outputs: Tensor) -> Linear:
        """The product with the output rows ``outputs`` [n] int64 alone, which are copied side by side."""
        return type(self)(
            **{
                name: nn.Parameter(parameter[outputs], requires_grad=False)
                for name, parameter in self.named_parameters()
            }
        )

    @property
    def product(self) -> Product:
        """What it multiplies with."""
        return Product(self.weight, self.bias, None)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one product reads."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.parameters())

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
    return type(parts[0])(
        **{name: nn.Parameter(tensor, requires_grad=False) for name, tensor in whole.items()}
    )


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
