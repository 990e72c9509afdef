"""Our engine beside what people would otherwise use: same weights, prompts, dtype and threads.

    python tests/benchmarks/peers --dtype bfloat16 --prompts 16 --tokens 64 --peers llama_cpp transformers

Each peer is first held to our greedy tokens in float32; one that parts from them by more than rounding is not
the same model, and is not timed. Then both sides take every prompt one right after the other, in an order
that is reversed from prompt to prompt, after a warm-up that is discarded. Decoding is timed after the first
output, which prefill gives; prefill by itself, on other prompts. Every prompt is continued by the same number
of tokens, whatever they are. The interval is a paired bootstrap over prompts, or over batches with
--batch-size, and needs five.

llama.cpp, economize and flashspec are the optional extra `peers`.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.peers.bench import PEERS, Bench
from benchmarks.peers.weakened import write_weakened
from lsbench.catalog import resolve_model
from lsbench.engine.native import products_for
from lsbench.execution.machine import devices
from lsbench.store.machine import hardware


def main() -> None:
    """Print the machine, then each peer's ratios or why it has none."""
    asked = _arguments()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    machine = hardware()
    print(f"machine: {machine.cpu}, {machine.cores} cores, {torch.get_num_threads()} threads")
    for name in devices(asked.device):
        print(
            f"device: {name}; {products_for(getattr(torch, asked.dtype), torch.device(asked.device)).words}"
        )
    packages = ("torch", "transformers", "xllamacpp", "economize", "flashspec")
    print(", ".join(f"{name} {_version(name)}" for name in packages))
    print(f"{asked.model} in {asked.dtype}, batches of {asked.batch_size}, {asked.tokens} tokens a prompt")
    with tempfile.TemporaryDirectory(prefix="lsbench-peers-") as scratch:
        folder = resolve_model(asked.model).path
        if asked.weaken:
            print(f"what layers after {asked.exit_layer} add is scaled by 0.001")
            write_weakened(folder, Path(scratch) / "weakened", asked.exit_layer)
            folder = Path(scratch) / "weakened"
        Bench(asked, folder, Path(scratch)).run(asked.peers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="smollm2-135m-instruct", help="as lsbench run takes it")
    add("--dtype", default="float32", choices=["float32", "bfloat16"])
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--prompts", type=int, default=8, help="of HumanEval, batches of them together")
    add("--tokens", type=int, default=64, help="that each prompt is continued by, at least 2")
    add("--prefill", type=int, default=512, help="length of prompts whose prefill is timed; 0 for none")
    add("--batch-size", type=int, default=1)
    add("--threads", type=int, default=None, help="of torch and of llama.cpp alike (default: torch's)")
    add("--peers", nargs="+", default=list(PEERS), choices=list(PEERS), metavar="NAME", help=", ".join(PEERS))
    add("--exit-layer", type=int, default=8, help="of those who draft by exiting early")
    add("--num-speculations", type=int, default=4, help="tokens they draft a cycle")
    add("--lookup-tokens", type=int, default=10, help="tokens drafted a cycle from the text, at most")
    add("--weaken", action="store_true", help="layers after the exit hardly act, so that drafts are accepted")
    asked = parser.parse_args()
    if asked.tokens < 2:
        parser.error(f"--tokens {asked.tokens}: the first token is prefill's; write at least 2")
    if not 1 <= asked.batch_size <= asked.prompts:
        parser.error(f"--batch-size {asked.batch_size}: write 1 to --prompts ({asked.prompts})")
    return asked


def _version(name: str) -> str:
    with suppress(PackageNotFoundError):
        return version(name)
    return "not installed"
