"""How much each part of the model changes the hidden state it is given.

Block influence is one minus the cosine of input and output, averaged over positions (ShortGPT, Men et al.,
2024, equation 1); it is taken here for attention and MLP apart, and for whole layers position by position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine.cache import KVCache
from lsbench.engine.plan import DepthPlan
from lsbench.engine.stack import DecoderStack
from lsbench.engine.step_request import Indices, StepRequest
from lsbench.engine.stepping import take_step

Array = npt.NDArray[np.float64]


class _Watched:
    """Notes the hidden states between the sub-layers of a full-depth step as cosines."""

    def __init__(self, hidden: Tensor) -> None:
        self.sublayers: list[Array] = []
        self.layers: list[Array] = []
        self._entering_layer = hidden

    def __call__(self, sublayer: int, positions: Indices, entering: Tensor, leaving: Tensor) -> None:
        # Every row runs in a full-depth step, so the rows before and after correspond.
        self.sublayers.append(_cosines(entering, leaving))
        if sublayer % 2:
            self.layers.append(_cosines(self._entering_layer, leaving))
            self._entering_layer = leaving


@torch.inference_mode()
def block_influence(stack: DecoderStack, prompts: Iterable[Sequence[int]]) -> Array:
    """Mean influence of each sub-layer over the positions of some prompts.

    Args:
        stack: the model.
        prompts: token ids of each calibration prompt; every prompt weighs the same.

    Returns:
        [2L] in running order, each in 0..2.

    Raises:
        ValueError: no prompt, or an empty one.
    """
    rows = [1 - np.stack(_watch(stack, prompt).sublayers).mean(axis=1) for prompt in prompts]
    if not rows:
        raise ValueError("block influence needs at least one calibration prompt")
    return np.stack(rows).mean(axis=0)


@torch.inference_mode()
def layer_cosines(stack: DecoderStack, prompt: Sequence[int]) -> Array:
    """Cosine of every layer's input and output at every position of a prompt of T tokens.

    Returns:
        [L, T].

    Raises:
        ValueError: the prompt is empty.
    """
    return np.stack(_watch(stack, prompt).layers)


def _watch(stack: DecoderStack, prompt: Sequence[int]) -> _Watched:
    if not prompt:
        raise ValueError("a calibration prompt is empty")
    count = len(prompt)
    shape = stack.shape
    cache = KVCache(
        stack.num_layers, 1, shape.kv_heads, shape.head_width, stack.dtype, stack.device, capacity=count
    )
    cache.append(0, count)
    hidden = stack.embed(torch.as_tensor(list(prompt), dtype=torch.int64, device=stack.device))
    watched = _Watched(hidden)
    plan = DepthPlan.full(stack.num_layers)
    take_step(stack, [StepRequest(cache, hidden, [plan], last_only=True, observer=watched)])
    return watched


def _cosines(before: Tensor, after: Tensor) -> Array:
    """[N] cosines of the rows of two [N, D]."""
    return torch.cosine_similarity(before.double(), after.double(), dim=-1).cpu().numpy()
