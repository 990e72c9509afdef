"""CUDA graphs: a range of sub-layers, recorded once and replayed for every token.

Launching the operators of a step one by one takes longer than a GPU needs for them where rows are few; a
graph is launched once. This is to a GPU what ``native.NativeDecoder`` is to a CPU, with the same interface.
What is replayed is a ``StaticStep``. ``LSBENCH_CUDA_GRAPHS=0`` leaves graphs out.

A graph is made at the first sight of its range, rows and caches, with all clocks stopped (``set_aside``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lsbench.engine.block import Block
from lsbench.engine.cache import KVCache
from lsbench.engine.clock import set_aside
from lsbench.engine.fixed_caches import FixedCaches
from lsbench.engine.mlp import Experts
from lsbench.engine.native.library import graphs_wanted
from lsbench.engine.static_step import StaticStep, groups_of

MOST_ROWS = 17
"""A verifying pass of sixteen drafts: the widest that costs are measured at."""
MOST_GRAPHS = 512
"""Kept at a time. A ladder of skip sets needs about a hundred, which with fewer places push each other out;
all share one memory for their intermediate results."""
_WARM_UPS = 3
"""Runs before recording, in which libraries allocate and choose kernels, as torch's documentation asks."""

Replay = Callable[[], object]
Record = Callable[[Callable[[], Tensor], torch.device], tuple[Replay, Tensor]]
"""Records what a function does with tensors that stay where they are; gives what does it again, and the
tensor that its outcome is in after each time."""


class CudaRecorder:
    """Records CUDA graphs that share one memory for what they compute on the way.

    They may, because one is replayed after the other, and its outcome is copied before the next.
    """

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, run: Callable[[], Tensor], device: torch.device) -> tuple[Replay, Tensor]:
        """Record ``run``, after running it on a side stream.

        Raises:
            RuntimeError: torch cannot record it.
        """
        with torch.cuda.device(device):
            current, side = torch.cuda.current_stream(), torch.cuda.Stream()
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    run()
            current.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outcome = run()
            self._pool = self._pool or graph.pool()
        return graph.replay, outcome


@dataclass(frozen=True)
class _Graph:
    """A recorded step: what it reads, how it is run, and where its outcome is."""

    inputs: tuple[Tensor, ...]
    replay: Replay
    outcome: Tensor

    def run(self, *inputs: Tensor) -> Tensor:
        """The outcome for ``inputs``, in a tensor of its own."""
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given, non_blocking=True)
        self.replay()
        return self.outcome.clone()


class GraphedDecoder:
    """Runs sub-layers on a few rows by replaying graphs of them.

    Args:
        blocks: all the model's layers, none of them ``parallel`` or a mixture of experts.
        scale: factor of the attention logits.
        record: makes a graph; by default on CUDA.

    Attributes:
        most_rows: up to how many rows it serves; 0 once recording has failed.
        captures: graphs made so far.
        repeats: of these, made again after others took their place; they are not set aside in time.
        failure: why recording failed, or None.
    """

    def __init__(self, blocks: Sequence[Block], scale: float, record: Record | None = None) -> None:
        self.most_rows = MOST_ROWS
        self.captures = self.repeats = 0
        self.failure: str | None = None
        self._blocks, self._scale, self._record = blocks, scale, record or CudaRecorder()
        self._caches = FixedCaches()
        self._graphs: OrderedDict[tuple[object, ...], _Graph] = OrderedDict()
        self._seen: set[tuple[object, ...]] = set()

    @property
    def words(self) -> str:
        """What came of it, in one line for a person."""
        if self.failure is not None:
            return (
                f"CUDA graphs are left out from the first that could not be recorded ({self.failure}); set "
                "LSBENCH_CUDA_GRAPHS=0 to measure without them throughout."
            )
        again = f", {self.repeats} of them again and within timings" if self.repeats else ""
        return f"{self.captures} CUDA graphs were recorded, outside of every timing{again}."

    def settle(self, caches: Sequence[KVCache]) -> None:
        """Have ``caches`` where graphs find them in later sessions too."""
        self._caches.settle(caches)

    def run(
        self,
        hidden: Tensor,
        begin: int,
        end: int,
        places: Tensor,
        rotary: tuple[Tensor, Tensor],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        states: Sequence[Tensor] = (),
    ) -> Tensor:
        """Run sub-layers ``begin`` to ``end``, which writes keys and values of the rows.

        Every row sees the positions of its sequence up to its own that are not masked. Arguments and outcome
        are those of ``NativeDecoder.run``: ``places`` and ``states`` are on the CPU, all else on the device.
        """
        if begin == end:
            return hidden
        groups = groups_of(places)
        step = StaticStep(self._blocks, self._scale, begin, end, groups, keys, values)
        # A graph is right for whoever is at the addresses that it was recorded with.
        addresses = tuple((tensor.data_ptr(), tensor.shape) for tensor in (*keys, *values))
        key = (begin, end, groups, hidden.shape, hidden.dtype, addresses, bool(states))
        inputs = hidden, places[2], *rotary, *step.seen(states)
        graph = self._graphs.get(key) or self._make(key, step, inputs)
        if graph is None:
            return step(*(given.to(hidden.device) for given in inputs))
        self._graphs.move_to_end(key)
        return graph.run(*inputs)

    def _make(self, key: tuple[object, ...], step: StaticStep, inputs: Sequence[Tensor]) -> _Graph | None:
        """Record ``step``; None where that fails, and then nothing is recorded any more."""
        device = inputs[0].device
        again = key in self._seen
        # Who needs more graphs than are kept makes them over and over: that belongs to what it takes.
        with nullcontext() if again else set_aside(device):
            held = tuple(given.to(device, copy=True) for given in inputs)
            try:
                replay, outcome = self._record(lambda: step(*held), device)
            except RuntimeError as error:
                self.failure = str(error).strip().partition("\n")[0] or type(error).__name__
                self.most_rows = 0
                self._graphs.clear()
                return None
        self._seen.add(key)
        self.captures += 1
        self.repeats += again
        graph = self._graphs[key] = _Graph(held, replay, outcome)
        if len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)
        return graph


def graphed_decoder(blocks: Sequence[Block], scale: float, device: torch.device) -> GraphedDecoder | None:
    """A decoder for a model on CUDA; None elsewhere, where it is not wanted, or where it cannot serve.

    Layers whose attention and MLP stand side by side run operator by operator, and so does a model with
    experts, whose routing depends on the data.

    Raises:
        BadInput: an environment variable that chooses says nothing.
    """
    if device.type != "cuda" or not graphs_wanted():
        return None
    return GraphedDecoder(blocks, scale) if is_static(blocks) else None


def about_graphs(decoder: object, device: torch.device) -> list[str]:
    """What came of graphs where they are wanted, in words for a person: at most one line.

    Args:
        decoder: of the model, ``stack.native``.
        device: where the model is.
    """
    if isinstance(decoder, GraphedDecoder):
        return [decoder.words]
    if device.type == "cuda" and graphs_wanted():
        return ["No CUDA graph serves this model: its sub-layers stand side by side, or it has experts."]
    return []


def is_static(blocks: Sequence[Block]) -> bool:
    """Whether ``StaticStep`` runs these layers."""
    return not any(block.parallel or isinstance(block.mlp, Experts) for block in blocks)
