import pytest

from lsbench.doctor.plugins import strategies
from lsbench.strategy import registry
from lsbench.strategy.registry import StrategyEntry


@pytest.fixture
def registered(monkeypatch):
    def make(*entries):
        monkeypatch.setattr(registry, "list_strategies", lambda: entries)

    return make


def entry(name, distribution="lsbench 0.1", error=None):
    return StrategyEntry(name, distribution, "m:C", None if error else object, error)


def test_the_built_in_ones_are_found():
    (found,) = [each for each in strategies() if "(lsbench " in each.detail]
    assert found.status == "ok"
    assert "dynamic_skip" in found.detail


def test_each_package_is_named_with_its_strategies(registered):
    registered(entry("autoregressive"), entry("dynamic_skip"), entry("theirs", "other 2.0"))
    assert [(found.status, found.detail) for found in strategies()] == [
        ("ok", "autoregressive, dynamic_skip (lsbench 0.1)"),
        ("ok", "theirs (other 2.0)"),
    ]


def test_one_that_fails_to_load_is_told_with_its_reason(registered):
    registered(
        entry("autoregressive"), entry("dynamic_skip"), entry("gone", "other 2.0", "No module named 'x'")
    )
    broken = list(strategies())[-1]
    assert broken.status == "limited"
    assert broken.detail == "gone (other 2.0) cannot be used: No module named 'x'"
    assert broken.advice


def test_what_make_run_runs_must_load(registered):
    registered(entry("autoregressive"), entry("dynamic_skip", error="broken"))
    assert [found.status for found in strategies()] == ["ok", "missing"]
    registered(entry("autoregressive"))
    assert [found.status for found in strategies()] == ["ok", "missing"]
    assert "dynamic_skip not registered" in list(strategies())[-1].detail
