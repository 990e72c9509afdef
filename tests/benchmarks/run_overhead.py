"""How much of a run is the model's own work, and how much is everything that lsbench does around it?

A whole `lsbench run` in this process: requests, warm-up, measuring costs, decoding under baseline and
strategies, looks at fidelity and parity, records on the disk. Every call that does the model's work (compiled
sub-layers, operators of sub-layers, embedding, norm and head) is timed where it is called. Two figures:

- of the seconds that records call decoding and prefill: the share that lies outside of these calls;
- the wall time from the first request to the last record, as a multiple of all such calls in it.

    python tests/benchmarks/run_overhead.py --limit 8
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch

from lsbench import pipeline
from lsbench.engine import step
from lsbench.engine.block import Block
from lsbench.engine.native import NativeDecoder
from lsbench.engine.partial_head import PartialHead
from lsbench.engine.stack import DecoderStack
from lsbench.report.live import LiveView
from lsbench.spec import RunSpec, parse_strategy
from lsbench.store.machine import hardware, load_average


class Stopwatch:
    """Seconds within calls of what it stands around; calls within calls count once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            self._depth += 1
            begin = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - begin

        return timed


MODEL_WORK: tuple[tuple[Any, str], ...] = (
    (NativeDecoder, "run"),
    (step, "run_attention"),
    (step, "fill"),
    (Block, "run_mlp"),
    (DecoderStack, "embed"),
    (DecoderStack, "head"),
    (PartialHead, "__call__"),
)


class Watched(LiveView):
    """Notes when requests begin."""

    began = 0.0
    model_before = 0.0

    def __init__(self, work: Stopwatch) -> None:
        super().__init__()
        self._work = work

    def start(self, total_requests: int, done_already: int = 0) -> None:
        """Requests begin now."""
        super().start(total_requests, done_already)
        self.began, self.model_before = time.perf_counter(), self._work.seconds


def main() -> None:
    """Print the machine and the two figures of each set of strategies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--strategy", action="append")
    options = parser.parse_args()
    machine = hardware()
    threads = torch.get_num_threads()
    print(f"machine: {machine.cpu}, {machine.cores} cores, {threads} threads; {options.dtype}")
    for text in options.strategy or [
        "static_exit:exit_layer=30",
        "self_speculative:draft=static_exit,draft.exit_layer=15",
        "dynamic_exit",
        "dynamic_skip",
    ]:
        print(f"{text} (load {load_average()}):")
        print(_measured(text, options), flush=True)


def _measured(strategy: str, options: argparse.Namespace) -> str:
    work = Stopwatch()
    timed: list[float] = []
    outside: list[float] = []
    from lsbench.execution import worker as module

    generate = module.generate

    def watched_generate(*arguments: Any, **named: Any) -> Any:
        before = work.seconds
        made = generate(*arguments, **named)
        timed.append(made.ttft_s + made.decode_s)
        outside.append(timed[-1] - (work.seconds - before))
        return made

    with ExitStack() as patches, tempfile.TemporaryDirectory() as folder:
        for owner, name in MODEL_WORK:
            patches.enter_context(patch.object(owner, name, work.around(getattr(owner, name))))
        patches.enter_context(patch.object(module, "generate", watched_generate))
        concluded: list[float] = []
        conclude = pipeline.conclude

        def watched_conclude(*arguments: Any, **named: Any) -> Any:
            concluded.extend((time.perf_counter(), work.seconds))
            return conclude(*arguments, **named)

        patches.enter_context(patch.object(pipeline, "conclude", watched_conclude))
        spec = RunSpec(
            strategies=(parse_strategy(strategy),),
            tasks=("humaneval",),
            limit=options.limit,
            max_new_tokens=options.tokens,
            dtype=options.dtype,
            output=folder,
        )
        with Watched(work) as view:
            pipeline.run(spec, view)
        wall, model = concluded[0] - view.began, concluded[1] - view.model_before
    share = f"{sum(outside) / sum(timed):.1%} of {sum(timed):.1f} s that records time"
    whole = f"{wall / model:.3f} times the model's work in it ({wall:.1f} s, {model:.1f} s)"
    return f"  outside the model's modules: {share}\n  the run's wall time is {whole}"


if __name__ == "__main__":
    main()
