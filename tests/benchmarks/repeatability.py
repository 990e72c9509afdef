"""Do the figures hold? Three claims about verdicts and intervals, put to a real model on this machine.

1. Two identical strategies (autoregressive against autoregressive) compare as `no significant difference` in
   at least 19 of 20 trials, each a comparison of its own with its own interval.
2. A strategy that was slowed on purpose by 10 % is found `slower` with 30 prompts.
3. The same run twice gives overlapping intervals of every speedup.

The first is run by the worker that runs requests in `lsbench run`, the others are whole runs. Exit code 1
when a claim does not hold. It takes about seven minutes on two cores; nothing else should run meanwhile.

    python tests/benchmarks/repeatability.py
    python tests/benchmarks/repeatability.py --trials 3 --trial-prompts 6 --prompts 6 --tokens 8
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator

import torch

from lsbench import pipeline
from lsbench.catalog import prepare_data, resolve_model
from lsbench.engine import Session
from lsbench.engine.loading import load_stack, load_tokenizer
from lsbench.execution.worker import Contender, Worker
from lsbench.measurement.pairing import comparable_in_time, generations, pair_up
from lsbench.measurement.timing import noise, speedups
from lsbench.metrics import Interval, Metrics, Speedup
from lsbench.records import RecordKey
from lsbench.report.live import LiveView
from lsbench.spec import GenerateRequest, RunSpec, StrategyChoice, parse_strategy
from lsbench.store.machine import hardware, load_average, versions
from lsbench.strategy import Emitted, registry
from lsbench_strategies.autoregressive import Autoregressive

MODEL = "smollm2-135m-instruct"
SLOWER_BY = 0.1
WANTED = 0.95
"""The share of trials of identical strategies that must end without a difference: 19 of 20."""


class Twin(Autoregressive):
    """The baseline under another name."""


class Slowed(Autoregressive):
    """The baseline, but every decode step takes a tenth longer: it waits, busily, before a token is out."""

    def generate(self, session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        """What the baseline emits, later."""
        began: float | None = None
        for emitted in super().generate(session, request):
            if began is not None:
                now = time.perf_counter()
                until = now + SLOWER_BY * (now - began)
                while time.perf_counter() < until:
                    pass
            yield emitted
            began = time.perf_counter()


REGISTERED = {"twin": Twin, "slowed": Slowed}


def register() -> None:
    """For this process alone, as a package's entry points would."""
    load = registry.load_strategy
    registry.load_strategy = lambda name: REGISTERED.get(name) or load(name)


def humaneval_requests(worker: Worker, prompts: int, tokens: int) -> list[GenerateRequest]:
    """The first problems, each to be continued by exactly ``tokens``."""
    problems = [json.loads(line) for line in prepare_data("humaneval").read_text().splitlines()]
    return [
        GenerateRequest(
            task="humaneval",
            doc_id=number,
            arguments_sha256="",
            prompt=problem["prompt"],
            prompt_tokens=tuple(worker.tokenizer(problem["prompt"])["input_ids"]),
            max_new_tokens=tokens,
        )
        for number, problem in enumerate(problems[:prompts])
    ]


def twin_trials(options: argparse.Namespace) -> Iterator[tuple[Speedup, float | None]]:
    """Each trial's speedup of the twin, and the noise that was found in its baseline."""
    source = resolve_model(MODEL)
    stack, tokenizer = load_stack(source.path, options.dtype, "cpu"), load_tokenizer(source.path)
    baseline, twin = (
        Contender(choice, registry.resolve(choice))
        for choice in (StrategyChoice(name="autoregressive"), StrategyChoice(name="twin"))
    )
    worker = Worker(stack, tokenizer, baseline, (twin,))
    worker.prepare()
    requests = humaneval_requests(worker, options.trial_prompts, options.trial_tokens)
    worker.warm_up(requests[:2])
    # The looks at what was put out are not what is timed.
    looked = {
        RecordKey(twin.label, kind, request.task, request.doc_id, 0, 0)
        for kind in ("fidelity", "parity")
        for request in requests
    }
    for _ in range(options.trials):
        records = [record for turn in worker.turns(requests) for record in worker.run(turn, looked, {})]
        found = noise(generations(records, baseline.label))
        both = speedups(comparable_in_time(pair_up(records, baseline.label, twin.label)).pairs, found)
        assert both is not None
        yield both[0], found


