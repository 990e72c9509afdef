"""The standard decoder block, on rows: one row is one token of one sequence, [N, D] in all.

Rows of a step may belong to several sequences and stand at several depths; only attention cares which
sequence a row belongs to. Shapes: N rows, D hidden width, H query heads, Hkv key-value heads, d head width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsbench.engine.attention import Attend, AttentionShape, attend
from lsbench.engine.families import Family
from lsbench.engine.linear import fuse, linear_in
from lsbench.engine.mlp import GatedMLP, mlp_of
from lsbench.engine.native import NativeLayer, compiled_for, prepare
from lsbench.engine.rotary import Rotation, rotate, unturned

Norm = Callable[[Tensor], Tensor]

_OF_ONE_TEMPLATE = (
    *("Llama", "Mistral", "Ministral", "Mixtral", "Qwen2", "Qwen2Moe", "Qwen3", "Qwen3Moe"),
    *("Phi3", "Olmoe", "SmolLM3", "Granite", "GraniteMoe", "Glm", "Glm4", "SeedOss"),
)
_FEW_ROWS = 16
_PLAIN_RMS_NORMS = frozenset(f"{model}RMSNorm" for model in _OF_ONE_TEMPLATE)
"""Classes that transformers writes out as it does Llama's."""


class Block:
    """One decoder layer: two sub-layers, each a norm and its products.

    Attributes:
        shape: of the attention.
        window: how many positions a row sees, its own included; None for all.
        parallel: the MLP reads what entered the layer, not what the attention made of it.
        attend: attention over the cache, as ``attention.attend``.
    """

    def __init__(
        self,
        layer: nn.Module,
        family: Family,
        config: Any,
        shape: AttentionShape,
        rotation: Rotation,
        attend: Attend,
        window: int | None,
    ) -> None:
        attention = layer.get_submodule(family.attention)
        mlp = layer.get_submodule(family.mlp)
        self.shape, self.window, self.attend = shape, window, attend
        self.parallel = family.is_parallel(config)
        attention_norm = _norm_in(layer, family.attention_norm)
        self.attention_norm = attention_norm or _as_it_is
        self.mlp_norm = _norm_in(layer, family.mlp_norm) or (
            attention_norm if attention_norm is not None and family.mlp_norm is not None else _as_it_is
        )
        self._rotate = rotation
        if family.qkv is None:
            self.qkv = fuse([linear_in(attention, name) for name in (family.query, family.key, family.value)])
        else:
            self.qkv = linear_in(attention, family.qkv)
        self.output = linear_in(attention, family.output)
        self._by_head = family.qkv_layout == "by_head"
        self._query_norm = _head_norm_in(attention, family.query_norm, family.norm_over)
        self._key_norm = _head_norm_in(attention, family.key_norm, family.norm_over)
        self._bound: float | None = getattr(config, family.clip) if family.clip else None
        self._is_plain = not self._by_head and self._query_norm is None and self._bound is None
        self.mlp = mlp_of(mlp, family)
        self._factor = getattr(config, family.residual_multiplier) if family.residual_multiplier else 1.0
        self._finish_attention = _finish(_norm_in(layer, family.attention_post_norm), self._factor)
        self._finish_mlp = _finish(_norm_in(layer, family.mlp_post_norm), self._factor)
        self._has_post_norm = any(
            _norm_in(layer, name) is not None for name in (family.attention_post_norm, family.mlp_post_norm)
        )

    @property
    def attention_bytes(self) -> int:
        """Bytes of weights a token reads in the attention sub-layer."""
        return self.qkv.weight_bytes + self.output.weight_bytes

    @property
    def mlp_bytes(self) -> int:
        """Bytes of weights a token reads in the MLP sub-layer; of experts, those it is routed to."""
        return self.mlp.weight_bytes

    def native(self) -> NativeLayer | None:
        """The layer as compiled code runs it; None where it is not of the standard shape."""
        norms = [self.attention_norm, self.mlp_norm]
        heads = [norm for norm in (self._query_norm, self._key_norm) if norm is not None]
        standard = (
            all(isinstance(norm, RmsNorm) for norm in (*norms, *heads))
            and isinstance(self.mlp, GatedMLP)
            and self.mlp.is_silu
            and self._rotate in (rotate, unturned)
            and self.attend is attend
            and not (self.parallel or self._by_head or self._has_post_norm or self._bound)
        )
        if not standard:
            return None
        attention_norm, mlp_norm = cast("list[RmsNorm]", norms)
        mlp = cast(GatedMLP, self.mlp)
        query_norm, key_norm = cast("tuple[RmsNorm | None, ...]", (self._query_norm, self._key_norm))
        head_norm = query_norm or key_norm
        return NativeLayer(
            attention_norm=attention_norm.weight,
            qkv=self.qkv.product,
            output=self.output.product,
            mlp_norm=mlp_norm.weight,
            gate_up=mlp.gate_up.product,
            down=mlp.down.product,
            query_norm=None if query_norm is None else query_norm.weight,
            key_norm=None if key_norm is None else key_norm.weight,
            epsilons=(
                attention_norm.epsilon,
                mlp_norm.epsilon,
                0.0 if head_norm is None else head_norm.epsilon,
            ),
            heads=self.shape.heads,
            kv_heads=self.shape.kv_heads,
            head_width=self.shape.head_width,
            window=self.window,
            scale=self.shape.scale,
            residual=self._factor,
            carries=self.output.spread is None or self.output.spread.adds,
            turns=self._rotate is rotate,
        )

    def project(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states [N, D] to rotated queries [N, H, d], rotated keys and values [N, Hkv, d]."""
        shape = self.shape
        qkv = self.qkv(self.attention_norm(hidden)).view(hidden.shape[0], -1, shape.head_width)
        if self._is_plain:
            rotated = self._rotate(qkv[:, : shape.heads + shape.kv_heads], cos, sin)
            return (
                rotated[:, : shape.heads],
                rotated[:, shape.heads :],
                qkv[:, shape.heads + shape.kv_heads :],
            )
        queries, keys, values = self._parted(qkv)
        queries, values = self._bounded(self._normed(queries, self._query_norm)), self._bounded(values)
        keys = self._bounded(self._normed(keys, self._key_norm))
        return self._rotate(queries, cos, sin), self._rotate(keys, cos, sin), values

    def project_kv(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values alone, [N, Hkv, d] each: what ``propagate`` makes of a hidden state."""
        shape, normed = self.shape, self.attention_norm(hidden)
        if self._by_head:
            # The rows of keys and values do not stand together, and weights are held once, as they are.
            _, keys, values = self._parted(self.qkv(normed).view(hidden.shape[0], -1, shape.head_width))
        else:
            kv = self.qkv.rows(normed, shape.query_width)
            kv = kv.view(hidden.shape[0], 2, shape.kv_heads, shape.head_width)
            keys, values = kv[:, 0], kv[:, 1]
        if not self._is_plain:
            keys, values = self._bounded(self._normed(keys, self._key_norm)), self._bounded(values)
        return self._rotate(keys, cos, sin), values

    def finish_attention(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Residual sum [N, D] after the output product over attended values [N, H * d]."""
        if self._finish_attention is None:
            return self.output.onto(hidden, attended, self._factor)
        return hidden + self._finish_attention(self.output(attended))

    def run_mlp(self, hidden: Tensor, entering: Tensor | None = None) -> Tensor:
        """The whole MLP sub-layer with its residual, [N, D] to [N, D].

        Args:
            hidden: what it adds to.
            entering: what it reads, where that is not ``hidden``: in a ``parallel`` layer what entered it.
        """
        rows = self.mlp_norm(hidden if entering is None else entering)
        if self._finish_mlp is None:
            return self.mlp.onto(hidden, rows, self._factor)
        return hidden + self._finish_mlp(self.mlp(rows))

    def _parted(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, H + 2 Hkv, d] to queries, keys and values."""
        shape = self.shape
        if self._by_head:
            queries, keys, values = qkv.view(qkv.shape[0], shape.heads, 3, shape.head_width).unbind(2)
            return queries, keys, values
        queries, keys, values = qkv.split((shape.heads, shape.kv_heads, shape.kv_heads), dim=1)
        return queries, keys, values

    def _normed(self, heads: Tensor, norm: Norm | None) -> Tensor:
        return heads if norm is None else norm(heads)

    def _bounded(self, heads: Tensor) -> Tensor:
        return heads if self._bound is None else heads.clamp(-self._bound, self._bound)


class RmsNorm:
    """The norm that transformers writes out as Llama's, as one fused operator: [..., D] to [..., D].

    A few rows go through the compiled one, where there is any: torch's is made of several operators, which on
    a CPU take longer for a row than a layer's norms and rotations together.

    Args:
        module: holds the weight [D], which may be moved.
        epsilon: added to the mean square.

    Attributes:
        epsilon: as given.
    """

    def __init__(self, module: nn.Module, epsilon: float) -> None:
        self._module, self.epsilon = module, epsilon
        weight = self.weight
        self._width, self._dtype = tuple(weight.shape), weight.dtype
        compiled = compiled_for(weight.dtype, weight.device) and prepare().available
        self._most = _FEW_ROWS * weight.numel() if compiled else 0

    @property
    def weight(self) -> Tensor:
        """[D]."""
        return cast(Tensor, self._module._parameters["weight"])  # sooner found than as an attribute

    def __call__(self, x: Tensor) -> Tensor:
        """Normed over the last dimension."""
        weight = self.weight
        # The weights may stand in a better precision for a while.
        if 0 < x.numel() <= self._most and x.dtype == weight.dtype == self._dtype:
            return torch.ops.lsbench.rms_norm.default(x, weight, self.epsilon)
        return functional.rms_norm(x, self._width, weight, self.epsilon)


def norm_of(module: nn.Module) -> Norm:
    """The module's norm, as one fused operator where that gives what the module gives.

    An RMS norm of transformers computes in float32 whatever its input; in float64 only the module
    itself rounds exactly as transformers does, so there it is called as it is.
    """
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", None)
    if (
        type(module).__name__ not in _PLAIN_RMS_NORMS
        or weight is None
        or epsilon is None
        or weight.dtype == torch.float64
    ):
        return module
    return RmsNorm(module, epsilon)


def _norm_in(parent: nn.Module, name: str | None) -> Norm | None:
    """The norm of that name; None where none is declared, or the layer lacks it."""
    module = None if name is None else getattr(parent, name, None)
    return None if module is None else norm_of(module)


def _head_norm_in(attention: nn.Module, name: str, over: str) -> Norm | None:
    norm = _norm_in(attention, name)
    if norm is None or over == "head":
        return norm
    return partial(_normed_as_one, norm)


def _normed_as_one(norm: Norm, heads: Tensor) -> Tensor:
    """All heads [N, H, d] normed together."""
    return norm(heads.flatten(1)).view(heads.shape)


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _finish(norm: Norm | None, factor: float) -> Norm | None:
    """What becomes of a sub-layer's output before it is added; None for nothing but the factor."""
    return norm if norm is None or factor == 1.0 else lambda x: norm(x) * factor
