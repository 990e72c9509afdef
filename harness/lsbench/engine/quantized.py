"""int8 weights: each output row by a scale of its own, symmetric, without calibration.

Weights alone are rounded. Biases, norms, the embedding, activations and the KV cache stay float32: a step's
time is the reading of its weights, so that nothing else would gain by being rounded too. The scale is applied
once to each output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from lsbench.engine.linear import Linear, Spread
from lsbench.engine.native import Product, dequantized_product

_LARGEST = 127
"""Symmetric: -128 is left out, so that a weight and its negative are rounded alike."""


class QuantizedLinear(Linear):
    """``x @ (weight * scale[:, None]).T + bias``.

    A few float32 rows go through the product that is compiled for the machine; more of them and other
    precisions through torch's, a few output rows widened at a time.

    Attributes:
        weight: [out, in] int8.
        scale: [out] float32.
        bias: [out] float32 or None.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        scale: nn.Parameter,
        bias: nn.Parameter | None = None,
        *,
        outputs: int | None = None,
        spread: Spread | None = None,
    ) -> None:
        super().__init__(weight, bias, outputs=outputs, spread=spread)
        self.scale = scale

    def _multiplied(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return self._scaled_product(x, self.weight, self.scale, bias)

    def rows(self, x: Tensor, start: int) -> Tensor:
        """The product with the output rows from ``start`` on: [..., in] to [..., out - start]."""
        bias = None if self.bias is None else self.bias[start:]
        return self._scaled_product(x, self.weight[start:], self.scale[start:], bias)

    def _scaled_product(self, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        # Scales and biases may stand in a better precision for a while.
        if 0 < x.numel() <= self._most and x.dtype == scale.dtype == torch.float32:
            return torch.ops.lsbench.product_int8.default(x, weight, scale, bias)
        return dequantized_product(x, weight, scale, bias)

    @property
    def product(self) -> Product:
        """What it multiplies with."""
        return super().product._replace(scale=self.scale)


def quantized(
    weight: Tensor, largest_of: Callable[[Tensor], Tensor] = lambda largest: largest
) -> tuple[Tensor, Tensor]:
    """The nearest int8 weights and their scales.

    Args:
        weight: [out, in], of any float precision.
        largest_of: of the largest weight [out] of each row here, that of the whole row, where ``weight`` is a
            part of it.

    Returns:
        weights [out, in] int8 of -127..127, and scales [out] float32: 127 of them are a row's largest weight.
    """
    wide = weight.float()
    scale = largest_of(wide.abs().amax(dim=1)) / _LARGEST
    # A row of zeros has no scale of its own.
    scale = torch.where(scale > 0, scale, 1.0)
    return (wide / scale[:, None]).round_().clamp_(-_LARGEST, _LARGEST).to(torch.int8), scale


@torch.no_grad()
def quantize(model: nn.Module) -> int:
    """Put ``QuantizedLinear`` in place of every ``nn.Linear``, one by one, letting go of its float weights.

    A head that shares its weights with the embedding gets int8 ones of its own, a quarter of their size; the
    embedding, of which a token reads one row, keeps the float ones. Experts that are no ``nn.Linear`` stay as
    they are.

    Returns:
        how many modules were replaced.
    """
    replaced = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is not nn.Linear:
                continue
            weight, scale = quantized(child.weight)
            bias = None if child.bias is None else cast(nn.Parameter, child.bias)
            setattr(
                parent,
                name,
                QuantizedLinear(
                    nn.Parameter(weight, requires_grad=False), nn.Parameter(scale, requires_grad=False), bias
                ),
            )
            # The list of modules still holds the child itself.
            child._parameters.clear()
            replaced += 1
    return replaced
