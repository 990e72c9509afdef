"""Every option of ``dynamic_exit`` acts, those that could not are refused, and checks cost what they must."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lsbench.engine import Session
from lsbench.engine.cache import APPROXIMATE, EXACT, MASKED, PENDING
from lsbench.engine.linear import Linear
from lsbench.errors import BadInput
from lsbench.spec import ScoreWindow, parse_strategy
from lsbench.strategy.registry import load_strategy, resolve
from lsbench_strategies.confidence import SCALES

MIXED = "dynamic_exit:threshold=0.4,candidate_layers=[1,2,3,4,5]"
REACHED = {
    "softmax_max": 0.4,
    "softmax_margin": 0.2,
    "entropy": 0.4,
    "hidden_cosine": 0.88,
    "patience": 1,
}
WINDOW = ScoreWindow(context=(5, 17, 3, 44), continuation=tuple(torch.arange(0, 60, 3).tolist()))


def scored(bench, text: str):
    return bench.make(text).score(Session(bench.stack), WINDOW)


class TestEveryOptionActs:
    def test_confidence(self, bench) -> None:
        depths = {
            measure: scored(
                bench, f"dynamic_exit:confidence={measure},threshold={threshold},min_layer=1"
            ).depth
            for measure, threshold in REACHED.items()
        }
        assert len(set(depths.values())) == 5
        assert all(len(set(depth[1:])) > 1 for depth in depths.values())

    @pytest.mark.parametrize("measure", SCALES)
    def test_threshold(self, bench, measure: str) -> None:
        thresholds = (1, 2, 3) if measure == "patience" else (0.1, 0.3, 0.45, 0.95)
        if measure == "hidden_cosine":
            thresholds = (-0.5, 0.6, 0.8, 0.9, 0.99)
        text = f"dynamic_exit:confidence={measure},min_layer=1,kv_fill=recompute,threshold="
        means = [np.mean(scored(bench, f"{text}{threshold}").depth[1:]) for threshold in thresholds]
        assert means == sorted(set(means))

    @pytest.mark.parametrize("measure", SCALES)
    def test_threshold_by_default(self, bench, measure: str) -> None:
        text = f"dynamic_exit:confidence={measure},min_layer=1"
        named = bench.make(f"{text},threshold={SCALES[measure].default}")  # type: ignore[index]
        default = bench.make(text)
        assert bench.run(default, count=30).emitted == bench.run(named, count=30).emitted
        assert default.policy(None)._threshold == SCALES[measure].default  # type: ignore[index]
        help_text = load_strategy("dynamic_exit").Options.model_fields["threshold"].description or ""
        assert f"{measure} {SCALES[measure].default:g}" in help_text  # type: ignore[index]

    def test_threshold_decay(self, bench) -> None:
        text = "dynamic_exit:threshold=0.5,min_layer=1,kv_fill=recompute"
        depths = {decay: scored(bench, f"{text},threshold_decay={decay}").depth for decay in (0.01, 0.2, 2)}
        plain = scored(bench, text).depth
        assert len({plain, *depths.values()}) == 4
        assert sum(depths[0.01]) > sum(depths[0.2]) > sum(depths[2])
        # What falls with the place of a token lets the same token stop earlier, never later.
        assert all(late <= early for early, late in zip(depths[0.01], depths[2], strict=True))

    def test_min_layer(self, bench) -> None:
        least = [
            min(bench.run(f"dynamic_exit:threshold=0,min_layer={layer}", count=4).depths)
            for layer in range(1, 6)
        ]
        assert least == [1, 2, 3, 4, 5]
        assert min(bench.run("dynamic_exit:threshold=0").depths) == 3, "L / 2 unless given"
        listed = bench.run("dynamic_exit:threshold=0,candidate_layers=[1,2,4],min_layer=2", count=4)
        assert listed.depths == (6, 2, 2, 2)

    def test_candidate_layers(self, bench) -> None:
        seen: dict[str, set[float]] = {}
        for layers in ("[2]", "[2,4]", "[1,3,5]", "[5,1,3]", "4", "auto"):
            text = f"dynamic_exit:confidence=hidden_cosine,threshold=0.85,candidate_layers={layers}"
            seen[layers] = set(scored(bench, text).depth)
        assert seen["[2]"] == {2, 6}
        assert seen["[2,4]"] == {2, 4, 6}
        assert seen["[1,3,5]"] == seen["[5,1,3]"] == {3, 5, 6}
        assert seen["4"] == {4, 6}
        assert seen["auto"] <= {3, 4, 5, 6}

    def test_check_vocab(self, bench) -> None:
        for measure in ("softmax_max", "softmax_margin", "entropy", "patience"):
            text = f"dynamic_exit:confidence={measure},threshold={REACHED[measure]},min_layer=1"
            text = f"{text},kv_fill=recompute"
            whole = scored(bench, text)
            parts = [scored(bench, f"{text},check_vocab={count}") for count in (3, 12, 40)]
            assert len({part.depth for part in (whole, *parts)}) == 4
            # A token that stops at one layer in both is predicted by the same logits, of all tokens.
            for part in parts:
                same = [
                    i
                    for i, pair in enumerate(zip(part.depth, whole.depth, strict=True))
                    if len(set(pair)) == 1
                ]
                assert len(same) > 1
                assert np.allclose(
                    [part.logprobs[i] for i in same], [whole.logprobs[i] for i in same], rtol=0, atol=1e-9
                )

    def test_kv_fill(self, bench) -> None:
        results = {
            fill: scored(bench, f"{MIXED},kv_fill={fill}") for fill in ("recompute", "propagate", "mask")
        }
        assert len({result.logprobs for result in results.values()}) == 3
        assert scored(bench, MIXED) == results["recompute"], "the default"

    def test_kv_fill_in_the_cache(self, bench) -> None:
        states = {}
        for fill in ("recompute", "propagate", "mask"):
            output = bench.run(f"dynamic_exit:threshold=0,candidate_layers=3,kv_fill={fill}", count=6)
            states[fill] = output.session.cache.state[0, 7:12, 3:]
            assert (output.session.cache.state[0, 7:12, :3] == EXACT).all()
        assert (states["recompute"] == PENDING).all()
        assert (states["mask"] == MASKED).all()
        assert (states["propagate"][:, 0] == EXACT).all()
        assert (states["propagate"][:, 1:] == APPROXIMATE).all()

    def test_no_option_is_missing_from_these_tests(self) -> None:
        tested = {name.removeprefix("test_") for name in vars(type(self)) if name.startswith("test_")}
        assert set(load_strategy("dynamic_exit").Options.model_fields) <= tested


@pytest.mark.parametrize(
    ("layers", "options", "expected"),
    [
        (30, "", (15, 18, 21, 23, 26, 29)),
        (30, "min_layer=10", (10, 14, 18, 21, 25, 29)),
        (30, "min_layer=27", (27, 28, 29)),
        (30, "min_layer=29", (29,)),
        (24, "", (12, 14, 16, 19, 21, 23)),
        (6, "", (3, 4, 5)),
        (2, "", (1,)),
        (30, "candidate_layers=[20,12,29]", (12, 20, 29)),
        (30, "candidate_layers=[12,20,29],min_layer=13", (20, 29)),
    ],
)
def test_candidates_are_at_even_distances(layers: int, options: str, expected: tuple[int, ...]) -> None:
    strategy = resolve(parse_strategy(f"dynamic_exit:{options}" if options else "dynamic_exit"))
    strategy.check(layers)
    assert strategy.candidates(layers) == expected  # type: ignore[attr-defined]
    gaps = np.diff(expected)
    assert options.startswith("candidate") or gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_candidates_are_layers_of_the_model_at_every_depth() -> None:
    strategy = resolve(parse_strategy("dynamic_exit"))
    for layers in range(2, 90):
        candidates = strategy.candidates(layers)  # type: ignore[attr-defined]
        assert list(candidates) == sorted(set(candidates))
        assert (candidates[0], candidates[-1]) == (-(-layers // 2), layers - 1)
        assert len(candidates) == min(6, layers // 2)


Products = Callable[[], tuple[int, int]]


@pytest.fixture
def products(bench, monkeypatch) -> Products:
    """Rows that went through the whole head and through 9 of its rows, since asked last."""
    rows = {61: 0, 9: 0}
    forward = Linear.forward

    def counted(self: Linear, x: torch.Tensor) -> torch.Tensor:
        if self.out_features in rows:
            rows[self.out_features] += x.shape[0]
        return forward(self, x)

    monkeypatch.setattr(Linear, "forward", counted)

    def since() -> tuple[int, int]:
        counts = rows[61], rows[9]
        rows.update({61: 0, 9: 0})
        return counts

    return since


class TestChecksCostWhatTheyMust:
    """Each token costs the head once for itself; beyond that only a check that did not stop it does."""

    candidates = (2, 3, 5)

    def checks(self, depth: float) -> int:
        return sum(layer <= depth for layer in self.candidates)

    @pytest.mark.parametrize("measure", ["softmax_max", "softmax_margin", "entropy", "patience"])
    def test_the_head_is_applied_at_candidates_to_one_position_and_reused_at_the_exit(
        self, bench, products: Products, measure: str
    ) -> None:
        text = f"dynamic_exit:confidence={measure},threshold={REACHED[measure]},candidate_layers=[2,3,5]"
        strategy = bench.make(text)
        products()
        depths = bench.run(strategy, count=30).depths
        assert {6.0} < set(depths)
        # The first token is the prefill's.
        expected = 1 + sum(self.checks(depth) + (depth == 6) for depth in depths[1:])
        assert products() == (expected, 0)

    def test_hidden_cosine_never_touches_the_head(self, bench, products: Products) -> None:
        strategy = bench.make("dynamic_exit:confidence=hidden_cosine,threshold=0.8,candidate_layers=[2,3,5]")
        products()
        depths = bench.run(strategy, count=30).depths
        assert {6.0} < set(depths)
        assert products() == (30, 0)

    @pytest.mark.parametrize("measure", ["softmax_max", "softmax_margin", "entropy", "patience"])
    def test_check_vocab_leaves_the_whole_head_to_the_exit(
        self, bench, products: Products, measure: str
    ) -> None:
        threshold = 1 if measure == "patience" else 0.6
        strategy = bench.make(
            f"dynamic_exit:confidence={measure},threshold={threshold},candidate_layers=[2,3,5],check_vocab=9"
        )
        products()
        depths = bench.run(strategy, count=30).depths
        assert {6.0} < set(depths)
        assert products() == (30, sum(self.checks(depth) for depth in depths[1:]))

    def test_scoring_costs_the_same(self, bench, products: Products) -> None:
        strategy = bench.make("dynamic_exit:threshold=0.4,candidate_layers=[2,3,5]")
        products()
        depth = strategy.score(Session(bench.stack), WINDOW).depth
        assert products() == (1 + sum(self.checks(d) + (d == 6) for d in depth[1:]), 0)


def test_a_threshold_that_nothing_reaches_is_the_full_model(bench) -> None:
    assert bench.run("dynamic_exit:confidence=hidden_cosine,threshold=1,min_layer=1").depths == (6,) * 24
    assert bench.run("dynamic_exit:threshold=1").tokens == bench.run("autoregressive").tokens


def test_a_threshold_that_everything_reaches_is_the_static_exit(bench) -> None:
    for layer in (1, 3, 5):
        for fill in ("recompute", "propagate", "mask"):
            ours = bench.run(f"dynamic_exit:threshold=0,candidate_layers={layer},kv_fill={fill}")
            static = bench.run(f"static_exit:exit_layer={layer}")
            assert (ours.tokens, ours.depths) == (static.tokens, static.depths)


def test_a_token_that_stops_early_says_how_confident_the_model_was(bench) -> None:
    """What is told is what the choice was made by: softmax_max of the very logits it came from."""
    output = bench.run("dynamic_exit:confidence=softmax_max,threshold=0.4,candidate_layers=[2,3,5]")
    told = [emitted.confidence and emitted.confidence[0] for emitted in output.emitted]
    assert [confidence is not None for confidence in told] == [depth < 6 for depth in output.depths]
    assert 0 < sum(confidence is not None for confidence in told) < len(told)
    assert all(0.4 <= confidence <= 1 for confidence in told if confidence is not None)
    assert len(set(told)) > 2


def test_a_drafted_token_keeps_its_drafts_confidence(bench) -> None:
    emitted = bench.run(
        "self_speculative:draft=dynamic_exit,draft.threshold=0.4,draft.candidate_layers=[2,3,5]"
    ).emitted
    accepted = [each for each in emitted if each.kind == "accepted"]
    told = [confidence for each in accepted for confidence in each.confidence]
    assert [len(each.confidence) for each in accepted] == [len(each.tokens) for each in accepted]
    assert any(confidence is not None and confidence >= 0.4 for confidence in told)
    assert {each.confidence for each in emitted if each.kind != "accepted"} == {None}


def test_patience_by_default_is_attainable_with_few_candidates(bench) -> None:
    output = bench.run("dynamic_exit:confidence=patience,candidate_layers=[1,5]", count=60)
    assert set(output.depths) == {5, 6}


def test_more_tokens_than_the_model_has_are_refused(bench) -> None:
    for count in (61, 5000):
        with pytest.raises(BadInput, match=rf"check_vocab={count}, but the model has 61 tokens in all"):
            bench.make(f"dynamic_exit:check_vocab={count}")
    bench.make("dynamic_exit:check_vocab=60")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("threshold=1.5", "threshold=1.5: with confidence=softmax_max it runs from 0 to 1"),
        ("confidence=entropy,threshold=-0.1", "threshold=-0.1: with confidence=entropy it runs from 0 to 1"),
        ("confidence=softmax_margin,threshold=2", "with confidence=softmax_margin it runs from 0 to 1"),
        ("confidence=hidden_cosine,threshold=-1.5", "with confidence=hidden_cosine it runs from -1 to 1"),
        ("confidence=patience,threshold=1.5", "a whole number of at least 1"),
        ("confidence=patience,threshold=0", "a whole number of at least 1"),
        ("confidence=patience,threshold=3", "threshold=3 needs at least 4 candidate layers, but there are 3"),
        ("confidence=patience,candidate_layers=4", "threshold=1 needs at least 2 candidate layers"),
        (
            "confidence=hidden_cosine,threshold=-0.5,threshold_decay=0.1",
            "with threshold_decay it runs from 0 to 1",
        ),
        ("threshold_decay=0", "threshold_decay must be a number above 0, not 0"),
        (
            "confidence=patience,threshold_decay=0.1",
            "threshold_decay has no meaning with confidence=patience",
        ),
        ("confidence=hidden_cosine,check_vocab=9", "check_vocab has no effect with confidence=hidden_cosine"),
        ("check_vocab=1", "check_vocab must be a whole number of at least 2, not 1"),
        ("min_layer=0", "min_layer must be a whole number of at least 1, not 0"),
        ("min_layer=6", "min_layer names layer 6, the last one"),
        ("min_layer=9", "min_layer names layer 9, but the model has 1..6"),
        ("candidate_layers=[3,6]", "candidate_layers names layer 6, the last one"),
        ("candidate_layers=[3,7]", "candidate_layers names layer 7, but the model has 1..6"),
        ("candidate_layers=[0,3]", "layers count from 1, and 0 is below"),
        ("candidate_layers=[3,3]", "a layer is given twice"),
        ("candidate_layers=[]", "a token could stop nowhere"),
        (
            "candidate_layers=all",
            "candidate_layers must be auto, a list of whole numbers or a whole number, not all",
        ),
        ("candidate_layers=[2,4],min_layer=5", "min_layer=5 leaves none of candidate_layers=[2,4]"),
        (
            "candidate_layers=[2,4],min_layer=2",
            "min_layer=2 has no effect: candidate_layers=[2,4] begin no earlier",
        ),
        ("confidence=softmax_margn", "Did you mean softmax_margin?"),
        ("treshold=0.5", "Did you mean 'threshold'?"),
    ],
)
def test_refuses_in_a_line(refusal, options: str, says: str) -> None:
    assert says in refusal(f"dynamic_exit:{options}")


def test_a_model_of_one_layer_has_nothing_to_leave_out(refusal) -> None:
    assert "a model of one layer" in refusal("dynamic_exit", 1)
