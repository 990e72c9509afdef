"""What a second core is worth: two ranks that share one copy of the model, and two copies.

One thread each. For torch's own products and for the engine's compiled ones, prompts are taken in turns:

- *tensor parallel 2*: tokens per second of decoding by two ranks, as a multiple of one process, one thread;
- *2 replicas*: two prompts at once by two replicas, beside the same two one after the other by a single one:
  as a multiple, the throughput.

Both stand beside the memory bandwidth that one thread reaches alone, and two together: where one nearly fills
the memory, a second adds little.

    python tests/benchmarks/scaling.py --prompts 8 --tokens 48
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from draft_economics import humaneval_requests

from lsbench.catalog import resolve_model
from lsbench.engine.loading import load_tokenizer, model_facts
from lsbench.engine.native.library import PRODUCTS
from lsbench.execution.backend import Backend, backend_for
from lsbench.execution.bandwidth import measure_bandwidth
from lsbench.execution.machine import use_threads
from lsbench.execution.setup import Setup
from lsbench.measurement.statistics import ratio_of_totals_interval
from lsbench.records import SampleRecord
from lsbench.report.live import LiveView
from lsbench.spec import GenerateRequest, RunSpec, parse_strategy
from lsbench.store.machine import hardware, load_average
from lsbench.store.manifest import ModelFacts


def main() -> None:
    """Print the machine, the bandwidths, and both ratios for both kinds of products."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--products", nargs="+", default=["torch", "native"], choices=["torch", "native"])
    options = parser.parse_args()
    machine = hardware()
    print(f"machine: {machine.cpu}, {machine.cores} cores; {options.dtype}; load {load_average()}")
    for threads in (1, 2):
        use_threads(threads)
        bandwidth = measure_bandwidth(torch.device("cpu"))
        if bandwidth is not None:
            print(f"memory bandwidth, {threads} thread(s): {bandwidth.bytes_per_second / 1e9:.1f} GB/s")
    use_threads(1)
    folder = resolve_model("smollm2-135m-instruct").path
    requests = humaneval_requests(load_tokenizer(folder), options.prompts, options.tokens)
    for products in options.products:
        os.environ[PRODUCTS] = products
        print(f"{products} products:", flush=True)
        with (
            _started(options.dtype, folder, requests[0]) as alone,
            _started(options.dtype, folder, requests[0], tensor_parallel=2) as two,
        ):
            print(_tensor_parallel(alone, two, requests), flush=True)
        with _started(options.dtype, folder, requests[0], replicas=2) as two:
            print(_replicas(two, requests), flush=True)


@contextmanager
def _started(
    dtype: str, folder: Path, first: GenerateRequest, tensor_parallel: int = 1, replicas: int = 1
) -> Iterator[Backend]:
    """A backend that has loaded the model and warmed up."""
    choice = parse_strategy("autoregressive")
    spec = RunSpec.model_validate(
        {
            "strategies": (choice,),
            "tasks": ("humaneval",),
            "dtype": dtype,
            "device": "cpu",
            "threads": 1,
            "tensor_parallel": tensor_parallel,
            "replicas": replicas,
        }
    )
    model = ModelFacts(
        id="smollm2-135m-instruct",
        path=str(folder),
        sha256="",
        num_layers=model_facts(folder).num_layers,
        dtype=dtype,
    )
    with backend_for(spec, LiveView(quiet=True)) as backend, tempfile.TemporaryDirectory() as logs:
        backend.connect("cpu", None)
        backend.start(Setup.of(spec, [choice], model, "cpu", 1, 0), [first], Path(logs))
        yield backend


def _run(backend: Backend, requests: Sequence[GenerateRequest]) -> tuple[float, list[SampleRecord]]:
    begin = time.perf_counter()
    records = list(backend.run(requests, frozenset(), {}, ()))
    taken = time.perf_counter() - begin
    failed = [record.error for record in records if record.error is not None]
    if failed:
        raise SystemExit(failed[0])
    return taken, records


def _tensor_parallel(alone: Backend, two: Backend, requests: Sequence[GenerateRequest]) -> str:
    seconds: dict[str, list[float]] = {"alone": [], "two": []}
    tokens, same = 0, 0
    for number, request in enumerate(requests):
        made: dict[str, SampleRecord] = {}
        for name in ("alone", "two") if number % 2 == 0 else ("two", "alone"):
            _, (made[name],) = _run(alone if name == "alone" else two, [request])
            seconds[name].append(made[name].decode_s or 0.0)
        tokens += len(made["alone"].token_ids or ()) - 1
        same += made["alone"].token_ids == made["two"].token_ids
    rates = f"{tokens / sum(seconds['two']):.1f} tokens/s beside {tokens / sum(seconds['alone']):.1f}"
    return (
        f"  tensor parallel 2: {_ratio(seconds['alone'], seconds['two'])}; {rates}; "
        f"{same} of {len(requests)} outputs identical"
    )


def _replicas(two: Backend, requests: Sequence[GenerateRequest]) -> str:
    one_by_one, together, tokens = [], [], 0
    for begin in range(0, len(requests) - 1, 2):
        pair = requests[begin : begin + 2]
        apart = [_run(two, [request]) for request in pair]
        one_by_one.append(sum(taken for taken, _ in apart))
        taken, records = _run(two, pair)
        together.append(taken)
        tokens += sum(len(record.token_ids or ()) for record in records)
    rates = f"{tokens / sum(together):.1f} tokens/s beside {tokens / sum(one_by_one):.1f}, prefill included"
    return f"  2 replicas: {_ratio(one_by_one, together)}; {rates}"


def _ratio(before: Sequence[float], after: Sequence[float]) -> str:
    interval = ratio_of_totals_interval(list(before), list(after))
    sure = "no interval" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
    return f"{sum(before) / sum(after):.2f} times ({sure})"


if __name__ == "__main__":
    main()
