"""What an exit check costs: the whole head against the rows of the most frequent tokens (``check_vocab``).

Hidden states are those of the candidate layers while the model decodes HumanEval prompts at full depth. Every
check is made both ways, one right after the other, in alternating order, and each after other layers were
read, so that no way finds its weights in the processor's caches, as in decoding. Also printed: how often the
cheaper check decides as the whole one does, and what one layer costs.

    python tests/benchmarks/exit_check_cost.py --confidence softmax_max --check-vocab 1024 4096 16384
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Sequence

import torch

from lsbench.catalog import prepare_data, resolve_model
from lsbench.engine import DepthPolicy, ExitView, Session
from lsbench.engine.clock import Clock
from lsbench.engine.loading import load_stack, load_tokenizer
from lsbench.engine.stack import DecoderStack
from lsbench.measurement.statistics import ratio_of_totals_interval
from lsbench.store.machine import hardware, load_average, versions
from lsbench.strategy import Preparation
from lsbench.strategy.calibration import CALIBRATION_TEXTS
from lsbench_strategies.confidence import SCALES, Confidence
from lsbench_strategies.dynamic_exit import DynamicExit, DynamicExitOptions
from lsbench_strategies.frequent_tokens import frequent_tokens

HEAD_MEASURES = ("softmax_max", "softmax_margin", "entropy", "patience")


class Recorder(DepthPolicy):
    """Runs every layer and keeps what it is shown at the candidates."""

    def __init__(self, candidates: Collection[int]) -> None:
        self.candidates = candidates
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def check_layers(self, num_layers: int) -> Collection[int]:
        return self.candidates

    def should_exit(self, layer: int, exit_view: ExitView) -> bool:
        self.seen.append((exit_view.hidden, exit_view.previous_hidden))
        return False


def hidden_states(
    stack: DecoderStack, prompt: Sequence[int], tokens: int, candidates: Collection[int]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Hidden states after and before each candidate, token by token."""
    session, recorder = Session(stack, capacity=len(prompt) + tokens), Recorder(candidates)
    token = int(session.prefill(torch.tensor([prompt]))[0].argmax())
    for _ in range(tokens):
        token = int(session.forward(torch.tensor([[token]]), recorder).logits[0, -1].argmax())
    return recorder.seen


@torch.inference_mode()
def timed(clock: Clock, stack: DecoderStack, turn: int, work: Callable[[], float]) -> tuple[float, float]:
    """Seconds of ``work`` after other layers' MLPs were read, and what it gave."""
    idle = torch.zeros(1, stack.head_product.in_features, dtype=stack.dtype)
    for offset in range(1, 6):
        stack.blocks[(turn + offset) % stack.num_layers].run_mlp(idle)
    begin = clock.now_s()
    found = work()
    return clock.now_s() - begin, found


def main() -> None:
    """Print the machine, the cost of each check, and the paired ratio with its interval."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--confidence", default="softmax_max", choices=HEAD_MEASURES)
    parser.add_argument("--check-vocab", type=int, nargs="+", default=[1024, 4096, 16384])
    asked = parser.parse_args()

    source = resolve_model(asked.model)
    tokenizer = load_tokenizer(source.path)
    stack = load_stack(source.path, asked.dtype, "cpu")
    clock = Clock(stack.device)
    problems = [json.loads(line) for line in prepare_data("humaneval").read_text().splitlines()]
    prompts = [tokenizer(problem["prompt"])["input_ids"] for problem in problems[: asked.prompts]]
    machine, packages = hardware(), versions()
    threads = torch.get_num_threads()
    print(f"machine: {machine.cpu}, {machine.cores} cores, {threads} threads, load {load_average()}")
    print(f"torch {packages['torch']}, {asked.model} in {asked.dtype}, {stack.vocabulary_size} tokens")

    strategy = DynamicExit(DynamicExitOptions(confidence=asked.confidence))
    candidates = strategy.candidates(stack.num_layers)
    threshold = SCALES[asked.confidence].default
    texts = tuple(tuple(tokenizer(text)["input_ids"]) for text in CALIBRATION_TEXTS)
    ranked = frequent_tokens(Preparation(stack, texts), max(asked.check_vocab))
    ways = {"whole head": Confidence(asked.confidence)} | {
        f"check_vocab={n}": Confidence(asked.confidence, stack.partial_head(ranked[:n]))
        for n in asked.check_vocab
    }
    cosine = Confidence("hidden_cosine")
    spent: dict[str, list[float]] = {name: [] for name in (*ways, "one layer", "hidden_cosine")}
    decisions: dict[str, list[bool]] = {name: [] for name in ways}
    hidden_row, turn = torch.zeros(1, stack.head_product.in_features, dtype=stack.dtype), 0
    cos, sin = (table[:1] for table in stack.rotary(1))

    def layer() -> float:
        block = stack.blocks[turn % stack.num_layers]
        queries, _, _ = block.project(hidden_row, cos, sin)
        return float(block.run_mlp(block.finish_attention(hidden_row, queries.reshape(1, -1)))[0, 0])

    for number, prompt in enumerate(prompts):
        seen = hidden_states(stack, prompt, asked.tokens, candidates)
        totals = dict.fromkeys(spent, 0.0)
        for place, (hidden, before) in enumerate(seen):
            turn += 5
            order = list(ways) if (number + place) % 2 == 0 else list(ways)[::-1]
            for name in order:
                way, view = ways[name], ExitView(hidden, before, stack.head)
                if place % len(candidates) == 0:
                    way.begin_token()
                took, found = timed(clock, stack, turn, lambda way=way, view=view: way.of(view))
                totals[name] += took
                decisions[name].append(found >= threshold)
            view = ExitView(hidden, before, stack.head)
            totals["hidden_cosine"] += timed(clock, stack, turn, lambda view=view: cosine.of(view))[0]
            totals["one layer"] += timed(clock, stack, turn, layer)[0]
        for name, total in totals.items():
            spent[name].append(total / len(seen))

    checks = len(decisions["whole head"])
    print(
        f"{asked.confidence} at layers {list(candidates)}, {len(prompts)} prompts, {checks} checks each way:"
    )
    whole = spent["whole head"]
    for name, each in spent.items():
        mean = sum(each) / len(each)
        line = f"  {name:20} {mean * 1e3:7.3f} ms"
        if name != "whole head":
            interval = ratio_of_totals_interval(whole, each)
            shown = "" if interval is None else f" (95 % interval {interval[0]:.2f} to {interval[1]:.2f})"
            line += f"   whole head / this: {sum(whole) / sum(each):6.2f}{shown}"
        if name in decisions and name != "whole head":
            pairs = list(zip(decisions["whole head"], decisions[name], strict=True))
            more = sum(part and not full for full, part in pairs)
            fewer = sum(full and not part for full, part in pairs)
            line += f"   stops {more / checks:.1%} too early, runs {fewer / checks:.1%} on"
        print(line)


if __name__ == "__main__":
    main()
