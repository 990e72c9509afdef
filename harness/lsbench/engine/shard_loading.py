"""One rank's part of a model: read from a checkpoint a weight at a time, and compared with the whole.

No rank holds a whole copy at any time. What is compared with is computed by one rank on transformers' own
model, each module's weights being read when it runs and let go of after.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lsbench.engine.agreement import Agreement
from lsbench.engine.families import Family, family_for
from lsbench.engine.linear import Linear, Spread
from lsbench.engine.loading import blank_like, blank_model, whole_model
from lsbench.engine.mlp import take_experts_one_by_one
from lsbench.engine.precise import widened
from lsbench.engine.quantized import QuantizedLinear, quantized
from lsbench.engine.sharding import Cut, Rank, cuts, heads_of
from lsbench.engine.spread_modules import SpreadRmsNorm, spread_experts
from lsbench.engine.stack import DecoderStack
from lsbench.engine.stored_weights import HeldWeights, Weights, stored_weights


@dataclass(frozen=True)
class Source:
    """A model as it is read from, whole or in part.

    Attributes:
        precision: of what is read.
        is_int8: linear modules get int8 weights.
        device: where they go.
        weights: by name.
    """

    precision: torch.dtype
    is_int8: bool
    device: torch.device
    weights: Weights

    def parameter(self, name: str, cut: Cut | None = None) -> nn.Parameter:
        """A weight, or this part of it."""
        tensor = self.weights.read(name, cut)
        if tensor.is_floating_point():
            tensor = tensor.to(self.precision)
        return nn.Parameter(tensor.to(self.device), requires_grad=False)


def open_source(path: Path, precision: torch.dtype, is_int8: bool, device: torch.device) -> Source:
    """A checkpoint to be read from.

    Where its files are not safetensors, or hold what transformers has to convert, it is loaded whole.

    Raises:
        BadInput: it cannot be read.
    """
    blank = blank_model(path, precision)
    family, names = family_for(blank.config), [name for name, _ in _named(blank)]
    ties: dict[str, str] = {}
    if blank.config.tie_word_embeddings:
        ties[f"{family.head}.weight"] = f"{family.decoder}.{family.embedding}.weight"
    weights = stored_weights(path, names, ties)
    if weights is not None:
        return Source(precision, is_int8, device, weights)
    held = HeldWeights(dict(_named(whole_model(path, precision))))
    return Source(precision, is_int8, device, held)


def part_of(stack: DecoderStack, rank: Rank, agreement: Agreement) -> DecoderStack:
    """A rank's part of a model that is in memory, not of int8 weights; a copy."""
    whole: Any = stack.model
    source = Source(stack.dtype, False, stack.device, HeldWeights(dict(_named(whole))))
    return Blank(source, blank_like(whole)).filled(rank, agreement)


