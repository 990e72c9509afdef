"""A model's prediction in a precision better than its own, without a second copy of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from lsbench.engine.mlp import take_experts_one_by_one


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


@torch.inference_mode()
def continuation_logits(
    model: nn.Module, context: Sequence[int], continuation: Sequence[int], rows: int
) -> Iterator[Tensor]:
    """What the full model predicts in the place of each token of a continuation, by transformers' own code.

    Args:
        model: a transformers causal LM.
        context: at least one id.
        continuation: the tokens that followed; the last of them is predicted, never run.
        rows: predictions given at a time, at most: bounds the memory.

    Yields:
        [n, V] for the next n tokens, in order, in the model's precision.
    """
    device = next(model.parameters()).device
    run = cast(Any, model)
    before, cache = list(context[:-1]), {}
    entering = [context[-1], *continuation[:-1]]
    for begin in range(0, len(continuation), rows):
        part = entering[begin : begin + rows]
        ids = torch.tensor([[*before, *part]], dtype=torch.int64, device=device)
        output = run(ids, use_cache=True, logits_to_keep=len(part), **cache)
        name = "cache" if "cache" in output else "past_key_values"  # renamed in transformers 5.24
        before, cache = [], {name: output[name]}
        yield output.logits[0]


def precise_logits(model: nn.Module, tokens: Sequence[int]) -> Tensor:
    """[V] predicted after ``tokens`` by one pass of transformers' own code in ``better_precision``.

    Every module's own weights are widened while that module runs, and no longer, so that memory grows by
    one module's weights at a time. What transformers computes in float32 by its own code (its RMS norms)
    stays so. A mixture of experts is taken one expert at a time, as in float64 it has to be.

    Args:
        model: a transformers causal LM.
        tokens: at least one id.
    """
    config: Any = model.config
    experts = take_experts_one_by_one(model)
    try:
        with widened(model, better_precision(next(model.parameters()).dtype)):
            return plain_logits(model, tokens)
    finally:
        config._experts_implementation = experts


@contextmanager
def widened(model: nn.Module, precision: torch.dtype) -> Iterator[None]:
    """Within, every module's own weights are in ``precision`` while that module runs."""
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
