"""How often a search finds the best skip set in 60 trials, where it is known: by TPE, and by drawing.

Of twelve layers three, other ones for each seed, change nothing, and a draft that leaves out just these keeps
every token. What is made large is the speedup of drafting four tokens.

- *model*: a random model in which those layers are exact no-ops. A trial is predicted, as in a real search,
  by what the model wrote, with costs that are given: an MLP takes twice as long as an attention. Block
  influence is measured, and is 0 where a layer changes nothing. What is found is as good as leaving out just
  these.
- *ranked*: the model is a formula, in which each sub-layer left out beside the right ones costs a tenth of
  the tokens that are accepted; block influence is known.
- *blind*: the same, but it tells nothing: the six right sub-layers stand anywhere among twelve candidates
  (4096 sets).

    python tests/benchmarks/tpe_skip_set.py [--seeds 10] [--first 0] [--trials 60]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lsbench.catalog import resolve_model
from lsbench.engine.loading import load_tokenizer
from lsbench.engine.mlp import GatedMLP
from lsbench.engine.random_model import random_stack
from lsbench.records import StepCost
from lsbench.spec import GenerateRequest, RunSpec, StrategyChoice, parse_strategy
from lsbench.strategy import Preparation
from lsbench.strategy.registry import resolve
from lsbench.tuning.judge import Judge, Judgement
from lsbench.tuning.predict import predict
from lsbench.tuning.proposals import Proposals
from lsbench.tuning.proposing import proposals_of
from lsbench.tuning.references import make_references
from lsbench.tuning.skip_sets import SkipSets, ranking
from lsbench.tuning.space_building import build_space
from lsbench.tuning.spaces import Space
from lsbench.tuning.spec import TuneSpec

LAYERS, IDLE, DRAFTED = 12, 3, 4
VOCABULARY = 61
WEIGHTS = {"attention": 1.0, "mlp": 2.0}
COSTS = tuple(
    StepCost(
        width=width,
        context=32,
        layer_s=3e-3,
        attention_s=1e-3 if width == 1 else None,
        mlp_s=2e-3 if width == 1 else None,
        head_s=1e-3,
        fixed_s=1e-3,
    )
    for width in (1, DRAFTED + 1)
)
FIXED = (
    "dynamic_skip:difficulty=previous_entropy,max_skip_ratio=0.95,granularity=sublayer,"
    "rungs=1,kv_fill=propagate"
)


class Problem(Protocol):
    """What is searched, and whether it is found."""

    @property
    def space(self) -> Space:
        """Of skip sets."""
        ...

    def value(self, choice: StrategyChoice) -> float:
        """The speedup."""
        ...

    def is_best(self, choice: StrategyChoice) -> bool:
        """Whether nothing is faster than it, as far as is known."""
        ...


def idle_layers(random: np.random.Generator) -> set[int]:
    """Those that change nothing."""
    return {int(layer) for layer in random.choice(np.arange(1, LAYERS + 1), IDLE, replace=False)}


def skipped(choice: StrategyChoice) -> list[str]:
    """As sub-layers; the default, which finds a set of its own, is taken to leave out none."""
    given = choice.options.get("skip_set", [])
    assert isinstance(given, list)
    return [str(part) for part in given]


class Model:
    """A real one, if a small one.

    Args:
        seed: of its weights, and says which layers change nothing.
        tokenizer: any that knows its tokens.
    """

    def __init__(self, seed: int, tokenizer: PreTrainedTokenizerBase) -> None:
        random = np.random.default_rng(seed)
        idle = idle_layers(random)
        self._stack = random_stack(LAYERS, VOCABULARY, seed)
        for layer in idle:
            block = self._stack.blocks[layer - 1]
            assert isinstance(block.mlp, GatedMLP)
            block.output.weight.zero_()
            block.mlp.down.weight.zero_()
        prompts = [tuple(int(token) for token in random.integers(0, VOCABULARY, 12)) for _ in range(5)]
        requests = [_request(number, prompt) for number, prompt in enumerate(prompts[:3])]
        self._preparation = Preparation(self._stack, tuple(prompts[3:]))
        self._judge = Judge(make_references(self._stack, tokenizer, requests, f"random {seed}"), COSTS)
        influence = self._preparation.influence.tolist()
        parts = [(_part(place), influence[place], _weight(_part(place))) for place in range(2 * LAYERS)]
        self.space = build_space(
            parse_strategy(FIXED), LAYERS, skip_sets=SkipSets(ranking(parts), "choices", 0.5 + 1e-9)
        )
        self.best = self._speedup([_part(place) for place in range(2 * LAYERS) if place // 2 + 1 in idle])

    def value(self, choice: StrategyChoice) -> float:
        """The speedup."""
        return self._speedup(skipped(choice))

    def is_best(self, choice: StrategyChoice) -> bool:
        """Whether it is as good as leaving out just what changes nothing."""
        return self.value(choice) >= self.best - 1e-9

    def _speedup(self, left_out: Sequence[str]) -> float:
        if not left_out:
            return 1.0
        draft = f"draft=dynamic_skip,draft.skip_set=[{','.join(left_out)}],draft.thresholds=[2]"
        text = f"self_speculative:{draft},draft.kv_fill=propagate,num_speculations={DRAFTED}"
        strategy = resolve(parse_strategy(text))
        strategy.prepare(self._preparation)
        found = self._judge.judge(strategy)
        assert isinstance(found, Judgement)
        return predict(found, COSTS, LAYERS).speedup


def _part(place: int) -> str:
    return f"{place // 2 + 1}.{'mlp' if place % 2 else 'attention'}"


def _request(number: int, prompt: Sequence[int]) -> GenerateRequest:
    return GenerateRequest(
        task="random",
        doc_id=number,
        arguments_sha256="",
        prompt="",
        prompt_tokens=tuple(prompt),
        max_new_tokens=32,
    )


class Formula:
    """One model as a formula.

    Args:
        seed: says which layers change nothing.
        ranked: whether block influence tells.
    """

    def __init__(self, seed: int, ranked: bool) -> None:
        random = np.random.default_rng(seed)
        self.idle = idle_layers(random)
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
        left_out = skipped(choice)
        saved = sum(map(_weight, left_out)) / (LAYERS * sum(WEIGHTS.values()))
        agreement = 0.9 ** sum(not self._right(part) for part in left_out)
        tokens = sum(agreement**place for place in range(DRAFTED + 1))
        return tokens / (DRAFTED * (1 - saved) + 1)

    def is_best(self, choice: StrategyChoice) -> bool:
        """Whether it leaves out what changes nothing, and no more."""
        return set(skipped(choice)) == self.best

    def _right(self, part: str) -> bool:
        return int(part.split(".")[0]) in self.idle


def _weight(part: str) -> float:
    return WEIGHTS[part.split(".")[1]]


def found_after(problem: Problem, proposals: Proposals) -> int | None:
    """The trial that was the best set, counted from 1; None where none was."""
    while (proposal := proposals.next()) is not None:
        if problem.is_best(proposal.choice):
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
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(resolve_model("smollm2-135m-instruct").path)
    kinds: dict[str, Callable[[int], Problem]] = {
        "model": lambda seed: Model(seed, tokenizer),
        "ranked": lambda seed: Formula(seed, ranked=True),
        "blind": lambda seed: Formula(seed, ranked=False),
    }
    ways = {"TPE": "hyperopt", "drawing": "random"}
    for knows, make in kinds.items():
        for name, way in ways.items():
            after = []
            for seed in range(given.first, given.first + given.seeds):
                problem = make(seed)
                spec = asked(way, seed, given.trials)
                after.append(found_after(problem, proposals_of(spec, problem.space)))
            times = sum(each is not None for each in after)
            told = ", ".join("-" if each is None else str(each) for each in after)
            print(f"{knows:6} {name:8} found by {times:2} of {given.seeds} seeds, after {told}", flush=True)


if __name__ == "__main__":
    main()
