"""Every option of ``dynamic_skip`` acts, and those that could not are refused."""

import dataclasses
from pathlib import Path

import pytest
import torch

from lsbench.engine import Session, block_influence
from lsbench.errors import BadInput
from lsbench.spec import ScoreWindow, parse_strategy
from lsbench.strategy.registry import load_strategy, resolve

MIXED = "dynamic_skip:max_skip_ratio=0.5"
SIGNALS = ("previous_entropy", "previous_margin", "early_cosine", "prompt_perplexity")
WINDOW = ScoreWindow(context=(5, 17, 3, 44), continuation=tuple(torch.arange(0, 60, 3).tolist()))


def logprobs(bench, text: str) -> tuple[float, ...]:
    return bench.make(text).score(Session(bench.stack), WINDOW).logprobs


def rungs(bench, text: str) -> list[list[int]]:
    return [sorted(rung) for rung in bench.make(text).ladder.rungs]


class TestEveryOptionActs:
    def test_without_options_depth_differs_from_token_to_token(self, bench) -> None:
        output = bench.run("dynamic_skip")
        assert output.depths[0] == 6.0
        assert len(set(output.depths[1:])) > 1
        assert output.mean_depth < 6.0

    def test_difficulty(self, bench) -> None:
        prompts = [(5, 17, 3), (44, 8), (21, 9, 30, 2), (60, 1)]
        strategies = {signal: bench.make(f"{MIXED},difficulty={signal}") for signal in SIGNALS}
        depths = {
            signal: tuple(bench.run(strategy, prompt).depths for prompt in prompts)
            for signal, strategy in strategies.items()
        }
        assert len(set(depths.values())) == 4

    def test_max_skip_ratio(self, bench) -> None:
        # Under a threshold that no difficulty reaches, every token takes the last rung.
        ratios = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
        depths = [bench.run(f"dynamic_skip:thresholds=[2],max_skip_ratio={r}").mean_depth for r in ratios]
        assert depths == sorted(set(depths), reverse=True)
        for ratio, depth in zip(ratios, depths, strict=True):
            assert 1 - depth / 6 <= ratio + 1e-9

    def test_max_skip_ratio_bounds_an_explicit_set_too(self, bench) -> None:
        whole = bench.run("dynamic_skip:thresholds=[2],skip_set=[5,4,3]")
        part = bench.run("dynamic_skip:thresholds=[2],skip_set=[5,4,3],max_skip_ratio=0.34")
        assert (whole.mean_depth, part.mean_depth) == (3.0, 4.0)

    def test_granularity(self, bench) -> None:
        layers = rungs(bench, "dynamic_skip:max_skip_ratio=0.4,granularity=layer")[-1]
        sublayers = rungs(bench, "dynamic_skip:max_skip_ratio=0.4,granularity=sublayer")[-1]
        assert all(index ^ 1 in layers for index in layers)
        assert not all(index ^ 1 in sublayers for index in sublayers)
        text = "dynamic_skip:thresholds=[2],max_skip_ratio=0.4,granularity="
        assert all(depth == int(depth) for depth in bench.run(text + "layer").depths)
        assert any(depth != int(depth) for depth in bench.run(text + "sublayer").depths)

    def test_thresholds(self, bench) -> None:
        means = [bench.run(f"{MIXED},thresholds=[{t}]").mean_depth for t in (0.5, 0.7, 0.75, 0.95)]
        assert means == sorted(means, reverse=True)
        assert len(set(means)) == 4
        three = bench.run(f"{MIXED},thresholds=[0.6,0.7,0.8]")
        assert len(set(three.depths[1:])) == 4

    def test_rungs(self, bench) -> None:
        for count in (1, 2, 5):
            strategy = bench.make(f"{MIXED},rungs={count}")
            assert len(strategy.ladder.rungs) == count + 1
            depths = {
                depth for prompt in ((5, 17), (1, 2, 3)) for depth in bench.run(strategy, prompt, 40).depths
            }
            assert len(depths) == count + 1
        assert len(rungs(bench, MIXED)) == 4

    def test_skip_set_in_a_list(self, bench) -> None:
        text = "dynamic_skip:thresholds=[2],skip_set="
        assert bench.run(text + "[4]").mean_depth == 5.0
        assert bench.run(text + "4").mean_depth == 5.0
        assert bench.run(text + "[4,2]").mean_depth == 4.0
        attention, mlp = bench.run(text + "4.attention").mean_depth, bench.run(text + "[4.mlp]").mean_depth
        assert 5.0 < mlp < attention < 6.0
        assert attention + mlp == pytest.approx(11.0)
        assert len({logprobs(bench, text + f"[{layer}]") for layer in range(1, 7)}) == 6

    def test_skip_set_in_the_order_of_leaving_out(self, bench) -> None:
        assert rungs(bench, "dynamic_skip:skip_set=[5,3,2]")[1:] == [[8, 9], [4, 5, 8, 9], [2, 3, 4, 5, 8, 9]]
        assert rungs(bench, "dynamic_skip:skip_set=[2,3,5]")[1:] == [[2, 3], [2, 3, 4, 5], [2, 3, 4, 5, 8, 9]]

    def test_skip_set_in_a_file_is_as_in_a_list(self, bench, tmp_path: Path) -> None:
        path = tmp_path / "set.yaml"
        path.write_text("num_layers: 6\nskipped: [5, 2.mlp]\n")
        listed = bench.run("dynamic_skip:skip_set=[5,2.mlp]")
        assert bench.run(f"dynamic_skip:skip_set={path}").emitted == listed.emitted
        assert bench.run("dynamic_skip").emitted != listed.emitted

    def test_early_layer(self, bench) -> None:
        text = "dynamic_skip:difficulty=early_cosine,max_skip_ratio=0.3"
        depths = {early: bench.run(f"{text},early_layer={early}").depths for early in (1, 2, 4)}
        assert len(set(depths.values())) == 3
        for early in (1, 2, 4):
            assert min(min(rung) for rung in rungs(bench, f"{text},early_layer={early}")[1:]) >= 2 * early
        assert bench.run(text).depths == depths[1], "L / 8, at least 1"

    def test_kv_fill(self, bench) -> None:
        # A threshold in the middle: tokens in full read what tokens in part left out.
        text = "dynamic_skip:thresholds=[0.72],skip_set=[3,4.attention,5],kv_fill="
        scores = {fill: logprobs(bench, text + fill) for fill in ("recompute", "propagate", "mask")}
        assert len(set(scores.values())) == 3
        assert logprobs(bench, text.removesuffix(",kv_fill=")) == scores["propagate"], "the default"
        tokens = {bench.run(text + fill).tokens for fill in scores}
        assert len(tokens) == 3
        depths = bench.run(text + "recompute").depths[1:]
        assert len(set(depths)) == 2

    def test_kv_fill_reaches_the_plan_that_early_cosine_revises(self, bench) -> None:
        text = "dynamic_skip:difficulty=early_cosine,skip_set=[3,4.attention,5],rungs=1,kv_fill="
        scores = {logprobs(bench, text + fill) for fill in ("recompute", "propagate", "mask")}
        assert len(scores) == 3

    def test_no_option_is_missing_from_these_tests(self) -> None:
        tested = {name.removeprefix("test_") for name in vars(type(self)) if name.startswith("test_")}
        options = load_strategy("dynamic_skip").Options.model_fields
        assert all(any(name.startswith(option) for name in tested) for option in options)


