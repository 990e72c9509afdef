"""A model's prediction in a precision better than its own, without a second copy of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


def better_precision(dtype: torch.dtype) -> torch.dtype:
    """Float32 for reduced precisions; float64 for float32, and for float64 itself."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else torch.float64


@torch.inference_mode()
def plain_logits(model: nn.Module, tokens: Sequence[int], at_once: bool = True) -> Tensor:
    """[V] predicted after ``tokens`` by transformers' own code, in the model's precision.

    Args:
        model: a transformers causal LM.
        tokens: at least one id, or two where they do not run at once.
        at_once: all tokens in one pass; otherwise the last one by itself, with the others' keys and values
            cached, as decoding does.
    """
    device = next(model.parameters()).device
    ids = torch.tensor([tokens], dtype=torch.int64, device=device)
    run = cast(Any, model)
    if at_once:
        return run(ids, use_cache=False, logits_to_keep=1).logits[0, -1]
    before = run(ids[:, :-1], use_cache=True, logits_to_keep=1)
    cache = "cache" if "cache" in before else "past_key_values"  # renamed in transformers 5.24
    return run(ids[:, -1:], use_cache=True, **{cache: before[cache]}).logits[0, -1]


def precise_logits(model: nn.Module, tokens: Sequence[int]) -> Tensor:
    """[V] predicted after ``tokens`` by one pass of transformers' own code in ``better_precision``.

    Every module's own weights are widened while that module runs, and no longer, so that memory grows by
    one module's weights at a time. What transformers computes in float32 by its own code (its RMS norms)
    stays so.

    Args:
        model: a transformers causal LM.
        tokens: at least one id.
    """
    with _widened(model, better_precision(next(model.parameters()).dtype)):
        return plain_logits(model, tokens)


@contextmanager
def _widened(model: nn.Module, precision: torch.dtype) -> Iterator[None]:
    kept: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def widen(module: nn.Module, _: object) -> None:
        kept[module] = dict(module._parameters)
        for name, parameter in kept[module].items():
            if parameter is not None and parameter.is_floating_point():
                module._parameters[name] = nn.Parameter(parameter.to(precision), requires_grad=False)

    def restore(module: nn.Module, *_: object) -> None:
        module._parameters.update(kept.pop(module, {}))

    handles = []
    for module in model.modules():
        if module._parameters:
            handles.append(module.register_forward_pre_hook(widen))
            handles.append(module.register_forward_hook(restore, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
