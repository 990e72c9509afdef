"""Confidence: each measure against its definition, computed from transformers' own hidden states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from lsbench.engine import ExitView, Session
from lsbench.spec import Sampling
from lsbench.strategy import Preparation
from lsbench_strategies.confidence import SCALES, Confidence, decayed_threshold
from lsbench_strategies.frequent_tokens import frequent_tokens

MEASURES = ("softmax_max", "softmax_margin", "entropy", "hidden_cosine")
# On the tiny model some tokens reach these early, some late and some never.
REACHED = {"softmax_max": 0.4, "softmax_margin": 0.2, "entropy": 0.4, "hidden_cosine": 0.88}
PROMPTS = [(5, 17, 3, 44, 8, 21, 9), (60,), (2, 33, 14)]
DRAWN = Sampling(temperature=1.2)


def decoded(bench, prompt: Sequence[int], tokens: Sequence[int]) -> Iterator[tuple[list[Tensor], Tensor]]:
    """For each token that was run: its hidden states at depths 0..5 and the head's logits [6, V] there.

    With ``kv_fill=recompute`` a token sees exact keys and values only: those of one full pass.
    """
    model = bench.stack.model
    with torch.inference_mode():
        ids = torch.tensor([[*prompt, *tokens[:-1]]])
        states = model(ids, output_hidden_states=True).hidden_states[:6]
        for place in range(len(prompt), ids.shape[1]):
            hidden = [state[0, place] for state in states]
            yield hidden, model.lm_head(model.model.norm(torch.stack(hidden)))


def value(measure: str, hidden: list[Tensor], logits: Tensor, layer: int) -> float:
    if measure == "hidden_cosine":
        before, after = hidden[layer - 1], hidden[layer]
        return float(before @ after / before.norm() / after.norm())
    probabilities = sorted(torch.softmax(logits[layer], -1).tolist(), reverse=True)
    if measure == "softmax_max":
        return probabilities[0]
    if measure == "softmax_margin":
        return probabilities[0] - probabilities[1]
    return 1 + sum(p * math.log(p) for p in probabilities) / math.log(len(probabilities))


@pytest.mark.parametrize(
    "candidates", [(2, 5), *(pytest.param(c, marks=pytest.mark.slow) for c in ((1, 2, 3, 4, 5), (3,)))]
)
@pytest.mark.parametrize("measure", MEASURES)
def test_a_token_stops_at_the_first_candidate_that_reaches_the_threshold(
    bench, measure: str, candidates: tuple[int, ...]
) -> None:
    threshold, depths = REACHED[measure], set()
    strategy = bench.make(
        f"dynamic_exit:confidence={measure},threshold={threshold},"
        f"candidate_layers={list(candidates)},kv_fill=recompute".replace(" ", "")
    )
    for prompt in PROMPTS:
        output = bench.run(strategy, prompt, 30, DRAWN)
        expected = [
            next((c for c in candidates if value(measure, hidden, logits, c) >= threshold), 6)
            for hidden, logits in decoded(bench, prompt, output.tokens)
        ]
        assert list(output.depths[1:]) == expected
        depths |= set(expected)
    assert {candidates[-1], 6} <= depths
    assert len(depths) > min(len(candidates), 4), "candidates stop some tokens, and some run on"


@pytest.mark.parametrize("measure", MEASURES)
def test_the_measure_is_what_its_definition_says(bench, measure: str) -> None:
    for prompt in PROMPTS:
        first = bench.run("autoregressive", prompt, 2).tokens
        hidden, logits = next(decoded(bench, prompt, first))
        for layer in (1, 2, 4):
            expected = value(measure, hidden, logits, layer)
            for threshold, depth in ((expected - 1e-5, layer), (expected + 1e-5, 6)):
                text = f"confidence={measure},threshold={threshold!r},candidate_layers={layer}"
                assert bench.run(f"dynamic_exit:{text}", prompt, 2).depths[1] == depth


@pytest.mark.parametrize("measure", ["softmax_max", "softmax_margin", "entropy"])
def test_with_check_vocab_it_is_that_of_a_softmax_over_the_frequent_tokens(
    bench, preparation: Preparation, measure: str
) -> None:
    few = frequent_tokens(preparation, 12)
    for prompt in PROMPTS:
        first = bench.run("autoregressive", prompt, 2).tokens
        hidden, logits = next(decoded(bench, prompt, first))
        expected = value(measure, hidden, logits[:, few], 4)
        assert abs(expected - value(measure, hidden, logits, 4)) > 1e-3
        for threshold, depth in ((expected - 1e-5, 4), (expected + 1e-5, 6)):
            text = f"confidence={measure},threshold={threshold!r},candidate_layers=4,check_vocab=12"
            assert bench.run(f"dynamic_exit:{text}", prompt, 2).depths[1] == depth


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_patience_counts_agreements_in_a_row_and_anew_for_each_token(bench, patience: int) -> None:
    candidates, depths = (1, 2, 4, 5), set()
    strategy = bench.make(
        f"dynamic_exit:confidence=patience,threshold={patience},candidate_layers=[1,2,4,5],kv_fill=recompute"
    )
    for prompt in PROMPTS:
        output = bench.run(strategy, prompt, 40)
        expected = []
        for _, logits in decoded(bench, prompt, output.tokens):
            choices = [int(logits[c].argmax()) for c in candidates]
            runs = (
                c
                for place, c in enumerate(candidates)
                if place >= patience and len(set(choices[place - patience : place + 1])) == 1
            )
            expected.append(next(runs, 6))
        assert list(output.depths[1:]) == expected
        depths |= set(expected)
    assert depths == {*candidates[patience:], 6}


def test_patience_is_broken_by_a_disagreement_and_forgotten_between_tokens() -> None:
    def counts(choices: Sequence[int]) -> list[float]:
        return [confidence.of(view(torch.nn.functional.one_hot(torch.tensor(c), 5).float())) for c in choices]

    confidence = Confidence("patience")
    confidence.begin_token()
    assert counts([3, 3, 3, 1, 1, 3, 4, 4]) == [0, 1, 2, 0, 1, 0, 0, 1]
    confidence.begin_token()
    assert counts([4, 4]) == [0, 1]


@pytest.mark.parametrize("measure", ["softmax_max", "softmax_margin", "entropy"])
def test_from_nothing_known_to_certainty(measure) -> None:
    confidence = Confidence(measure)
    assert confidence.of(view(torch.zeros(8))) == pytest.approx(
        1 / 8 if measure == "softmax_max" else 0, abs=1e-6
    )
    certain = torch.zeros(8)
    certain[3] = 500
    assert confidence.of(view(certain)) == pytest.approx(1)
    rising = [confidence.of(view(certain * share)) for share in (0.001, 0.002, 0.004, 0.008, 0.016)]
    assert rising == sorted(set(rising))


def test_what_is_not_a_number_stops_nothing(bench) -> None:
    broken = torch.full((8,), math.nan)
    for measure in MEASURES:
        policy = bench.make(f"dynamic_exit:confidence={measure},threshold=0").policy(None)
        assert not policy.should_exit(3, view(broken))


def test_a_threshold_decays_as_in_calm() -> None:
    # By hand: 0.9 * 0.8 + 0.1 * exp(-0.25 * t).
    assert [round(decayed_threshold(0.8, 0.25, t), 6) for t in (0, 4, 8)] == [0.82, 0.756788, 0.733534]
    assert decayed_threshold(0.8, 0.25, 10_000) == pytest.approx(0.72)
    assert decayed_threshold(1, 0.25, 0) == 1
    assert 0 <= decayed_threshold(0, 0.25, 0) <= 1


@pytest.mark.parametrize("measure", MEASURES)
def test_each_token_is_held_to_the_threshold_of_its_place(bench, measure: str) -> None:
    threshold, decay = REACHED[measure] + 0.05, 0.15
    strategy = bench.make(
        f"dynamic_exit:confidence={measure},threshold={threshold!r},threshold_decay={decay},"
        "candidate_layers=[1,2,3,4,5],kv_fill=recompute"
    )
    otherwise = False
    for prompt in PROMPTS:
        output = bench.run(strategy, prompt, 40, DRAWN)
        expected, undecayed = [], []
        for step, (hidden, logits) in enumerate(decoded(bench, prompt, output.tokens)):
            wanted = 0.9 * threshold + 0.1 * math.exp(-decay * step)
            values = {c: value(measure, hidden, logits, c) for c in range(1, 6)}
            expected.append(next((c for c in values if values[c] >= wanted), 6))
            undecayed.append(next((c for c in values if values[c] >= threshold), 6))
        assert list(output.depths[1:]) == expected
        otherwise |= expected != undecayed
    assert otherwise


@pytest.mark.parametrize("measure", SCALES)
def test_in_a_batch_each_sequence_stops_where_it_would_alone(bench, measure: str) -> None:
    threshold = REACHED.get(measure, 1)
    strategy = bench.make(f"dynamic_exit:confidence={measure},threshold={threshold},min_layer=1")
    prompts, rows = torch.tensor([(5, 17, 3), (2, 33, 14)]), torch.tensor([(1, 2, 3, 4), (40, 41, 42, 43)])
    together = Session(bench.stack, batch=2)
    together.prefill(prompts)
    both = together.forward(rows, [strategy.policy(None), strategy.policy(None)])
    assert len(set(both.layers_run.ravel().tolist())) > 1
    for sequence in range(2):
        alone = Session(bench.stack)
        alone.prefill(prompts[sequence : sequence + 1])
        single = alone.forward(rows[sequence : sequence + 1], strategy.policy(None))
        assert single.layers_run[0].tolist() == both.layers_run[sequence].tolist()
        torch.testing.assert_close(single.logits[0], both.logits[sequence], rtol=0, atol=1e-9)


def view(logits: Tensor) -> ExitView:
    """A position whose head gives ``logits`` [V]."""
    return ExitView(logits, logits, lambda hidden: hidden)