class Blank:
    """A model without weights, on its way to hold a rank's part of them.

    Args:
        source: what it is to hold.
        model: transformers', without weights (``loading.blank_model``). Kept as ``model``; its linear modules
            may be replaced by others until it is ``filled``.
    """

    def __init__(self, source: Source, model: Any) -> None:
        self.model = model
        self._source = source
        self._family: Family = family_for(self.model.config)
        self._shapes = {name: tuple(weight.shape) for name, weight in _named(self.model)}
        self._linear = {
            name: module.bias is not None
            for name, module in self.model.named_modules()
            if type(module) is nn.Linear
        }
        # Whoever moves an empty model leaves its buffers empty too.
        self._buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}

    def shape_of(self, name: str, rank: Rank) -> tuple[int, ...]:
        """How much of a linear module's weight a rank will hold."""
        shape = list(self._shapes[f"{name}.weight"])
        cut = self._cuts(rank).get(f"{name}.weight")
        if cut is not None:
            shape[cut.dim] = cut.width
        return tuple(shape)

    @property
    def linear(self) -> tuple[str, ...]:
        """Names of the linear modules."""
        return tuple(self._linear)

    def filled(self, rank: Rank, agreement: Agreement) -> DecoderStack:
        """The rank's part of the model, every weight that it holds read; addressable by depth."""
        model, family, found = self.model, self._family, self._cuts(rank)
        for name in self._linear:
            _replace(model, name, self._made_linear(name, found, rank, agreement))
        for name, module in list(model.named_modules()):
            if isinstance(module, Linear):
                continue
            for own in list(module._parameters):
                if module._parameters[own] is not None:
                    full = f"{name}.{own}"
                    module._parameters[own] = self._source.parameter(full, found.get(full))
        self._spread(found, agreement)
        self._heed_heads(rank)
        for name, buffer in self._buffers.items():
            parent, _, own = name.rpartition(".")
            model.get_submodule(parent)._buffers[own] = buffer.to(self._source.device)
        if self._source.precision == torch.float64:
            take_experts_one_by_one(model)
        return DecoderStack(model, agreement, heads_of(family, model.config, rank))

    def _cuts(self, rank: Rank) -> dict[str, Cut]:
        return cuts(self._family, self.model.config, self._shapes, rank)

    def _made_linear(self, name: str, found: Mapping[str, Cut], rank: Rank, agreement: Agreement) -> Linear:
        cut = found.get(f"{name}.weight")
        weight = self._source.parameter(f"{name}.weight", cut)
        bias = None
        if self._linear[name]:
            bias = self._source.parameter(f"{name}.bias", found.get(f"{name}.bias"))
        outputs: int | None = None
        spread: Spread | None = None
        if cut is not None and cut.dim == 0:
            outputs = cut.whole
        elif cut is not None:
            # The head is given all of a hidden state; what closes a sub-layer, what this rank made of it.
            columns = cut.spans[0] if name == self._family.head else None
            spread = Spread(agreement.sum, rank.number == 0, cut.whole, columns)
        if not self._source.is_int8:
            return Linear(weight, bias, outputs=outputs, spread=spread)
        rounded, scale = quantized(weight, lambda each: each if spread is None else agreement.largest(each))
        return QuantizedLinear(
            nn.Parameter(rounded, requires_grad=False),
            nn.Parameter(scale, requires_grad=False),
            bias,
            outputs=outputs,
            spread=spread,
        )

    def _spread(self, found: Mapping[str, Cut], agreement: Agreement) -> None:
        """What is neither linear nor the same for every head sums over ranks by itself."""
        for name, cut in found.items():
            path, _, own = name.rpartition(".")
            module: Any = self.model.get_submodule(path)
            if own == "down_proj":
                spread_experts(module, cut.width, cut.whole, agreement.sum)
            elif self._family.norm_over == "width" and path.endswith(
                (f".{self._family.query_norm}", f".{self._family.key_norm}")
            ):
                norm = SpreadRmsNorm(module.weight, module.variance_epsilon, cut.whole, agreement.sum)
                _replace(self.model, path, norm)

    def _heed_heads(self, rank: Rank) -> None:
        """Attention of transformers' that counts its heads is told how many there are here."""
        config, family = self.model.config, self._family
        heads, shared = heads_of(family, config, rank)
        of_all, shared_of_all = family.heads(config)
        first = rank.part(shared_of_all).start
        layers: Any = self.model.get_submodule(family.decoder).get_submodule(family.layers)
        for layer in layers:
            attention: Any = layer.get_submodule(family.attention)
            for name, count in (("num_heads", heads), ("num_key_value_heads", shared)):
                if hasattr(attention, name):
                    setattr(attention, name, count)
            if family.qkv is not None and hasattr(attention, "config"):
                attention.config = copy.copy(config)
                attention.config.num_attention_heads = heads
                attention.config.num_key_value_heads = shared
            for name, at, count in (
                (family.query_norm, first * of_all // shared_of_all, heads),
                (family.key_norm, first, shared),
            ):
                norm: Any = getattr(attention, name, None)
                if norm is not None and hasattr(norm, "norms"):  # a module for each head
                    norm.norms = norm.norms[at : at + count]


def compared_in(precision: torch.dtype) -> torch.dtype:
    """Where a model, cut, is compared with itself: reduced precisions differ from themselves too much."""
    return torch.float32 if precision in (torch.bfloat16, torch.float16) else precision


@torch.inference_mode()
def cut_logits(stack: DecoderStack, tokens: Sequence[int]) -> Tensor:
    """[T, V] of transformers' own forward over the parts of all ranks after each of ``tokens``."""
    ids = torch.tensor([tokens], dtype=torch.int64, device=stack.device)
    model: Any = stack.model
    precision = compared_in(stack.dtype)
    with nullcontext() if precision == stack.dtype else widened(model, precision):
        return model(ids, use_cache=False).logits[0]


@torch.inference_mode()
def whole_logits(source: Source, model: Any, tokens: Sequence[int]) -> Tensor:
    """The same of the whole model, given without weights, of which one module's are held at a time."""
    if source.precision == torch.float64:
        take_experts_one_by_one(model)
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(source.device)
    ids = torch.tensor([tokens], dtype=torch.int64, device=source.device)
    with _read_on_the_way(model, source):
        return model(ids, use_cache=False).logits[0]


@contextmanager
def _read_on_the_way(model: nn.Module, source: Source) -> Iterator[None]:
    names = {module: name for name, module in model.named_modules()}
    kept: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def read(module: nn.Module, _: object) -> None:
        kept[module] = dict(module._parameters)
        for own, blank in kept[module].items():
            if blank is not None:
                weight = source.parameter(f"{names[module]}.{own}")
                if source.is_int8 and own == "weight" and type(module) is nn.Linear:
                    rounded, scale = quantized(weight)
                    weight = nn.Parameter(rounded * scale[:, None], requires_grad=False)
                wide = weight.to(compared_in(source.precision))
                module._parameters[own] = nn.Parameter(wide, requires_grad=False)

    def forget(module: nn.Module, *_: object) -> None:
        module._parameters.update(kept.pop(module, {}))

    handles = []
    for module in model.modules():
        if module._parameters:
            handles.append(module.register_forward_pre_hook(read))
            handles.append(module.register_forward_hook(forget, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every weight by every name that it has: what is tied has two."""
    return model.named_parameters(remove_duplicate=False)


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(cast(nn.Module, model.get_submodule(parent)), name, module)
