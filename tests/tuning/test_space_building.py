"""A space comes from any strategy's own options model, as far as people did not narrow or fix it."""

import sys
from pathlib import Path

import pytest

from lsbench.errors import BadInput
from lsbench.spec import StrategyChoice, parse_strategy
from lsbench.strategy import Choice, FloatRange, IntRange, Strategy, StrategyOptions, option
from lsbench.tuning.domains import Among, Real, Whole
from lsbench.tuning.narrowing import read_fixes, read_spaces
from lsbench.tuning.space_building import build_space
from lsbench.tuning.spaces import Space

LAYERS = 12
EXAMPLE = Path(__file__).parents[2] / "strategies" / "example_prompt_lookup"


def built(text: str, *narrowed: str, fixed: tuple[str, ...] = ()) -> Space:
    choice = parse_strategy(text)
    choice = StrategyChoice(name=choice.name, options={**choice.options, **read_fixes(fixed)})
    return build_space(choice, LAYERS, read_spaces(narrowed))


def domains(space: Space) -> dict[str, object]:
    return {dimension.key: dimension.domain for dimension in space.dimensions}


def test_layers_run_to_the_models_own_number():
    assert domains(built("static_exit")) == {
        "exit_layer": Whole(1, LAYERS),
        "kv_fill": Among(("recompute", "propagate", "mask")),
    }


def test_a_default_outside_the_range_has_a_coordinate_of_its_own():
    found = domains(built("dynamic_exit"))
    assert found["threshold?"] == Among((False, True))
    assert found["threshold"] == Real(0.3, 1.0)
    assert "kv_fill?" not in found


def test_none_among_choices_is_one_more_choice():
    assert domains(built("dynamic_skip"))["kv_fill"] == Among((None, "recompute", "propagate", "mask"))


def test_an_end_that_the_strategy_refuses_is_left_out():
    assert domains(built("hf_assistant_early_exit"))["exit_layer"] == Whole(1, LAYERS - 1)


def test_a_third_partys_plugin_needs_no_code_of_ours(monkeypatch, register):
    monkeypatch.syspath_prepend(EXAMPLE)
    from lsbench_prompt_lookup import PromptLookup

    register("prompt_lookup", PromptLookup)
    space = built("prompt_lookup", "num_speculations=2..6")
    assert domains(space) == {
        "max_ngram": Whole(2, 6),
        "min_ngram": Whole(1, 2),
        "num_speculations": Whole(2, 6),
    }
    assert space.default() == StrategyChoice(name="prompt_lookup")
    for module in [name for name in sys.modules if name.startswith("lsbench_prompt_lookup")]:
        monkeypatch.delitem(sys.modules, module)


def test_each_drafter_brings_its_own_options():
    found = built("self_speculative")
    conditions = {dimension.key: dict(dimension.when) for dimension in found.dimensions}
    assert conditions["draft.exit_layer@static_exit"] == {"draft": "static_exit"}
    assert conditions["draft.threshold@dynamic_exit"] == {
        "draft": "dynamic_exit",
        "draft.threshold@dynamic_exit?": True,
    }
    # Declared by self_speculative itself, for any draft.
    assert conditions["draft.vocab"] == {}


def test_a_fixed_drafter_needs_no_condition():
    space = built("self_speculative:draft=static_exit")
    assert "draft" not in domains(space)
    assert domains(space)["draft.exit_layer"] == Whole(1, LAYERS)
    assert space.to_choice(space.start).options == {"draft": "static_exit", "draft.exit_layer": 9}


def test_a_fixed_option_of_a_drafter_is_given_to_the_drafters_that_have_it():
    space = built("self_speculative", "draft=static_exit,dynamic_exit", fixed=("draft.min_layer=3",))
    static = space.to_choice({**space.start, "draft": "static_exit"})
    dynamic = space.to_choice({**space.start, "draft": "dynamic_exit"})
    assert "draft.min_layer" not in static.options
    assert dynamic.options["draft.min_layer"] == 3


def test_narrowed_ranges_and_choices_replace_what_is_declared():
    found = domains(built("dynamic_exit", "threshold=0.5..0.95", "min_layer=2,4", "confidence=entropy"))
    assert found["threshold"] == Real(0.5, 0.95)
    assert found["min_layer"] == Among((2, 4))
    # One value is as good as fixed; a range that was asked for is always given.
    assert "confidence" not in found
    assert not any(key.endswith("?") for key in found if key.startswith(("threshold?", "min_layer?")))


