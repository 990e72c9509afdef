"""Are predicted trials right, and are they cheap? Three figures of a search for an exit and a K.

Every point of a grid (``static_exit`` as the draft, exit layer x num_speculations) is truly timed, paired
with the baseline, and predicted from one pass over what the full model wrote. Printed are

1. the correlation of predicted and timed speedups (with candidates of other kinds among them);
2. what a predicted trial costs, calibrating included, against a timed one (target: 20 times cheaper);
3. whether a search that predicts all points and times the best few ends within 2 % of the best of the whole
   grid, for at most a fifth of its cost. Both winners are timed again, side by side, on other prompts.

The embedded model, but its layers after ``--weaken-after`` change the hidden state less (by
``--weaken-factor``), so that drafts at an exit are often right and the grid has a best point that is not at
its edge; 1 leaves the model as it is.

    python tests/benchmarks/predicted_trials.py
    python tests/benchmarks/predicted_trials.py --exits 8 16 24 --speculations 2 4 --prompts 2 --tokens 24
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from draft_economics import humaneval_requests, weaken
from scipy.stats import rankdata
from transformers import PreTrainedTokenizerBase

from lsbench.catalog import resolve_model
from lsbench.engine import DecoderStack
from lsbench.engine.loading import load_stack, load_tokenizer
from lsbench.execution.costs import measure_costs
from lsbench.execution.worker import Contender, Worker
from lsbench.measurement.pairing import comparable_in_time, pair_up
from lsbench.measurement.timing import speedups
from lsbench.records import SampleRecord, StepCost
from lsbench.spec import GenerateRequest, parse_strategy
from lsbench.store.machine import hardware, load_average
from lsbench.strategy import Preparation
from lsbench.strategy.calibration import CALIBRATION_TEXTS
from lsbench.strategy.registry import resolve
from lsbench.tuning.judge import Judge, Unjudged
from lsbench.tuning.predict import predict
from lsbench.tuning.references import make_references
from lsbench.tuning.trials import Trial as SearchTrial
from lsbench.tuning.worth_timing import next_to_time

WIDTHS = (1, 2, 3, 5, 9)
OTHERS = (
    "self_speculative:draft=dynamic_skip,draft.max_skip_ratio=0.2,num_speculations=3",
    "self_speculative:draft=dynamic_skip,draft.granularity=layer,draft.max_skip_ratio=0.4,num_speculations=3",
    "self_speculative:draft=dynamic_exit,draft.threshold=0.6,draft.candidate_layers=[8,16],num_speculations=3",
    "dynamic_exit:threshold=0.7,candidate_layers=[8,16,24]",
    "dynamic_exit:threshold=0.7,candidate_layers=[8,16,24],kv_fill=propagate",
    "dynamic_exit:threshold=0.7,candidate_layers=[8,16,24],kv_fill=mask",
    "dynamic_skip:max_skip_ratio=0.3",
    "dynamic_skip:max_skip_ratio=0.3,kv_fill=mask",
    "dynamic_skip:max_skip_ratio=0.3,kv_fill=recompute",
    "static_exit:exit_layer=16",
)


@dataclass(frozen=True)
class Trial:
    """One candidate, timed and predicted; what each cost in seconds."""

    label: str
    timed: float
    timed_s: float
    predicted: float
    predicted_s: float


class Bench:
    """A model, prompts, and both kinds of trial."""

    def __init__(
        self, stack: DecoderStack, tokenizer: PreTrainedTokenizerBase, requests: Sequence[GenerateRequest]
    ) -> None:
        self.stack, self.tokenizer, self.requests = stack, tokenizer, requests
        prompts = tuple(tuple(tokenizer(text)["input_ids"]) for text in CALIBRATION_TEXTS)
        self.preparation = Preparation(stack, prompts)
        self.baseline = self.contender("autoregressive")
        begin = time.perf_counter()
        self.references = make_references(stack, tokenizer, requests, "of this process alone")
        self.references_s = time.perf_counter() - begin
        begin = time.perf_counter()
        self.costs: tuple[StepCost, ...] = measure_costs(stack, requests[0].prompt_tokens, WIDTHS)
        self.costs_s = time.perf_counter() - begin
        begin = time.perf_counter()
        self.contender("dynamic_skip")
        self.calibration_s = time.perf_counter() - begin
        self.judge = Judge(self.references, self.costs)

    def contender(self, text: str) -> Contender:
        """Prepared; what calibration measures is measured once for all."""
        made = Contender(choice := parse_strategy(text), resolve(choice))
        made.strategy.check(self.stack.num_layers)
        made.strategy.prepare(self.preparation)
        return made

    def timed(
        self, contenders: Sequence[Contender], requests: Sequence[GenerateRequest]
    ) -> tuple[list[float], float]:
        """Speedups over the baseline, prompts in turns after one discarded, and the seconds it took."""
        begin = time.perf_counter()
        worker = Worker(self.stack, self.tokenizer, self.baseline, tuple(contenders))
        worker.warm_up(requests[:1])
        records: list[SampleRecord] = []
        for turn in worker.turns(requests):
            records.extend(worker.run(turn, frozenset(), {}))
        found: list[float] = []
        for contender in contenders:
            pairs = comparable_in_time(pair_up(records, self.baseline.label, contender.label)).pairs
            measured = speedups(pairs)
            assert measured is not None
            found.append(measured[0].value)
        return found, time.perf_counter() - begin

    def trial(self, text: str) -> Trial:
        """Both."""
        begin = time.perf_counter()
        contender = self.contender(text)
        judgement = self.judge.judge(contender.strategy)
        assert not isinstance(judgement, Unjudged), judgement.reason
        speedup = predict(judgement, self.costs, self.stack.num_layers).speedup
        predicted_s = time.perf_counter() - begin
        (timed,), timed_s = self.timed([contender], self.requests)
        return Trial(text, timed, timed_s, speedup, predicted_s)

    def shown(self, text: str) -> Trial:
        """The same, and printed."""
        trial = self.trial(text)
        print(
            f"  {trial.label:96} timed {trial.timed:.3f} in {trial.timed_s:.2f} s, "
            f"predicted {trial.predicted:.3f} in {trial.predicted_s * 1e3:.0f} ms",
            flush=True,
        )
        return trial


def timed_in_turn(grid: Sequence[Trial], most: int) -> list[Trial]:
    """Those that a search would time, by its own rule: a timing corrects what is predicted of the others."""
    by_label = {trial.label: trial for trial in grid}
    rows = [_row(number, trial) for number, trial in enumerate(grid)]
    chosen: list[Trial] = []
    while row := next_to_time(rows, most):
        chosen.append(by_label[row.label])
        rows.append(row.model_copy(update={"kind": "timed", "speedup": chosen[-1].timed}))
    return chosen


def _row(number: int, trial: Trial) -> SearchTrial:
    choice = parse_strategy(trial.label)
    return SearchTrial(
        number=number,
        kind="predicted",
        status="ok",
        strategy=choice.name,
        options=choice.options,
        label=trial.label,
        point={key: value for key, value in choice.options.items() if not isinstance(value, list | dict)},
        objective=trial.predicted,
        predicted_speedup=trial.predicted,
        seconds=trial.predicted_s,
        seed=0,
    )


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's; of ranks it is Spearman's."""
    return float(np.corrcoef(np.array(first), np.array(second))[0, 1])