def whole_run(options: argparse.Namespace, strategies: tuple[str, ...]) -> Metrics:
    """What `lsbench run` concludes."""
    with tempfile.TemporaryDirectory() as folder, LiveView(quiet=True) as view:
        spec = RunSpec(
            strategies=tuple(map(parse_strategy, strategies)),
            tasks=("humaneval",),
            limit=options.prompts,
            max_new_tokens=options.tokens,
            dtype=options.dtype,
            output=folder,
        )
        return pipeline.run(spec, view).metrics


def shown(speedup: Speedup, noise_found: float | None) -> str:
    """A speedup with all that its verdict rests on."""
    return (
        f"{speedup.value:.4f}, interval {_interval(speedup.ci95)}, noise "
        f"{'not known' if noise_found is None else f'{noise_found:.1%}'}: {speedup.verdict}"
    )


def _interval(interval: Interval | None) -> str:
    return "none" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def identical_strategies(options: argparse.Namespace) -> bool:
    """The first claim."""
    print(f"\nautoregressive against itself, {options.trial_prompts} prompts a trial", flush=True)
    said: Counter[str] = Counter()
    covered = 0
    for number, (speedup, found) in enumerate(twin_trials(options), start=1):
        said[speedup.verdict] += 1
        covered += speedup.ci95 is not None and speedup.ci95[0] <= 1 <= speedup.ci95[1]
        print(f"  {number:2}: {shown(speedup, found)}", flush=True)
    alike = said["no significant difference"]
    print(f"  {alike} of {options.trials} without a significant difference; intervals hold 1 in {covered}")
    return alike >= WANTED * options.trials


def runs_twice(options: argparse.Namespace) -> tuple[bool, bool]:
    """The second and the third claim."""
    print(f"\nthe same run twice, {options.prompts} prompts", flush=True)
    runs: list[Metrics] = []
    for number in (1, 2):
        runs.append(whole_run(options, ("slowed", "static_exit:exit_layer=20")))
        for strategy in runs[-1].strategies:
            assert strategy.speed is not None
            assert strategy.speed.speedup is not None
            print(
                f"  {number}, {strategy.label}: {shown(strategy.speed.speedup, runs[-1].baseline.noise)}",
                flush=True,
            )
    slower = all(_speedup(run, 0).verdict == "slower" for run in runs)
    overlapping = all(
        _overlap(_speedup(runs[0], place).ci95, _speedup(runs[1], place).ci95)
        for place in range(len(runs[0].strategies))
    )
    return slower, overlapping


def _speedup(run: Metrics, place: int) -> Speedup:
    speed = run.strategies[place].speed
    assert speed is not None
    assert speed.speedup is not None
    return speed.speedup


def _overlap(first: Interval | None, second: Interval | None) -> bool:
    return first is not None and second is not None and first[0] <= second[1] and second[0] <= first[1]


def main() -> int:
    """Print the machine, every comparison, and which claims hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--trial-prompts", type=int, default=10, help="prompts of each trial")
    parser.add_argument("--prompts", type=int, default=30, help="of the whole runs")
    parser.add_argument("--tokens", type=int, default=32, help="generated for each prompt of the whole runs")
    parser.add_argument("--trial-tokens", type=int, default=16, help="of the trials")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    register()
    machine, began = hardware(), time.perf_counter()
    print(
        f"machine: {machine.cpu}, {machine.cores} cores, {torch.get_num_threads()} threads, load "
        f"{load_average()}; torch {versions()['torch']}; {MODEL} {options.dtype}"
    )
    alike = identical_strategies(options)
    slower, overlapping = runs_twice(options)
    print(f"\nin {time.perf_counter() - began:.0f} s:")
    claims = {
        "identical strategies are not told apart": alike,
        "a strategy slowed by 10 % is found slower": slower,
        "the same run twice gives overlapping intervals": overlapping,
    }
    for claim, holds in claims.items():
        print(f"  {'holds' if holds else 'DOES NOT HOLD'}: {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
