"""All layers of one token's step, by torch.compile and by the engine's compiled sub-layers.

The same weights twice: once under torch's own products as a sequence of operators on tensors that keep their
shapes (`engine/static_step.py`, what CUDA graphs replay), compiled by inductor, and once under the compiled
sub-layers. Both take the same positions in turns. Prints what compiling took, how often, and ratios.

    python tests/benchmarks/compiled_ranges.py --dtype bfloat16
"""

from __future__ import annotations

import argparse
import time

import torch
from torch._dynamo.utils import counters  # pyright: ignore[reportPrivateImportUsage]

from lsbench.catalog import resolve_model
from lsbench.engine import DecoderStack
from lsbench.engine.clock import Clock
from lsbench.engine.loading import load_stack
from lsbench.engine.native.library import without
from lsbench.engine.static_step import Group, StaticStep
from lsbench.execution.rounds import shortest
from lsbench.store.machine import hardware, load_average


def main() -> None:
    """Print the machine, then milliseconds of both and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--held", type=int, default=256, help="positions held")
    options = parser.parse_args()
    machine = hardware()
    print(f"machine: {machine.cpu}, {machine.cores} cores, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}; {options.dtype}, {options.held} positions; load {load_average()}")
    folder = resolve_model("smollm2-135m-instruct").path
    native = load_stack(folder, options.dtype, "cpu")
    with without():
        plain = load_stack(folder, options.dtype, "cpu")
    with torch.inference_mode():
        _compare(native, plain, options.held)


def _compare(native: DecoderStack, plain: DecoderStack, held: int) -> None:
    assert native.native is not None
    shape, last = plain.shape, 2 * plain.num_layers
    size = (1, shape.kv_heads, 2 * held, shape.head_width)
    keys, values = ([torch.randn(size, dtype=plain.dtype) for _ in range(plain.num_layers)] for _ in range(2))
    hidden, positions = plain.embed(torch.tensor([5])), torch.tensor([held])
    rotary = tuple(table[held : held + 1] for table in plain.rotary(held + 1))
    places = torch.tensor([[0], [0], [held]])
    step = StaticStep(plain.blocks, shape.scale, 0, last, (Group(0, 0, 0, 1),), keys, values)
    compiled = torch.compile(
        lambda: step(hidden, positions, *rotary), dynamic=False, options={"freezing": True}
    )
    begin = time.perf_counter()
    made = compiled()
    took = time.perf_counter() - begin
    run = native.native.run
    ours = lambda: run(hidden, 0, last, places, rotary, keys, values)  # noqa: E731
    difference = (made - ours()).abs().max().item() / made.abs().max().item()
    graphs = counters["stats"]["unique_graphs"]
    print(f"compiling took {took:.0f} s, {graphs} graph(s); they differ by {difference:.1e} of the largest")
    seconds = shortest(
        {"eager": lambda: step(hidden, positions, *rotary), "compiled": compiled, "ours": ours},
        Clock(plain.device),
        8.0,
    )
    for name, taken in seconds.items():
        print(f"  {name}: {1e3 * taken:.2f} ms, {taken / seconds['ours']:.2f} times ours")


if __name__ == "__main__":
    main()
