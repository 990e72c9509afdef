"""How hard the input is: each signal against its definition, computed from transformers' own outputs."""

import math

import pytest
import torch

from lsbench.engine import DepthPlan
from lsbench.strategy import Preparation
from lsbench_strategies import difficulty as signals
from lsbench_strategies.difficulty import LadderPolicy, calibrate_thresholds

SIGNALS = ("previous_entropy", "previous_margin", "early_cosine", "prompt_perplexity")
PROMPTS = [
    tuple(torch.randint(0, 61, (9,), generator=torch.Generator().manual_seed(n)).tolist()) for n in range(8)
]


def expected(bench, signal: str, prompt: tuple[int, ...], early_layer: int = 1) -> float:
    """The difficulty of the first token decoded after ``prompt``."""
    model = bench.stack.model
    with torch.inference_mode():
        output = model(torch.tensor([prompt]))
        logits = output.logits[0]
        if signal == "early_cosine":
            longer = (*prompt, int(logits[-1].argmax()))
            states = model(torch.tensor([longer]), output_hidden_states=True).hidden_states
            before, after = states[early_layer - 1][0, -1], states[early_layer][0, -1]
            return 1 - float(torch.nn.functional.cosine_similarity(before, after, dim=0))
        probabilities = torch.softmax(logits, -1)
        if signal == "previous_entropy":
            last = probabilities[-1]
            return float(-(last * last.log()).sum()) / math.log(61)
        if signal == "previous_margin":
            first, second = torch.sort(probabilities[-1], descending=True).values[:2]
            return 1 - float(first - second)
        told = probabilities[torch.arange(8), torch.tensor(prompt[1:])]
        return -float(told.log().mean()) / math.log(61)


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_token_leaves_layers_out_exactly_where_it_is_easier_than_the_threshold(bench, signal: str) -> None:
    for prompt in PROMPTS:
        difficulty = expected(bench, signal, prompt)
        for threshold, depth in ((difficulty - 1e-4, 6.0), (difficulty + 1e-4, 4.0)):
            options = f"difficulty={signal},thresholds=[{threshold!r}],skip_set=[4,5]"
            assert bench.run(f"dynamic_skip:{options}", prompt, 2).depths[1] == depth, (prompt, threshold)


@pytest.mark.parametrize("early_layer", [1, 2, 4])
def test_early_layer_is_the_layer_whose_cosine_is_read(bench, early_layer: int) -> None:
    prompt = PROMPTS[0]
    difficulty = expected(bench, "early_cosine", prompt, early_layer)
    for threshold, depth in ((difficulty - 1e-4, 6.0), (difficulty + 1e-4, 5.0)):
        options = f"difficulty=early_cosine,early_layer={early_layer},thresholds=[{threshold!r}],skip_set=[5]"
        assert bench.run(f"dynamic_skip:{options}", prompt, 2).depths[1] == depth


def test_a_prompt_of_one_token_has_no_perplexity_and_runs_in_full(bench) -> None:
    output = bench.run("dynamic_skip:difficulty=prompt_perplexity,thresholds=[9],skip_set=[4,5]", (5,), 6)
    assert output.depths == (6.0,) * 6


def test_prompt_perplexity_gives_a_request_one_rung(bench) -> None:
    strategy = bench.make("dynamic_skip:difficulty=prompt_perplexity,skip_set=[2,3,4,5],rungs=4")
    depths = {bench.run(strategy, prompt, 6).depths[1:] for prompt in PROMPTS}
    assert all(len(set(each)) == 1 for each in depths)
    assert len(depths) > 1


def test_rungs_are_picked_by_where_difficulty_falls_between_thresholds() -> None:
    plans = [DepthPlan.skipping(6, range(12 - 2 * rung, 12)) for rung in range(4)]
    policy = LadderPolicy("previous_entropy", (0.2, 0.5, 0.8), plans, 1, 1.0)
    picked = [
        plans.index(policy._rung(difficulty)) for difficulty in (0.0, 0.19, 0.2, 0.4, 0.5, 0.7, 0.8, 1.0)
    ]
    assert picked == [3, 3, 2, 2, 1, 1, 0, 0]


def test_what_is_not_a_number_runs_in_full() -> None:
    plans = [DepthPlan.full(6), DepthPlan.exit_at(6, 2)]
    assert LadderPolicy("early_cosine", (0.5,), plans, 1, 1.0)._rung(math.nan).is_full


@pytest.mark.parametrize("rungs", [1, 3, 7])
@pytest.mark.parametrize("signal", SIGNALS)
def test_calibrated_thresholds_spread_the_calibration_tokens_evenly(
    bench, preparation: Preparation, signal: str, rungs: int
) -> None:
    thresholds = calibrate_thresholds(preparation, signal, rungs, 2)  # type: ignore[arg-type]
    assert len(thresholds) == rungs
    assert list(thresholds) == sorted(set(thresholds))
    difficulties = [
        value for prompt in preparation.calibration_prompts for value in calibrated(bench, signal, prompt)
    ]
    counts = [0] * (rungs + 1)
    for difficulty in difficulties:
        counts[sum(difficulty < threshold for threshold in thresholds)] += 1
    assert sum(counts) == (8 if signal == "prompt_perplexity" else 240)
    assert max(counts) - min(counts) <= 1


def test_a_signal_is_measured_once_however_many_candidates_calibrate_by_it(
    bench, preparation: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def counted(*arguments):
        measured.append(arguments[2:])
        return difficulties(*arguments)

    difficulties = signals._difficulties
    monkeypatch.setattr(signals, "_difficulties", counted)
    fresh = Preparation(bench.stack, preparation.calibration_prompts[:1])
    three = calibrate_thresholds(fresh, "early_cosine", 3, 2)
    assert calibrate_thresholds(fresh, "early_cosine", 1, 2) == (three[1],)
    assert calibrate_thresholds(fresh, "early_cosine", 3, 1) != three
    calibrate_thresholds(fresh, "previous_entropy", 3, 1)
    calibrate_thresholds(fresh, "previous_entropy", 3, 2)
    assert measured == [("early_cosine", 2), ("early_cosine", 1), ("previous_entropy", 1)]


def calibrated(bench, signal: str, prompt: tuple[int, ...]) -> list[float]:
    """The difficulties of a calibration prompt's tokens, from transformers' own outputs."""
    model = bench.stack.model
    with torch.inference_mode():
        output = model(torch.tensor([prompt]), output_hidden_states=True)
    if signal == "early_cosine":
        before, after = output.hidden_states[1][0].float(), output.hidden_states[2][0].float()
        return (1 - torch.nn.functional.cosine_similarity(before, after, dim=-1)).tolist()
    probabilities = torch.softmax(output.logits[0], -1)
    if signal == "previous_entropy":
        return (-(probabilities * probabilities.log()).sum(-1) / math.log(61)).tolist()
    if signal == "previous_margin":
        top = torch.sort(probabilities, descending=True).values
        return (1 - (top[:, 0] - top[:, 1])).tolist()
    told = probabilities[torch.arange(len(prompt) - 1), torch.tensor(prompt[1:])]
    return [-float(told.log().mean()) / math.log(61)]
