"""Running sub-layers on the rows of a party: many at once where compiled code or a CUDA graph serves, or
operator by operator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsbench.engine.cache import MASKED
from lsbench.engine.graphs import GraphedDecoder
from lsbench.engine.native import NativeDecoder
from lsbench.engine.rows import Lane, Part, Party
from lsbench.engine.stack import DecoderStack


def runs_native(stack: DecoderStack, party: Party) -> bool:
    """Whether compiled code, or a graph, can run sub-layers on these rows."""
    return stack.native is not None and party.count <= stack.native.most_rows


def run_native(stack: DecoderStack, party: Party, hidden: Tensor, begin: int, end: int) -> Tensor:
    """Sub-layers ``begin`` to ``end`` in one call, which also writes keys and values.

    Args:
        stack: a model that ``runs_native`` on them.
        party: whose rows.
        hidden: [n, D] of the rows.
        begin, end: 0..2L; no row begins, leaves or is looked at in between.

    Returns:
        new hidden states [n, D].
    """
    assert stack.native is not None
    layers = range((begin + 1) // 2, (end + 1) // 2)
    caches = party.caches
    if isinstance(stack.native, GraphedDecoder):
        stack.native.settle(caches)
    masked = any(any(part.lane.masked[layers.start : layers.stop]) for part in party.parts)
    return stack.native.run(
        hidden,
        begin,
        end,
        party.places,
        (party.cos, party.sin),
        [cache.keys[layer] for layer in layers for cache in caches],
        [cache.values[layer] for layer in layers for cache in caches],
        [torch.from_numpy(cache.state) for cache in caches] if masked else (),
    )


def fill(
    stack: DecoderStack, lane: Lane, hidden: Tensor, rotary: tuple[Tensor, Tensor], layers: range
) -> None:
    """Keys and values of a sequence's new positions, of hidden states [T, D] that leave attention out.

    Args:
        stack: the model.
        lane: the sequence's part of the step.
        hidden: what enters all of ``layers``, because nothing is run in between.
        rotary: cosines and signed sines [T, 1, width] of the positions.
        layers: one after the other.
    """
    cache, native = lane.cache, stack.native
    if isinstance(native, NativeDecoder) and lane.count <= native.most_rows:
        keys, values = (tensors[layers.start : layers.stop] for tensors in (cache.keys, cache.values))
        native.fill(hidden, layers.start, lane.places, rotary, keys, values)
        return
    for layer in layers:
        cache.write(layer, lane.sequence, lane.first, *stack.blocks[layer].project_kv(hidden, *rotary))


def run_attention(stack: DecoderStack, party: Party, hidden: Tensor, layer: int) -> Tensor:
    """The attention sub-layer of ``layer`` on hidden states [n, D]; keys and values go into the cache."""
    block = stack.blocks[layer]
    outputs: list[Tensor] = []
    for part, (queries, keys, values) in party.split(*block.project(hidden, party.cos, party.sin)):
        cache, sequence = part.lane.cache, part.lane.sequence
        if part.contiguous:
            cache.write(layer, sequence, part.first, keys, values)
        else:
            cache.scatter(layer, sequence, part.positions, keys, values)
        outputs.append(_attend(stack, layer, part, queries))
    return block.finish_attention(hidden, outputs[0] if len(outputs) == 1 else torch.cat(outputs))


def _attend(stack: DecoderStack, layer: int, part: Part, queries: Tensor) -> Tensor:
    block = stack.blocks[layer]
    keys, values = part.lane.cache.read(layer, part.lane.sequence, part.length)
    mask, causal, start = part.mask, part.causal, 0
    if block.window is not None and part.length > block.window:
        (mask, start), causal = part.windowed(block.window), False
        keys, values = keys[:, :, start:], values[:, :, start:]
    if part.lane.masked[layer]:
        visible = part.lane.cache.state[part.lane.sequence, start : part.length, layer] != MASKED
        if not visible.all():
            sees = part.visible(block.window)[:, start:] & visible
            mask, causal = torch.as_tensor(sees, device=stack.device), False
    return block.attend(queries, keys, values, mask, causal, stack.shape.scale)
