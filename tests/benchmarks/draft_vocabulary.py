"""What does a draft gain that predicts a part of the vocabulary, and so reads a part of the output head?

The embedded model, whose layers after the exit hardly change the hidden state, as in ``draft_economics.py``,
so that nearly every draft would be accepted. Plain decoding and ``self_speculative`` with each ``vocab``
take the same prompts in turns, in an order that is reversed from prompt to prompt; outputs must be the same.

    python tests/benchmarks/draft_vocabulary.py --vocab full auto 8192 16384 --dtype bfloat16
"""

from __future__ import annotations

import argparse
import os
import time

import torch
from draft_economics import humaneval_requests, weaken

from lsbench.catalog import resolve_model
from lsbench.engine import Session
from lsbench.engine.loading import load_stack, load_tokenizer
from lsbench.spec import GenerateRequest, parse_strategy
from lsbench.strategy import Preparation, Strategy
from lsbench.strategy.calibration import CALIBRATION_TEXTS
from lsbench.strategy.registry import resolve

BASELINE = "autoregressive"
DRAFTING = "self_speculative:draft=static_exit,draft.exit_layer={},draft.vocab={}"


def main() -> None:
    """Print the machine, and milliseconds a token of each beside the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--vocab", nargs="+", default=["full", "auto", "8192"], help="the first is the reference"
    )
    parser.add_argument("--exit-layer", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    options = parser.parse_args()

    source = resolve_model("smollm2-135m-instruct")
    stack, tokenizer = load_stack(source.path, options.dtype, "cpu"), load_tokenizer(source.path)
    weaken(stack, options.exit_layer, 1e-3)
    texts = {BASELINE: BASELINE, **{v: DRAFTING.format(options.exit_layer, v) for v in options.vocab}}
    strategies = {name: resolve(parse_strategy(text)) for name, text in texts.items()}
    calibration = Preparation(stack, tuple(tuple(tokenizer(text)["input_ids"]) for text in CALIBRATION_TEXTS))
    for strategy in strategies.values():
        strategy.check(stack.num_layers)
        strategy.prepare(calibration)
    requests = humaneval_requests(tokenizer, options.prompts, options.tokens)

    def decode(strategy: Strategy, request: GenerateRequest) -> tuple[float, list[int], int, int]:
        """Seconds a token, the tokens, and how many were drafted and accepted."""
        session = Session(stack, capacity=len(request.prompt_tokens) + options.tokens)
        emitted = strategy.generate(session, request)
        tokens = list(next(emitted).tokens)
        drafted = accepted = 0
        begin = time.perf_counter()
        for emission in emitted:
            tokens.extend(emission.tokens)
            drafted += emission.drafted or 0
            accepted += len(emission.tokens) if emission.kind == "accepted" else 0
        return (time.perf_counter() - begin) / (len(tokens) - 1), tokens, drafted, accepted

    for strategy in strategies.values():
        decode(strategy, requests[0])
    found = {name: list[tuple[float, list[int], int, int]]() for name in strategies}
    for place, request in enumerate(requests):
        for name in list(strategies)[:: 1 if place % 2 == 0 else -1]:
            found[name].append(decode(strategies[name], request))
        assert all(runs[-1][1] == found[BASELINE][-1][1] for runs in found.values())

    seconds = {name: [run[0] for run in runs] for name, runs in found.items()}
    reference = seconds[options.vocab[0]]
    print(f"{options.dtype}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    for name, own in seconds.items():
        drafted, accepted = sum(run[2] for run in found[name]), sum(run[3] for run in found[name])
        each = [first / second for first, second in zip(reference, own, strict=True)]
        print(
            f"{name:>15}: {1e3 * sum(own) / len(own):6.2f} ms/token, "
            f"{sum(seconds[BASELINE]) / sum(own):.2f} x plain decoding, "
            f"{sum(reference) / sum(own):.2f} x {options.vocab[0]} ({min(each):.2f} to {max(each):.2f}), "
            f"{accepted} of {drafted} drafts accepted"
        )


if __name__ == "__main__":
    main()