def main() -> None:
    """Print the machine, every trial, and the three figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exits", type=int, nargs="+", default=list(range(3, 30, 3)))
    parser.add_argument("--speculations", type=int, nargs="+", default=[1, 2, 4, 6])
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument(
        "--timed", type=int, default=3, help="how many of the best predicted the search times"
    )
    parser.add_argument("--weaken-after", type=int, default=8)
    parser.add_argument("--weaken-factor", type=float, default=0.01)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--no-others", action="store_true", help="the grid alone")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    source = resolve_model("smollm2-135m-instruct")
    stack, tokenizer = load_stack(source.path, options.dtype, "cpu"), load_tokenizer(source.path)
    weaken(stack, options.weaken_after, options.weaken_factor)
    requests = humaneval_requests(tokenizer, 2 * options.prompts, options.tokens)
    bench = Bench(stack, tokenizer, requests[: options.prompts])
    machine = hardware()
    print(f"machine: {machine.cpu}, {machine.cores} cores, load {load_average()}")
    for cost in bench.costs:
        print(
            f"width {cost.width}: layer {cost.layer_s * 1e3:.3f} ms, head {cost.head_s * 1e3:.3f} ms, "
            f"rest {cost.fixed_s * 1e3:.3f} ms"
        )

    grid = [
        bench.shown(f"self_speculative:draft=static_exit,draft.exit_layer={layer},num_speculations={count}")
        for layer in options.exits
        for count in options.speculations
    ]
    others = [] if options.no_others else [bench.shown(text) for text in OTHERS]

    every = [*grid, *others]
    timed, predicted = [trial.timed for trial in every], [trial.predicted for trial in every]
    ratio = sum(p / t for p, t in zip(predicted, timed, strict=True)) / len(every)
    print(
        f"1. over {len(every)} candidates: Pearson {correlation(predicted, timed):.3f}, "
        f"Spearman {correlation(rankdata(predicted).tolist(), rankdata(timed).tolist()):.3f}, "
        f"mean of predicted / timed {ratio:.3f}"
    )
    for name, trials in (("of the grid", grid), ("of other kinds", others)):
        if trials:
            costs = sum(t.timed_s for t in trials), sum(t.predicted_s for t in trials)
            print(f"2. a predicted trial {name} is {costs[0] / costs[1]:.0f} times cheaper than a timed one")
    print(
        f"   once for all: references {bench.references_s:.1f} s, costs of a step {bench.costs_s:.1f} s, "
        f"calibration {bench.calibration_s:.1f} s"
    )

    best = max(grid, key=lambda trial: trial.timed)
    chosen = timed_in_turn(grid, options.timed)
    winner = max(chosen, key=lambda trial: trial.timed)
    search_s = (
        bench.references_s + bench.costs_s + bench.calibration_s + sum(trial.predicted_s for trial in grid)
    )
    search_s += sum(trial.timed_s for trial in chosen)
    grid_s = sum(trial.timed_s for trial in grid)
    print(f"3. best of the grid:   {best.label}, {best.timed:.3f}")
    print(f"   best of the search: {winner.label}, {winner.timed:.3f}")
    if winner is not best:
        finalists = [bench.contender(trial.label) for trial in (best, winner)]
        (first, second), _ = bench.timed(finalists, requests[options.prompts :])
        print(f"   side by side on other prompts: {first:.3f} and {second:.3f}, ratio {second / first:.3f}")
    print(f"   the search took {search_s:.1f} s, the grid {grid_s:.1f} s: {search_s / grid_s:.2f} of it")


if __name__ == "__main__":
    main()
