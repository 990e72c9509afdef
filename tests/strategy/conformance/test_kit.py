"""The kit as a whole: what it reports, what it refuses, and that what is built in passes it."""

import random
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lsbench.errors import BadInput
from lsbench.strategy import IntRange, StrategyOptions, option
from lsbench.strategy.conformance import CheckResult, Report, check_strategy
from lsbench.strategy.conformance.kit import CHECKS
from lsbench.strategy.registry import strategy_names

QUICK = ["public names", "options told and bounded", "depth"]


@pytest.mark.slow
@pytest.mark.parametrize("name", strategy_names())
def test_every_installed_strategy_keeps_the_contract(bench, name):
    report = check_strategy(name, bench)
    assert report.ok, report
    assert len(report.results) == len(CHECKS)


def test_a_report_is_a_checklist():
    held = CheckResult("seeds", "", "held", "3 requests", 0.1)
    failed = CheckResult("depth", "", "failed", "token 0 ran", 0.1)
    report = Report("name:a=1", "a model", (held, failed))
    assert not report.ok
    assert report.failed == (failed,)
    assert str(report) == "name:a=1 on a model\nheld   seeds: 3 requests\nFAILED depth: token 0 ran"
    assert Report("name", "a model", (held,)).ok


def test_what_is_required_is_filled_in_and_said(bench):
    report = check_strategy("static_exit", bench, only=QUICK)
    assert report.strategy == "static_exit:exit_layer=3"
    assert report.ok, report
    given = check_strategy("static_exit:exit_layer=1,kv_fill=mask", bench, only=["depth"])
    assert given.strategy == "static_exit:exit_layer=1,kv_fill=mask"


def test_what_an_option_names_is_filled_in_too(bench):
    report = check_strategy("self_speculative:draft=static_exit", bench, only=["depth"])
    assert report.strategy == "self_speculative:draft=static_exit,draft.exit_layer=3"
    assert report.ok, report


def test_results_come_as_they_are_found_in_the_order_of_the_kit(bench):
    seen: list[str] = []
    report = check_strategy("autoregressive", bench, QUICK[::-1], lambda result: seen.append(result.name))
    assert seen == QUICK == [result.name for result in report.results]


@pytest.mark.parametrize(
    ("strategy", "only", "message"),
    [
        ("static_exi", (), "Did you mean 'static_exit'"),
        ("static_exit:exit_layr=2", (), "Did you mean 'exit_layer'"),
        ("static_exit:exit_layer=9", (), "the model has 1..4"),
        ("static_exit", ("sedes",), "Did you mean 'seeds'"),
    ],
)
def test_bad_input_is_refused(bench, strategy, only, message):
    with pytest.raises(BadInput, match=message):
        check_strategy(strategy, bench, only=only)


def test_a_required_option_that_nothing_is_known_of_must_be_given(install, imports, bench):
    source = """
class Options(StrategyOptions):
    file: str = option(help="a file")

class Planted(Half):
    Options = Options
"""
    install("planted", imports + source, planted="planted_module:Planted")
    with pytest.raises(BadInput, match="give one, such as planted:file=VALUE"):
        check_strategy("planted", bench, only=["seeds"])
    assert check_strategy("planted:file=x", bench, only=["seeds"]).ok


def test_global_state_is_left_as_it_was(bench):
    before = (
        torch.get_rng_state(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.get_num_threads(),
    )
    check_strategy("autoregressive", bench, only=["global random state", "seeds"])
    after = (
        torch.get_rng_state(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.get_num_threads(),
    )
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_cost_only_is_declared_in_the_options():
    class Options(StrategyOptions):
        fill: int = option(1, help="a", changes="cost", search=IntRange(1, 2))
        depth: int = option(1, help="a")

    assert Options.cost_only() == {"fill"}
    assert Options.search_spaces() == {"fill": IntRange(1, 2)}


@pytest.mark.slow
def test_beside_a_real_model_the_tiny_ones_run_on_one_thread(install, imports, bench):
    """Two would wait for each other longer than they work: the kit would take minutes over a real model."""
    source = """
seen = []

class Planted(Full):
    def generate(self, session, request):
        seen.append((session.stack, torch.get_num_threads()))
        return super().generate(session, request)
"""
    install("planted", imports + source, planted="planted_module:Planted")
    real = replace(bench, tiny=False, draws=3, max_new_tokens=4)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        report = check_strategy("planted", real, only=["seeds", "batch", "lossless, sampled"])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert report.ok, report
    threads = {stack is real.stack: set() for stack, _ in sys.modules["planted_module"].seen}
    for stack, number in sys.modules["planted_module"].seen:
        threads[stack is real.stack].add(number)
    assert threads == {True: {2}, False: {1}}


def test_what_follows_the_clock_is_found_where_it_makes_a_difference(install, imports, bench):
    """How much is drafted may: then drafts are not compared, and the tokens still are."""
    source = """
clock = random.Random(5)

class Guess(Draft):
    def propose(self, session, last, count, sampler):
        if sampler.sampling.greedy and clock.random() < 0.5:
            yield Drafted(0)

class Planted(Full):
    def generate(self, session, request):
        return speculate(session, request, Guess(), 3)
"""
    install("planted", imports + source, planted="planted_module:Planted")
    (state,) = check_strategy("planted", bench, only=["no state between requests"]).results
    assert state.status == "held", state.detail
    assert state.detail.endswith("drafts follow the clock, and are not compared")