class TestAuto:
    def test_leaves_out_what_has_least_influence_per_byte_on_the_calibration_prompts(self, bench) -> None:
        influence = block_influence(bench.stack, bench.preparation.calibration_prompts)
        weights = bench.stack.sublayer_bytes
        order = sorted(range(12), key=lambda j: influence[j] / weights[j])
        assert rungs(bench, "dynamic_skip:max_skip_ratio=0.999")[-1] == sorted(order[:11])
        assert rungs(bench, "dynamic_skip:max_skip_ratio=0.05")[-1] == [order[0]]

    def test_other_calibration_prompts_may_give_another_ladder(self, bench) -> None:
        generator = torch.Generator().manual_seed(3)
        ladders = set()
        for _ in range(6):
            prompts = torch.randint(0, 61, (1, 3), generator=generator).tolist()
            preparation = dataclasses.replace(bench.preparation, calibration_prompts=(tuple(prompts[0]),))
            strategy = resolve(parse_strategy(MIXED))
            strategy.prepare(preparation)
            ladders.add(strategy.ladder)
        assert len(ladders) > 1

    def test_preparing_twice_gives_the_same(self, bench) -> None:
        one, other = bench.make(MIXED), bench.make(MIXED)
        assert one.ladder == other.ladder
        assert one.thresholds == other.thresholds

    def test_leaves_as_many_decoded_tokens_on_each_rung_as_calibration_promises(self, bench) -> None:
        """Scored over the calibration prompts, the cosines of early layers are those calibrated on."""
        strategy = bench.make("dynamic_skip:rungs=1,max_skip_ratio=0.1,difficulty=early_cosine")
        easy = total = 0
        for prompt in bench.preparation.calibration_prompts:
            window = ScoreWindow(context=prompt[:1], continuation=prompt[1:])
            depth = strategy.score(Session(bench.stack), window).depth or ()
            easy += sum(layers < 6 for layers in depth[1:])
            total += len(depth) - 1
        assert easy / total == pytest.approx(0.5, abs=0.05)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ("max_skip_ratio=0", "max_skip_ratio must be a number above 0 and below 1, not 0"),
            ("max_skip_ratio=1", "max_skip_ratio must be a number above 0 and below 1, not 1"),
            ("max_skip_ratio=.nan", "max_skip_ratio must be a number above 0 and below 1, not .nan"),
            ("max_skip_ratio=lots", "max_skip_ratio must be a number above 0 and below 1, not lots"),
            ("difficulty=entropy", "Did you mean previous_entropy?"),
            ("granularity=Layer", "granularity must be layer or sublayer, not Layer. Did you mean layer?"),
            (
                "thresholds=autoo",
                "thresholds must be auto or a list of numbers, not autoo. Did you mean auto?",
            ),
            ("thresholds=0.3", "thresholds must be auto or a list of numbers, not 0.3"),
            ("thresholds=[0.3,x]", "thresholds must be auto or a list of numbers, not [0.3,x]"),
            ("thresholds=[]", "thresholds=[]: give at least one threshold, or auto"),
            ("thresholds=[0.3,0.2]", "thresholds=[0.3,0.2]: thresholds must ascend"),
            ("thresholds=[0.3,0.3]", "thresholds must ascend"),
            ("thresholds=[0,0.3]", "no difficulty lies below 0"),
            ("thresholds=[-1]", "no difficulty lies below 0"),
            ("rungs=0", "rungs must be a whole number of at least 1, not 0"),
            ("rungs=2,thresholds=[0.5,0.7]", "rungs follows from thresholds"),
            ("rungs=13", "rungs asks for 13 different skip sets, but there are 12 parts to leave out"),
            ("rungs=7,granularity=layer", "rungs asks for 7 different skip sets, but there are 6 parts"),
            ("rungs=3,skip_set=[4,5]", "rungs asks for 3 different skip sets, but there are 2 parts"),
            ("thresholds=[0.1,0.2,0.3],skip_set=[4,5]", "thresholds asks for 3 different skip sets"),
            ("early_layer=2", "early_layer has no effect with difficulty=previous_entropy"),
            (
                "early_layer=0,difficulty=early_cosine",
                "early_layer must be a whole number of at least 1, not 0",
            ),
            ("early_layer=6,difficulty=early_cosine", "no layer of 6 is left after early_layer=6"),
            ("early_layer=60,difficulty=early_cosine", "no layer of 6 is left after early_layer=60"),
            ("skip_set=[]", "skip_set=[]: nothing would be left out"),
            ("skip_set=", 'skip_set="": nothing would be left out'),
            ("skip_set=[0]", "0 is neither a layer (12) nor a sub-layer"),
            ("skip_set=0", "0 is neither a layer (12) nor a sub-layer"),
            ("skip_set=[1.5]", "not [1.5]"),
            ("skip_set=true", "not true"),
            ("skip_set=[[1]]", "not [[1]]"),
            ("skip_set=[7]", "skip_set names layer 7, but the model has 1..6"),
            ("skip_set=7.mlp", "skip_set names layer 7, but the model has 1..6"),
            ("skip_set=[3,3.mlp]", "3.mlp is left out twice"),
            ("skip_set=[3.mlp],granularity=layer", "3.mlp is a sub-layer, but granularity=layer"),
            ("skip_set=[1],difficulty=early_cosine", "skip_set leaves out layer 1, but with"),
            ("skip_set=[3],difficulty=early_cosine,early_layer=3", "layers 1..3 always run"),
            ("skip_set=[3.mlp],kv_fill=mask", "kv_fill=mask has no effect: only MLPs are left out"),
            ("kv_fill=masked", "Did you mean mask?"),
        ],
    )
    def test_before_any_weights_are_loaded(self, refusal, options: str, says: str) -> None:
        message = refusal(f"dynamic_skip:{options}")
        assert says in message
        assert "dynamic_skip" in message

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ("max_skip_ratio=0.01", "max_skip_ratio=0.01 leaves out nothing: the lightest part is 0.048"),
            ("max_skip_ratio=0.1,granularity=layer", "leaves out nothing: the lightest part is 0.167"),
            ("max_skip_ratio=0.1,skip_set=[3,2]", "leaves out nothing: the lightest part is 0.167"),
            (
                "max_skip_ratio=0.2,granularity=layer,rungs=2",
                "rungs asks for 2 different skip sets, but within",
            ),
        ],
    )
    def test_once_weights_are_known(self, bench, options: str, says: str) -> None:
        with pytest.raises(BadInput) as caught:
            bench.make(f"dynamic_skip:{options}")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
