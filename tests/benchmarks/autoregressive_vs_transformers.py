"""The baseline against transformers' own greedy ``generate``: the same tokens, and at least its speed.

Both run every prompt in one process, one after the other, in alternating order; each pair is also compared
token by token. The model under transformers is a copy of its own that the engine never touched.

    python tests/benchmarks/autoregressive_vs_transformers.py --dtype float32 --prompts 164 --tokens 64
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from lsbench.catalog import prepare_data, resolve_model
from lsbench.engine import Session
from lsbench.engine.loading import load_stack, load_tokenizer, model_facts
from lsbench.measurement.statistics import speedup_interval, verdict
from lsbench.spec import GenerateRequest, StrategyChoice
from lsbench.store.machine import hardware, load_average, versions
from lsbench.strategy.registry import resolve

Decode = Callable[[list[int], int], list[int]]


def ours(path: Path, dtype: str) -> Decode:
    """Greedy decoding by the ``autoregressive`` strategy."""
    stack = load_stack(path, dtype, "cpu")
    ends = model_facts(path).eos_token_ids
    strategy = resolve(StrategyChoice(name="autoregressive"))

    def decode(prompt: list[int], tokens: int) -> list[int]:
        request = GenerateRequest(
            task="benchmark",
            doc_id=0,
            arguments_sha256="",
            prompt="",
            prompt_tokens=tuple(prompt),
            max_new_tokens=tokens,
        )
        session = Session(stack, capacity=len(prompt) + tokens)
        output: list[int] = []
        for emitted in strategy.generate(session, request):
            output.extend(emitted.tokens)
            if output[-1] in ends:
                break
        return output

    return decode


def theirs(path: Path, dtype: str) -> Decode:
    """Greedy decoding by transformers."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()

    def decode(prompt: list[int], tokens: int) -> list[int]:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=tokens,
                pad_token_id=0,
            )
        return output[0, len(prompt) :].tolist()

    return decode


def main() -> None:
    """Print the machine, every difference, and the paired ratio with its interval."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float64"])
    parser.add_argument("--prompts", type=int, default=164)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()

    source = resolve_model(options.model)
    tokenizer = load_tokenizer(source.path)
    problems = [json.loads(line) for line in prepare_data("humaneval").read_text().splitlines()]
    prompts = [tokenizer(problem["prompt"])["input_ids"] for problem in problems[: options.prompts]]
    machine, packages = hardware(), versions()
    print(f"machine: {machine.cpu}, {machine.cores} cores, {torch.get_num_threads()} threads")
    print(f"load average: {load_average()}")
    print(f"torch {packages['torch']}, transformers {packages['transformers']}")
    print(f"{options.model} in {options.dtype}")

    sides = [theirs(source.path, options.dtype), ours(source.path, options.dtype)]
    for decode in sides:
        decode(prompts[0], 8)
    seconds: list[list[float]] = [[], []]
    tokens: list[list[float]] = [[], []]
    differing = 0
    for number, prompt in enumerate(prompts):
        outputs: dict[int, list[int]] = {}
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            begin = time.perf_counter()
            outputs[side] = sides[side](prompt, options.tokens)
            seconds[side].append(time.perf_counter() - begin)
        if outputs[0] != outputs[1]:
            differing += 1
            where = next(i for i, (a, b) in enumerate(zip_longest(outputs[0], outputs[1])) if a != b)
            print(f"  prompt {number} differs from token {where} on")
        for side in (0, 1):
            tokens[side].append(float(len(outputs[side])))
    interval = speedup_interval(seconds[0], tokens[0], seconds[1], tokens[1])
    per_second = [sum(tokens[side]) / sum(seconds[side]) for side in (0, 1)]
    shown = "no interval" if interval is None else f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}"
    identical = len(prompts) - differing
    print(f"identical: {identical} of {len(prompts)} prompts, at most {options.tokens} tokens each")
    print(f"tokens/s, prefill in: transformers {per_second[0]:.1f}, lsbench {per_second[1]:.1f}")
    print(f"lsbench / transformers: {per_second[1] / per_second[0]:.3f}, {shown}: {verdict(interval)}")


if __name__ == "__main__":
    main()
