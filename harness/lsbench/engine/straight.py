"""A step on whose way nothing is left out, looked at or decided: what most steps are.

Beside ten milliseconds of products a step's own Python is little, but all of it finds its data far away,
because weights have gone through every cache in between. So the step that needs none of ``Step``'s
book-keeping has none. What it gives and what it leaves in the cache is what ``Step`` would.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsbench.engine.cache import EXACT, KVCache
from lsbench.engine.graphs import GraphedDecoder
from lsbench.engine.stack import DecoderStack
from lsbench.engine.step_request import StepOutcome, StepRequest


def take_straight_step(stack: DecoderStack, request: StepRequest) -> StepOutcome | None:
    """Run a few rows of one sequence up all layers in one call, after positions that are all exact.

    Returns:
        None where it is not so simple, or no compiled code or graph serves: then nothing was done.
    """
    native, cache, hidden = stack.native, request.cache, request.hidden
    if (
        native is None
        or len(request.plans) != 1
        or request.starts is not None
        or request.observer is not None
        or not request.plans[0].is_full
        or (request.policies and request.policies[0].check_layers(stack.num_layers))
    ):
        return None
    count, end = hidden.shape[0], int(cache.lengths[0])
    first = end - count
    if count > native.most_rows or cache.exact_lengths[0] < first:
        return None
    if isinstance(native, GraphedDecoder):
        native.settle((cache,))
    cos, sin = stack.rotary(end)
    last = 2 * stack.num_layers
    after = native.run(
        hidden, 0, last, _places(first, end), (cos[first:end], sin[first:end]), cache.keys, cache.values
    )
    _complete(cache, first, end, after)
    predicting = after[-1:] if request.last_only and count > 1 else after
    head = request.head
    logits = stack.head(predicting) if head is None else head.spread(head(predicting))
    return StepOutcome(after, logits, (request.plans[0].run,))


def _places(first: int, end: int) -> Tensor:
    """[3, n] int64: cache 0, its sequence 0, and the position, of each row."""
    if end - first == 1:
        return torch.tensor([[0], [0], [first]])
    return torch.tensor([[0] * (end - first), [0] * (end - first), list(range(first, end))])


def _complete(cache: KVCache, first: int, end: int, hidden: Tensor) -> None:
    """The positions from ``first`` to before ``end`` have exact keys and values everywhere."""
    cache.state[0, first:end] = EXACT
    cache.complete_newest(0, first, hidden)