def test_whole_ends_of_a_range_of_numbers_still_mean_all_between():
    assert domains(built("dynamic_exit", "threshold=0..1"))["threshold"] == Real(0.0, 1.0)


def test_an_option_that_declares_nothing_can_be_searched():
    space = built("dynamic_exit", "candidate_layers=auto,[4,8],[6]")
    assert domains(space)["candidate_layers"] == Among(("auto", [4, 8], [6]))
    point = {**space.start, "candidate_layers": "[4,8]"}
    assert space.to_choice(point).options == {"candidate_layers": [4, 8]}


@pytest.mark.parametrize(
    ("text", "narrowed", "fixed", "message"),
    [
        ("dynamic_exit", ("thresold=0.5..0.9",), (), r"in --space 'thresold'. Did you mean 'threshold'"),
        ("dynamic_exit", (), ("kv_fil=mask",), r"in --fix 'kv_fil'. Did you mean 'kv_fill'"),
        ("dynamic_exit", ("threshold=0.5..1.5",), (), r"--space threshold goes out of bounds: .*=1.5"),
        ("static_exit", ("exit_layer=4,8,13",), (), r"out of bounds: .*layer 13, but the model has 1..12"),
        ("static_exit", ("exit_layer=0..4",), (), r"out of bounds: .*exit_layer"),
        ("dynamic_exit", ("min_layer=2..4.5",), (), "min_layer takes whole numbers only"),
        ("dynamic_exit", (), ("kv_fill=none",), "kv_fill must be recompute, propagate or mask, not none"),
        ("dynamic_exit", ("kv_fill=mask,recompute",), ("kv_fill=mask",), "both fixed and searched"),
        ("autoregressive", (), (), "Nothing to search: strategy 'autoregressive'"),
        ("static_exit", (), ("kv_fill=mask", "exit_layer=3"), "Nothing to search"),
        ("self_speculative", ("draft=static_exitt,dynamic_exit",), (), "Did you mean 'static_exit'"),
        ("self_speculative:draft=static_exit", ("draft.threshold=0.5..0.9",), (), "'draft.threshold'"),
        ("statik_exit", (), (), "Did you mean 'static_exit'"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused(text, narrowed, fixed, message):
    with pytest.raises(BadInput, match=message):
        built(text, *narrowed, fixed=fixed)


def test_a_value_that_another_option_rules_out_everywhere_is_left_out(register):
    from pydantic import model_validator

    class Options(StrategyOptions):
        kind: str = option("plain", help="which", search=Choice(("plain", "odd", "even")))
        share: float = option(0.5, help="how much", search=FloatRange(0, 1), ge=0, le=1)
        parity: int = option(1, help="1 is odd", search=IntRange(1, 1))

        @model_validator(mode="after")
        def _parity(self):
            if self.kind == "even" and self.parity == 1:
                raise ValueError("even needs parity 2")
            return self

    register("parity", type("Parity", (Strategy,), {"Options": Options, "policy": lambda s, r: None}))
    space = build_space(StrategyChoice(name="parity"), LAYERS)
    assert domains(space) == {"kind": Among(("plain", "odd")), "share": Real(0, 1)}
    assert space.to_choice(space.start).options in ({}, {"parity": 1})


def test_what_must_be_given_and_does_not_say_where_to_look_is_asked_for(register):
    class NeedyOptions(StrategyOptions):
        width: int = option(help="how wide", ge=1)
        depth: int = option(2, help="how deep", search=IntRange(1, 4))

    class Needy(Strategy):
        Options = NeedyOptions

        def policy(self, request):
            raise NotImplementedError

    register("needy", Needy)
    with pytest.raises(BadInput, match=r"'width' has no default .*--fix width=VALUE.*--space width="):
        built("needy")
    assert domains(built("needy", fixed=("width=3",))) == {"depth": Whole(1, 4)}
    assert domains(built("needy", "width=1..3")) == {"width": Whole(1, 3), "depth": Whole(1, 4)}
    assert built("needy", "width=1..3").default() is None
