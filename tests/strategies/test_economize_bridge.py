"""The bridge to economize: whole techniques of another package, on this model and clock."""

import sys
import tomllib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from lsbench.spec import ScoreWindow, parse_strategy
from lsbench.strategy import CannotRun
from support.requests import generate_request

PACKAGE = Path(__file__).parents[2] / "strategies" / "economize_bridge"
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
PROMPT = (5, 60, 7, 8, 9, 5, 60, 7)


@pytest.fixture
def made(monkeypatch, register):
    """Resolve a strategy of the package, as if it were installed."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    for name, target in PROJECT["entry-points"]["lsbench.strategies"].items():
        module, _, thing = target.partition(":")
        register(name, getattr(__import__(module, fromlist=[thing]), thing))
    from lsbench.strategy.registry import resolve

    yield lambda text: resolve(parse_strategy(text))
    for name in [name for name in sys.modules if name.startswith("lsbench_economize")]:
        del sys.modules[name]


@pytest.fixture
def preparation(tiny_stack):
    from lsbench.strategy import Preparation

    return Preparation(tiny_stack, ((5, 6, 7, 8, 9, 10), (11, 12, 13, 14)))


def written(strategy, stack, count=40):
    from lsbench.engine import Session

    return list(strategy.generate(Session(stack), generate_request(PROMPT, count)))


def tokens_of(emissions) -> list[int]:
    return [token for emitted in emissions for token in emitted.tokens]


def test_it_depends_on_lsbench_and_economize_alone_and_is_listed_without_economize(made, monkeypatch):
    assert [name.partition(">")[0] for name in PROJECT["dependencies"]] == ["lsbench", "economize"]
    monkeypatch.setitem(sys.modules, "economize", None)
    strategy = made("economize_lookup")
    for fails in (lambda: strategy.check_model("llama"), lambda: strategy.prepare(None)):
        with pytest.raises(CannotRun, match="economize is not installed; pip install"):
            fails()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(find_spec("economize") is None, reason="economize is not installed")
class TestWithEconomize:
    @pytest.mark.parametrize(
        ("text", "layers"),
        [
            ("economize_early_exit:exit_layer=3", 3),
            ("economize_layer_skip:num_skip=1", 3),
            ("economize_layer_skip:skip_layers=[2]", 3),
            ("economize_lookup:num_speculations=4", 0),
        ],
    )
    def test_drafts_change_no_token_and_are_counted(self, text, layers, made, preparation, tiny_stack):
        baseline = made("autoregressive")
        baseline.prepare(preparation)
        strategy = made(text)
        strategy.prepare(preparation)
        emissions = written(strategy, tiny_stack)
        assert tokens_of(emissions) == tokens_of(written(baseline, tiny_stack))
        drafted = sum(emitted.drafted or 0 for emitted in emissions)
        accepted = sum(len(emitted.tokens) for emitted in emissions if emitted.kind == "accepted")
        assert 0 < accepted <= drafted
        assert sum(emitted.draft_layers or 0 for emitted in emissions) == drafted * layers

    def test_confident_tokens_exit_and_are_scored_as_they_are_decoded(self, made, preparation, tiny_stack):
        from lsbench.engine import Session

        baseline, whole, early = map(
            made, ("autoregressive", "economize_calm:threshold=1", "economize_calm:threshold=0.3")
        )
        for strategy in (baseline, whole, early):
            strategy.prepare(preparation)
        assert tokens_of(written(whole, tiny_stack)) == tokens_of(written(baseline, tiny_stack))
        emissions = written(early, tiny_stack)
        depth = tuple(layers for emitted in emissions for layers in emitted.depth)
        assert depth[0] == 4
        assert {1.0, 4.0} <= set(depth)
        window = ScoreWindow(context=PROMPT, continuation=tuple(tokens_of(emissions)))
        scored = early.score(Session(tiny_stack), window)
        assert (scored.choices, scored.depth) == (window.continuation, depth)

    def test_what_it_cannot_run_is_told(self, made, preparation, monkeypatch):
        from lsbench.engine.agreement import Agreement

        strategy = made("economize_lookup")
        strategy.check_model("llama")
        with pytest.raises(CannotRun, match="no adapter for models of type 'gpt_neox'"):
            strategy.check_model("gpt_neox")
        monkeypatch.setattr(preparation.stack.model.config, "_attn_implementation", "of_its_own")
        with pytest.raises(CannotRun, match=r"economize: .*of_its_own"):
            strategy.prepare(preparation)

        class Two(Agreement):
            size = 2

        monkeypatch.setattr(preparation.stack, "agreement", Two())
        with pytest.raises(CannotRun, match="--tensor-parallel at 1"):
            strategy.prepare(replace(preparation))
