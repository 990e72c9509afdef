"""Block influence: how much each sub-layer changes the hidden state it is given.

One minus the cosine of a sub-layer's input and output, averaged over positions (ShortGPT, Men et al.,
2024, equation 1, taken here for attention and MLP apart).
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
from lsbench.engine.step import Step


class _Watched(Step):
    """A full-depth step that notes the influence of every sub-layer it runs."""

    def _put(self, chosen: Tensor | None, hidden: Tensor) -> None:
        # Every row runs in a full-depth step, so the rows before and after correspond.
        before, after = self.hidden.float(), hidden.float()
        self.influence.append(float((1 - torch.cosine_similarity(before, after, dim=-1)).mean()))
        super()._put(chosen, hidden)

    def run(self) -> None:
        self.influence: list[float] = []
        super().run()


@torch.inference_mode()
def block_influence(stack: DecoderStack, prompts: Iterable[Sequence[int]]) -> npt.NDArray[np.float64]:
    """Mean influence of each sub-layer over the positions of some prompts.

    Args:
        stack: the model.
        prompts: token ids of each calibration prompt; every prompt weighs the same.

    Returns:
        [2L] in running order, each in 0..2.

    Raises:
        ValueError: no prompt, or an empty one.
    """
    rows: list[list[float]] = []
    plan = {0: DepthPlan.full(stack.num_layers)}
    for prompt in prompts:
        if not prompt:
            raise ValueError("a calibration prompt is empty")
        count = len(prompt)
        shape = stack.shape
        cache = KVCache(
            stack.num_layers, 1, shape.kv_heads, shape.head_width, stack.dtype, stack.device, capacity=count
        )
        cache.append(0, count)
        hidden = stack.embed(torch.as_tensor(list(prompt), dtype=torch.int64, device=stack.device))
        zeros = np.zeros(count, dtype=np.int64)
        step = _Watched(stack, cache, zeros, np.arange(count), hidden, zeros, plan, {})
        step.run()
        rows.append(step.influence)
    if not rows:
        raise ValueError("block influence needs at least one calibration prompt")
    return np.array(rows).mean(axis=0)
