"""What do weights in huge pages gain?

The embedded model twice in one process, once with its weights where loading left them, and one step of each
in turns, in an order that is reversed from pair to pair. Prints the ratio of total times with a paired
bootstrap interval.

    python tests/benchmarks/huge_pages.py --dtype float32 bfloat16
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from unittest.mock import patch

import torch

from lsbench.catalog import resolve_model
from lsbench.engine import DecoderStack, DepthPlan, Session, likeliest
from lsbench.engine import stack as stack_module
from lsbench.engine.huge_pages import huge_pages
from lsbench.engine.loading import load_stack
from lsbench.measurement.statistics import ratio_of_totals_interval
from lsbench.store.machine import hardware, load_average


def step_of(stack: DecoderStack) -> Callable[[], float]:
    """A step of one token at full depth after 256, and its seconds."""
    session, plan = Session(stack, capacity=512), DepthPlan.full(stack.num_layers)
    session.prefill(torch.arange(100, 356)[None])

    def run() -> float:
        begin = time.perf_counter()
        likeliest(session.forward(torch.tensor([[100]]), plan).logits[0])
        took = time.perf_counter() - begin
        session.truncate(256)
        return took

    return run


def main() -> None:
    """Print the machine, and for each precision both steps and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    machine = hardware()
    print(f"machine: {machine.cpu}, {machine.cores} cores, {torch.get_num_threads()} threads")
    if huge_pages(1) is None:
        print("this system gives no huge pages on request")
        return
    folder = resolve_model("smollm2-135m-instruct").path
    for dtype in options.dtype:
        with patch.object(stack_module, "place_in_huge_pages", lambda modules: 0):
            small = step_of(load_stack(folder, dtype, "cpu"))
        huge = step_of(load_stack(folder, dtype, "cpu"))
        taken: list[tuple[float, float]] = []
        for turn in range(options.steps + 10):
            pair = (small(), huge()) if turn % 2 else (huge(), small())[::-1]
            if turn >= 10:  # the first warm up
                taken.append(pair)
        columns = [list(column) for column in zip(*taken, strict=True)]
        means = [1e3 * sum(column) / len(column) for column in columns]
        interval = ratio_of_totals_interval(columns[1], columns[0])
        print(
            f"{dtype}: {means[0]:.2f} ms in small pages, {means[1]:.2f} ms in huge ones, load "
            f"{load_average()}; ratio {means[1] / means[0]:.3f}, 95 % interval {interval}"
        )


if __name__ == "__main__":
    main()
