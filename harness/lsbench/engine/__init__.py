"""The layer engine: a transformers causal LM, addressable by depth, with a KV contract that holds.

Public names only; what is not listed here may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsbench.engine.clock import set_aside
    from lsbench.engine.influence import block_influence, layer_cosines
    from lsbench.engine.partial_head import PartialHead
    from lsbench.engine.plan import ATTENTION, MLP, DepthPlan, KVFill, sublayer
    from lsbench.engine.policy import ConstantPolicy, DepthPolicy, ExitView, StepContext
    from lsbench.engine.sampling import Sampler, likeliest, probabilities
    from lsbench.engine.session import Session, StepResult
    from lsbench.engine.stack import DecoderStack
    from lsbench.engine.step_request import Observer

_HOMES = {
    "set_aside": "clock",
    "block_influence": "influence",
    "layer_cosines": "influence",
    "PartialHead": "partial_head",
    "ATTENTION": "plan",
    "MLP": "plan",
    "DepthPlan": "plan",
    "KVFill": "plan",
    "sublayer": "plan",
    "ConstantPolicy": "policy",
    "DepthPolicy": "policy",
    "ExitView": "policy",
    "StepContext": "policy",
    "Sampler": "sampling",
    "likeliest": "sampling",
    "probabilities": "sampling",
    "Session": "session",
    "StepResult": "session",
    "DecoderStack": "stack",
    "Observer": "step_request",
}

__all__ = [
    "ATTENTION",
    "MLP",
    "ConstantPolicy",
    "DecoderStack",
    "DepthPlan",
    "DepthPolicy",
    "ExitView",
    "KVFill",
    "Observer",
    "PartialHead",
    "Sampler",
    "Session",
    "StepContext",
    "StepResult",
    "block_influence",
    "layer_cosines",
    "likeliest",
    "probabilities",
    "set_aside",
    "sublayer",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use, so that importing the package does not import torch."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lsbench.engine.{_HOMES[name]}"), name)
