"""The baseline against transformers' own greedy ``generate``: the same tokens, and at least its speed.

Both run every prompt, or batch of prompts, in one process, one after the other, in alternating order; each
pair is also compared token by token. The model under transformers is a copy of its own that the engine never
touched.

    python tests/benchmarks/autoregressive_vs_transformers.py --dtype float32 --prompts 164 --tokens 64
    python tests/benchmarks/autoregressive_vs_transformers.py --dtype float32 --tokens 64 --batch 8
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from lsbench.catalog import prepare_data, resolve_model
from lsbench.engine import Session
from lsbench.engine.batch import Batch
from lsbench.engine.loading import load_stack, load_tokenizer, model_facts
from lsbench.measurement.statistics import speedup_interval, verdict
from lsbench.spec import GenerateRequest, StrategyChoice
from lsbench.store.machine import hardware, load_average, versions
from lsbench.strategy.registry import resolve

Decode = Callable[[list[list[int]], int], list[list[int]]]
"""Prompts that decode together, and how many tokens each gets at most."""


def ours(path: Path, dtype: str) -> Decode:
    """Greedy decoding by the ``autoregressive`` strategy; who has ended leaves the batch."""
    stack = load_stack(path, dtype, "cpu")
    ends = model_facts(path).eos_token_ids
    strategy = resolve(StrategyChoice(name="autoregressive"))

    def decode_one(prompt: list[int], tokens: int, session: Session) -> list[int]:
        request = GenerateRequest(
            task="benchmark",
            doc_id=0,
            arguments_sha256="",
            prompt="",
            prompt_tokens=tuple(prompt),
            max_new_tokens=tokens,
        )
        output: list[int] = []
        for emitted in strategy.generate(session, request):
            output.extend(emitted.tokens)
            if output[-1] in ends:
                break
        return output

    def decode(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        if len(prompts) == 1:
            return [decode_one(prompts[0], tokens, Session(stack, capacity=len(prompts[0]) + tokens))]
        batch = Batch(stack)
        outputs: list[list[int]] = [[] for _ in prompts]

        def member(place: int) -> None:
            session = batch.session(len(prompts[place]) + tokens)
            outputs[place] = decode_one(prompts[place], tokens, session)

        for _ in batch.run([partial(member, place) for place in range(len(prompts))]):
            pass
        return outputs

    return decode


def theirs(path: Path, dtype: str) -> Decode:
    """Greedy decoding by transformers, prompts padded on the left; who has ended is carried along."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
    ends = model_facts(path).eos_token_ids

    def decode(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            output = model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=tokens, pad_token_id=0
            )
        rows = output[:, longest:].tolist()
        return [
            row[: next((n + 1 for n, token in enumerate(row) if token in ends), len(row))] for row in rows
        ]

    return decode


def main() -> None:
    """Print the machine, every difference, and the paired ratio with its interval."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float64"])
    parser.add_argument("--prompts", type=int, default=164)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1, help="prompts that decode together")
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
    print(f"{options.model} in {options.dtype}, batches of {options.batch}")

    sides = [theirs(source.path, options.dtype), ours(source.path, options.dtype)]
    for decode in sides:
        decode(prompts[: options.batch], 8)
    seconds: list[list[float]] = [[], []]
    tokens: list[list[float]] = [[], []]
    differing = 0
    for first in range(0, len(prompts), options.batch):
        together = prompts[first : first + options.batch]
        outputs: dict[int, list[list[int]]] = {}
        for side in (0, 1) if first // options.batch % 2 == 0 else (1, 0):
            begin = time.perf_counter()
            outputs[side] = sides[side](together, options.tokens)
            seconds[side].append(time.perf_counter() - begin)
            tokens[side].append(float(sum(map(len, outputs[side]))))
        for number, (other, own) in enumerate(zip(outputs[0], outputs[1], strict=True), first):
            if other != own:
                differing += 1
                where = next(i for i, (a, b) in enumerate(zip_longest(other, own)) if a != b)
                print(f"  prompt {number} differs from token {where} on")
    interval = speedup_interval(seconds[0], tokens[0], seconds[1], tokens[1])
    per_second = [sum(tokens[side]) / sum(seconds[side]) for side in (0, 1)]
    shown = "no interval" if interval is None else f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}"
    identical = len(prompts) - differing
    print(f"identical: {identical} of {len(prompts)} prompts, at most {options.tokens} tokens each")
    print(f"tokens/s, prefill in: transformers {per_second[0]:.1f}, lsbench {per_second[1]:.1f}")
    print(f"lsbench / transformers: {per_second[1] / per_second[0]:.3f}, {shown}: {verdict(interval)}")


if __name__ == "__main__":
    main()
