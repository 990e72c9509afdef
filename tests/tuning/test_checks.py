"""What is refused before a model is looked for."""

import pytest

from lsbench.errors import BadInput
from lsbench.spec import RunSpec, parse_strategy
from lsbench.tuning.checks import check_space
from lsbench.tuning.spec import TuneSpec


def spec_of(strategy: str, **fields) -> TuneSpec:
    return TuneSpec(run=RunSpec(strategies=(parse_strategy(strategy),), tasks=("humaneval",)), **fields)


@pytest.mark.parametrize(
    ("strategy", "fields"),
    [
        ("static_exit", {}),
        ("dynamic_skip:kv_fill=mask", {"space": {"max_skip_ratio": "0.1..0.3"}}),
        ("dynamic_skip", {"skip_sets": "ladder"}),
        ("self_speculative:draft=static_exit", {"space": {"draft.exit_layer": [4, 8]}, "search": "grid"}),
        ("dynamic_exit", {"risk": 0.05}),
    ],
)
def test_what_can_be_searched_passes(strategy, fields):
    check_space(spec_of(strategy, **fields))


@pytest.mark.parametrize(
    ("strategy", "fields", "words"),
    [
        ("static_ext", {}, ["strategy 'static_ext'", "'static_exit'"]),
        ("static_exit:exit_layr=2", {}, ["'exit_layr'", "'exit_layer'"]),
        ("static_exit", {"space": {"exit_layr": [1, 2]}}, ["--space", "'exit_layr'", "'exit_layer'"]),
        ("static_exit", {"space": {"exit_layer": "0..4"}}, ["exit_layer", "0"]),
        ("dynamic_exit", {"space": {"threshold": "0.5..1.5"}}, ["threshold", "1.5"]),
        ("static_exit:exit_layer=2,kv_fill=mask", {}, ["Nothing to search", "kv_fill"]),
        ("autoregressive", {}, ["Nothing to search"]),
        ("static_exit", {"risk": 0.1}, ["--risk", "'static_exit'", "dynamic_exit"]),
        ("dynamic_exit:threshold=0.9", {"risk": 0.1}, ["--risk", "fixed"]),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_name(strategy, fields, words):
    with pytest.raises(BadInput) as caught:
        check_space(spec_of(strategy, **fields))
    for word in words:
        assert word in str(caught.value)
