"""From the flags of ``lsbench tune`` to what is asked."""

import pytest

from lsbench.cli.tune_spec import build_tune_spec, read_duration
from lsbench.errors import BadInput
from lsbench.tuning.narrowing import read_mapping, read_spaces
from lsbench.tuning.spec import TuneSpec

BASE = {"strategies": ["dynamic_exit:kv_fill=mask"], "tasks": ["tiny_generate"]}


def test_flags_become_a_spec():
    spec = build_tune_spec(
        {
            **BASE,
            "trials": 20,
            "time_budget": "1h30m",
            "trial_timeout": "45s",
            "minimize": "tpot",
            "min_quality": 0.98,
            "space": ["threshold=0.5..0.95", "confidence=entropy,softmax_max", "min_layer=4..12"],
            "fix": ["threshold_decay=0.1"],
            "search": "random",
            "seed": 3,
            "limit": 8,
            "threads": 2,
        }
    )
    assert (spec.trials, spec.time_budget_s, spec.trial_timeout_s) == (20, 5400, 45)
    assert (spec.objective, spec.search, spec.seed, spec.run.seed) == ("tpot", "random", 3, 3)
    assert (spec.run.limit, spec.run.threads) == (8, 2)
    assert spec.strategy.options == {"kv_fill": "mask", "threshold_decay": 0.1}
    domains, fixed = read_mapping(spec.space)
    assert fixed == {}
    assert domains == read_spaces(
        ["threshold=0.5..0.95", "confidence=entropy,softmax_max", "min_layer=4..12"]
    )
    # What is written to the manifest is read back as the same search.
    assert TuneSpec.model_validate_json(spec.model_dump_json()) == spec


def test_flags_go_before_the_file(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text("threshold: 0.6..0.9\nconfidence: [entropy, patience]\nmin_layer: 4\n")
    given = {**BASE, "space_file": str(file)}
    spec = build_tune_spec(given)
    assert set(spec.space) == {"threshold", "confidence"}
    assert spec.strategy.options["min_layer"] == 4
    spec = build_tune_spec({**given, "space": ["min_layer=2..8"], "fix": ["threshold=0.8"]})
    assert set(spec.space) == {"min_layer", "confidence"}
    assert spec.strategy.options == {"kv_fill": "mask", "threshold": 0.8}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("20m", 1200), ("20 min", 1200), ("1h30m", 5400), ("1.5h", 5400), ("2H", 7200)],
)
def test_times_are_read(text, seconds):
    assert read_duration(text, "--time-budget") == seconds


@pytest.mark.parametrize("text", ["soon", "20x", "m", "-5m", "0", "0s", "", "1h 30", "5m5"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(BadInput, match=r"--time-budget .*write a time such as 90s, 20m or 1h30m"):
        read_duration(text, "--time-budget")


def test_a_search_that_goes_on_may_go_on_for_longer_and_no_other_way():
    base = build_tune_spec({**BASE, "trials": 10, "seed": 1, "space": ["threshold=0.5..0.9"]})
    assert build_tune_spec({}, base) == base
    longer = build_tune_spec({"trials": 30, "time_budget": "5m", "output": "elsewhere"}, base)
    assert (longer.trials, longer.time_budget_s, longer.space) == (30, 300, base.space)
    assert build_tune_spec(
        {"space": ["threshold=0.5..0.9"], "strategies": ["dynamic_exit:kv_fill=mask"]}, base
    )
    for given, flag in (
        ({"seed": 2}, "--seed"),
        ({"space": ["threshold=0.5..0.8"]}, "--space"),
        ({"strategies": ["static_exit"]}, "--strategies"),
        ({"minimize": "tpot"}, "--maximize"),
        ({"limit": 3}, "--limit"),
        ({"fix": ["min_layer=3"]}, "--strategies"),
    ):
        with pytest.raises(BadInput, match=f"{flag} differs from what the search was begun with"):
            build_tune_spec(given, base)
