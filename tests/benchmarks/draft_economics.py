"""How much of its ceiling does each strategy reach where running fewer layers ought to pay?

The embedded model, but its layers after the exit hardly change the hidden state (what they add is scaled
down), so that nearly every draft is accepted and what remains is economics: the layers saved, and what the
loop adds to them. Baseline and strategies take the same prompts in turns, in one process. Prints the measured
speedups, the ceilings computed from this machine's measured costs, and the shares reached.

    python tests/benchmarks/draft_economics.py --exit-layer 8 --prompts 8 --tokens 96
    python tests/benchmarks/draft_economics.py --strategy dynamic_exit:threshold=0.5
"""

from __future__ import annotations

import argparse
import json

import torch
from transformers import PreTrainedTokenizerBase

from lsbench.catalog import prepare_data, resolve_model
from lsbench.engine import DecoderStack
from lsbench.engine.loading import load_stack, load_tokenizer
from lsbench.execution.worker import Contender, Worker
from lsbench.measurement.ceiling import ceiling, work_of
from lsbench.measurement.pairing import comparable_in_time, generations, pair_up
from lsbench.measurement.parity import parity
from lsbench.measurement.timing import speedups
from lsbench.records import SampleRecord
from lsbench.spec import GenerateRequest, parse_strategy
from lsbench.store.machine import hardware, load_average
from lsbench.strategy.registry import resolve


def weaken(stack: DecoderStack, after: int, factor: float) -> None:
    """Scale what every sub-layer of the layers after ``after`` adds to the hidden state."""
    with torch.no_grad():
        for block in stack.blocks[after:]:
            block.output.weight.mul_(factor)
            block.mlp.down.weight.mul_(factor)


def humaneval_requests(
    tokenizer: PreTrainedTokenizerBase, prompts: int, tokens: int
) -> list[GenerateRequest]:
    """The first problems, each to be continued by at most ``tokens``."""
    problems = [json.loads(line) for line in prepare_data("humaneval").read_text().splitlines()]
    return [
        GenerateRequest(
            task="humaneval",
            doc_id=number,
            arguments_sha256="",
            prompt=problem["prompt"],
            prompt_tokens=tuple(tokenizer(problem["prompt"])["input_ids"]),
            max_new_tokens=tokens,
        )
        for number, problem in enumerate(problems[:prompts])
    ]


def main() -> None:
    """Print the machine, the costs, and the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exit-layer", type=int, default=8)
    parser.add_argument("--num-speculations", type=int, default=4)
    parser.add_argument("--strategy", action="append", help="repeated; by default one of every family")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float64"])
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    source = resolve_model("smollm2-135m-instruct")
    stack, tokenizer = load_stack(source.path, options.dtype, "cpu"), load_tokenizer(source.path)
    weaken(stack, options.exit_layer, 1e-3)
    exit_layer, last = options.exit_layer, stack.num_layers
    texts = options.strategy or [
        f"self_speculative:draft=static_exit,draft.exit_layer={exit_layer},"
        f"num_speculations={options.num_speculations}",
        f"static_exit:exit_layer={exit_layer}",
        f"dynamic_exit:threshold=0.3,candidate_layers=[{exit_layer}]",
        f"dynamic_skip:granularity=layer,skip_set=[{','.join(map(str, range(exit_layer + 1, last + 1)))}]",
    ]
    baseline, *strategies = (
        Contender(choice, resolve(choice)) for choice in map(parse_strategy, ("autoregressive", *texts))
    )
    worker = Worker(stack, tokenizer, baseline, tuple(strategies))
    worker.prepare()
    requests = humaneval_requests(tokenizer, options.prompts, options.tokens)
    worker.warm_up(requests[:1])
    costs = worker.costs(requests[len(requests) // 2])
    records: list[SampleRecord] = []
    for turn in worker.turns(requests):
        records.extend(worker.run(turn, frozenset(), {}))
    records = [record for record in records if record.kind != "fidelity"]

    machine, threads = hardware(), torch.get_num_threads()
    print(f"machine: {machine.cpu}, {machine.cores} cores, {threads} threads, load {load_average()}")
    for cost in costs:
        print(
            f"width {cost.width}: layer {cost.layer_s * 1e3:.3f} ms, head {cost.head_s * 1e3:.3f} ms, "
            f"rest {cost.fixed_s * 1e3:.3f} ms"
        )
    theirs = generations(records, baseline.label)
    for strategy in strategies:
        print(strategy.label)
        measured = speedups(comparable_in_time(pair_up(records, baseline.label, strategy.label)).pairs)
        assert measured is not None
        ours = generations(records, strategy.label)
        found = ceiling(ours, theirs, costs, stack.num_layers, measured[0].value)
        assert found is not None
        print(f"  work of a cycle: {work_of(ours, stack.num_layers)}")
        print(f"  parity: {parity(records, strategy.label)}")
        print(f"  measured speedup {measured[0].value:.3f}, interval {measured[0].ci95}")
        print(f"  ceiling {found.speedup:.3f}, reached {found.achieved_fraction:.1%}")
        if found.remainder is not None:
            shares = ", ".join(f"{name} {share:.1%}" for name, share in found.remainder.model_dump().items())
            print(f"  where the rest went: {shares}")


if __name__ == "__main__":
    main()
