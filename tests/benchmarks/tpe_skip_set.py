"""How often a search finds the best skip set of 60 trials, where it is known: by TPE, and by drawing.

The model is an objective: of twelve layers three, other ones for each seed, change nothing, and a draft that
leaves out just these keeps every token; each sub-layer left out beside them costs a tenth of the tokens that
are accepted. An MLP weighs twice an attention. What is made large is the speedup of drafting four tokens.

- *ranked*: block influence is known, as in a real search, and is exactly 0 where a layer changes nothing.
- *blind*: it tells nothing; the six right sub-layers stand anywhere among twelve candidates (4096 sets).

    python tests/benchmarks/tpe_skip_set.py [--seeds 10] [--first 0] [--trials 60]
"""

from __future__ import annotations

import argparse

import numpy as np

from lsbench.spec import RunSpec, StrategyChoice, parse_strategy
from lsbench.tuning.proposals import Proposals
from lsbench.tuning.proposing import proposals_of
from lsbench.tuning.skip_sets import SkipSets, ranking
from lsbench.tuning.space_building import build_space
from lsbench.tuning.spec import TuneSpec

LAYERS, IDLE, DRAFTED = 12, 3, 4
WEIGHTS = {"attention": 1.0, "mlp": 2.0}
FIXED = (
    "dynamic_skip:difficulty=previous_entropy,max_skip_ratio=0.95,granularity=sublayer,"
    "rungs=1,kv_fill=propagate"
)


class Problem:
    """One model.

    Args:
        seed: says which layers change nothing.
        ranked: whether block influence tells.
    """

    def __init__(self, seed: int, ranked: bool) -> None:
        random = np.random.default_rng(seed)
        self.idle = {int(layer) for layer in random.choice(np.arange(1, LAYERS + 1), IDLE, replace=False)}
        parts = [f"{layer}.{kind}" for layer in range(1, LAYERS + 1) for kind in WEIGHTS]
        self.best = {part for part in parts if self._right(part)}
        others = [part for part in parts if part not in self.best]
        random.shuffle(others)
        candidates = [*sorted(self.best), *others[: len(self.best)]]
        random.shuffle(candidates)
        order = {part: place for place, part in enumerate([*candidates, *others[len(self.best) :]])}
        known = {part: 0.0 if self._right(part) else float(random.uniform(0.05, 0.3)) for part in parts}
        blind = {part: (1 + order[part]) * _weight(part) for part in parts}
        influence = known if ranked else blind
        share = 0.5 if ranked else sum(map(_weight, candidates)) / sum(map(_weight, parts))
        skip_sets = SkipSets(ranking([(p, influence[p], _weight(p)) for p in parts]), "choices", share + 1e-9)
        self.space = build_space(parse_strategy(FIXED), LAYERS, skip_sets=skip_sets)

    def value(self, choice: StrategyChoice) -> float:
        """The speedup."""
        left_out = self.left_out(choice)
        saved = sum(map(_weight, left_out)) / (LAYERS * sum(WEIGHTS.values()))
        agreement = 0.9 ** sum(not self._right(part) for part in left_out)
        tokens = sum(agreement**place for place in range(DRAFTED + 1))
        return tokens / (DRAFTED * (1 - saved) + 1)

    def left_out(self, choice: StrategyChoice) -> set[str]:
        """As sub-layers; the default, which finds a set of its own, is taken to leave out none."""
        given = choice.options.get("skip_set", [])
        assert isinstance(given, list)
        return {str(part) for part in given}

    def _right(self, part: str) -> bool:
        return int(part.split(".")[0]) in self.idle


def _weight(part: str) -> float:
    return WEIGHTS[part.split(".")[1]]


def found_after(problem: Problem, proposals: Proposals) -> int | None:
    """The trial that was the best set, counted from 1; None where none was."""
    while (proposal := proposals.next()) is not None:
        if problem.left_out(proposal.choice) == problem.best:
            return proposal.number + 1
        proposals.tell(proposal.number, problem.value(proposal.choice))
    return None


def asked(search: str, seed: int, trials: int) -> TuneSpec:
    """What a user would ask."""
    run = RunSpec(strategies=(parse_strategy(FIXED),), tasks=("none",))
    return TuneSpec.model_validate({"run": run, "trials": trials, "search": search, "seed": seed})


def main() -> None:
    """Print how often each finds it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trials", type=int, default=60)
    given = parser.parse_args()
    ways = {"TPE": "hyperopt", "drawing": "random"}
    for ranked in (True, False):
        for name, way in ways.items():
            after = []
            for seed in range(given.first, given.first + given.seeds):
                problem = Problem(seed, ranked)
                spec = asked(way, seed, given.trials)
                after.append(found_after(problem, proposals_of(spec, problem.space)))
            times = sum(each is not None for each in after)
            told = ", ".join("-" if each is None else str(each) for each in after)
            knows = "ranked" if ranked else "blind"
            print(f"{knows:6} {name:8} found by {times:2} of {given.seeds} seeds, after {told}", flush=True)


if __name__ == "__main__":
    main()
