"""Strategies by name: ours, a third party's, and what happens when one of them is broken."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from lsbench.engine import DecoderStack, Session
from lsbench.errors import BadInput
from lsbench.spec import ScoreWindow, StrategyChoice, parse_strategy
from lsbench.strategy import Preparation
from lsbench.strategy.registry import (
    StrategyEntry,
    drafting_strategies,
    list_strategies,
    load_strategy,
    resolve,
    strategy_names,
)
from support.requests import generate_request

OURS = {"autoregressive", "static_exit", "dynamic_skip"}

HALF = '''
    from lsbench.engine import ConstantPolicy, DepthPlan
    from lsbench.strategy import BadInput, IntRange, Strategy, StrategyOptions, option


    class HalfOptions(StrategyOptions):
        """Options of ``half``."""

        parts: int = option(2, help="run one layer in so many", search=IntRange(2, 4), ge=1)


    class Half(Strategy):
        """Runs the first L / parts layers."""

        Options = HalfOptions

        def check(self, num_layers):
            if self.options.parts > num_layers:
                raise BadInput(f"half: parts={self.options.parts} of {num_layers} layers")

        def prepare(self, preparation):
            layers = preparation.num_layers
            self.plan = DepthPlan.exit_at(layers, layers // self.options.parts, "mask")

        def policy(self, request):
            return ConstantPolicy(self.plan)
'''


def entry(name: str) -> StrategyEntry:
    return next(entry for entry in list_strategies() if entry.name == name)


def refusal(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        resolve(parse_strategy(text))
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestOurOwn:
    def test_are_registered_and_usable(self) -> None:
        assert set(strategy_names()) >= OURS
        for name in OURS:
            found = entry(name)
            assert found.error is None
            assert found.strategy is load_strategy(name)
            assert found.distribution == f"lsbench {version('lsbench')}"
            assert found.target.startswith(f"lsbench_strategies.{name}:")

    def test_have_one_line_of_help_for_every_option(self) -> None:
        for name in OURS:
            for option, field in load_strategy(name).Options.model_fields.items():
                assert field.description, f"{name}:{option}"
                assert "\n" not in field.description

    def test_names_load_nothing(self) -> None:
        program = """if True:
            import sys
            from lsbench.strategy.registry import strategy_names
            assert "static_exit" in strategy_names()
            print([name for name in ("torch", "transformers", "lsbench_strategies") if name in sys.modules])
        """
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestThirdParty:
    def test_works_like_ours(self, install: Callable[..., Path], stack: DecoderStack) -> None:
        install("acme_half", HALF, half="acme_half_module:Half")
        assert "half" in strategy_names()
        assert "acme_half_module" not in sys.modules
        found = entry("half")
        assert (found.distribution, found.error) == ("acme_half 1.2", None)
        assert set(found.strategy.Options.search_spaces()) == {"parts"}  # type: ignore[union-attr]

        assert "parts must be a whole number of at least 1, not 0" in refusal("half:parts=0")
        assert "Did you mean 'parts'?" in refusal("half:part=3")
        strategy = resolve(parse_strategy("half:parts=3"))
        with pytest.raises(BadInput, match="parts=3 of 2 layers"):
            strategy.check(2)
        strategy.check(stack.num_layers)
        strategy.prepare(Preparation(stack, ()))
        request = generate_request((1, 2, 3), 5)
        emitted = list(strategy.generate(Session(stack), request))
        tokens = tuple(token for emission in emitted for token in emission.tokens)
        assert [emission.depth for emission in emitted] == [(6.0,), (2.0,), (2.0,), (2.0,), (2.0,)]
        scored = strategy.score(Session(stack), ScoreWindow(context=(1, 2, 3), continuation=tokens))
        assert scored.choices == tokens

    def test_with_a_decoding_loop_of_its_own_needs_no_policy(self, install: Callable[..., Path]) -> None:
        source = """
            from lsbench.strategy import Strategy

            class Own(Strategy):
                def generate(self, session, request):
                    yield from ()

                def score(self, session, window, sampler=None):
                    raise NotImplementedError
        """
        install("acme_own", source, own="acme_own_module:Own")
        assert entry("own").error is None
        assert load_strategy("own").__name__ == "Own"

    @pytest.mark.parametrize(
        ("source", "target", "says"),
        [
            ("raise RuntimeError('needs a licence\\nand more')", ":S", "RuntimeError: needs a licence"),
            (
                "import absent_module_of_acme",
                ":S",
                "ModuleNotFoundError: No module named 'absent_module_of_acme'",
            ),
            ("def broken(:", ":S", "SyntaxError"),
            ("raise SystemExit(3)", ":S", "SystemExit: 3"),
            ("raise AssertionError", ":S", "AssertionError: no message"),
            ("", ":Missing", "has no attribute 'Missing'"),
            ("S = 3", ":S", "is not a subclass of Strategy"),
            ("class S: pass", ":S", "is not a subclass of Strategy"),
            (
                "from lsbench.strategy import Strategy\nS = Strategy(None)",
                ":S",
                "is not a subclass of Strategy",
            ),
            ("from lsbench.strategy import Strategy\nclass S(Strategy): pass", ":S", "neither policy nor"),
            (
                "from lsbench.strategy import Strategy\nclass S(Strategy):\n def generate(self, s, r): yield",
                ":S",
                "neither policy nor",
            ),
            (
                "from lsbench.strategy import Strategy\nclass S(Strategy):\n Options = dict\n policy = print",
                ":S",
                "Options is not a StrategyOptions model",
            ),
            ("", " [not a target", "not of the form module:Class"),
        ],
    )
    def test_broken_is_named_with_its_error_and_stops_no_other(
        self, install: Callable[..., Path], source: str, target: str, says: str
    ) -> None:
        module = "acme_broken_module"
        install("acme_broken", source, broken=module + target)
        install("acme_half", HALF, half="acme_half_module:Half")
        found = entry("broken")
        assert found.strategy is None
        assert found.error is not None
        assert says in found.error
        assert "\n" not in found.error
        assert found.distribution == "acme_broken 1.2"
        for name in (*OURS, "half"):
            assert entry(name).error is None
        assert "broken" in strategy_names()
        message = refusal("broken")
        assert "'broken' of acme_broken 1.2 cannot be used" in message
        assert says in message
        assert resolve(parse_strategy("half"))

    def test_whose_class_cannot_be_made_is_a_refusal(self, install: Callable[..., Path]) -> None:
        source = """
            from lsbench.strategy import Strategy

            class Picky(Strategy):
                def __init__(self, options):
                    raise OSError("no such device")

                def policy(self, request): ...
        """
        install("acme_picky", source, picky="acme_picky_module:Picky")
        assert "OSError: no such device" in refusal("picky")

    def test_without_metadata_is_still_listed(self, install: Callable[..., Path]) -> None:
        site = install("acme_half", HALF, half="acme_half_module:Half")
        (site / "acme_half-1.2.dist-info" / "METADATA").unlink()
        assert entry("half").error is None
        assert entry("autoregressive").error is None

    def test_name_of_two_distributions_is_refused_naming_both(self, install: Callable[..., Path]) -> None:
        install("acme_half", HALF, half="acme_half_module:Half")
        install("other_half", HALF, half="other_half_module:Half")
        found = entry("half")
        assert found.strategy is None
        for name in ("acme_half 1.2", "other_half 1.2"):
            assert name in (found.error or "")
            assert name in refusal("half")
        assert "acme_half_module" not in sys.modules
        assert entry("static_exit").error is None

    def test_name_of_ours_taken_by_another_is_refused_naming_both(self, install: Callable[..., Path]) -> None:
        install("acme_half", HALF, static_exit="acme_half_module:Half")
        message = refusal("static_exit:exit_layer=3")
        assert "acme_half 1.2" in message
        assert "lsbench " in message

    def test_same_target_in_two_distributions_is_still_two(self, install: Callable[..., Path]) -> None:
        install("acme_half", HALF, half="acme_half_module:Half")
        install("fork_half", HALF, module="acme_half_module", half="acme_half_module:Half")
        assert "fork_half 1.2" in refusal("half")
        assert "acme_half 1.2" in refusal("half")

    def test_installed_twice_counts_once(self, install: Callable[..., Path], tmp_path: Path) -> None:
        site = install("acme_half", HALF, half="acme_half_module:Half")
        copy = tmp_path / "copy" / "acme_half-1.2.dist-info"
        copy.mkdir(parents=True)
        for name in ("METADATA", "entry_points.txt"):
            (copy / name).write_text((site / "acme_half-1.2.dist-info" / name).read_text())
        sys.path.append(str(copy.parent))
        try:
            assert entry("half").error is None
        finally:
            sys.path.remove(str(copy.parent))


class TestUnknown:
    def test_strategy_offers_the_nearest(self) -> None:
        message = refusal("static_exot:exit_layer=3")
        assert "Unknown strategy 'static_exot'." in message
        assert "Did you mean 'static_exit'?" in message
        assert "dynamic_skip" in message

    def test_strategy_like_none_lists_what_there_is(self) -> None:
        message = refusal("zzz")
        assert "Did you mean" not in message
        assert f"Known: {', '.join(strategy_names())}." in message

    def test_option_offers_the_nearest(self) -> None:
        message = refusal("static_exit:exit_layr=4")
        assert "Strategy 'static_exit' has no option 'exit_layr'." in message
        assert "Did you mean 'exit_layer'?" in message
        assert "exit_layer, kv_fill" in message

    def test_option_of_a_strategy_without_any(self) -> None:
        assert "Its options: none." in refusal("autoregressive:depth=4")


def test_resolving_draws_no_random_numbers() -> None:
    before = torch.random.get_rng_state()
    resolve(StrategyChoice(name="static_exit", options={"exit_layer": 2}))
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_comes_and_goes_while_the_process_runs_is_seen(install):
    before = strategy_names()
    site = install("late", HALF, half="late_module:Half")
    assert strategy_names() == tuple(sorted((*before, "half")))
    shutil.rmtree(site / "late-1.2.dist-info")
    assert strategy_names() == before


DRAFTERS = '''
from lsbench.strategy import IntRange, Strategy, StrategyOptions, option

class Shallow(Strategy):
    """Decides depth."""
    def policy(self, request):
        raise NotImplementedError

class Whole(Shallow):
    """Decides depth, and always on all of it."""
    lossless = True

class Looping(Shallow):
    """A loop of its own."""
    lossless = True
    def generate(self, session, request):
        return iter(())
    def score(self, session, window, sampler=None):
        raise NotImplementedError

class Guessing(Looping):
    """A loop of its own, and a draft."""
    def draft(self, request, stop_below=0.0):
        raise NotImplementedError

class SearchedOptions(StrategyOptions):
    depth: int = option(help="how deep", search=IntRange(1, None))

class Searched(Shallow):
    """Needs an option that can be searched."""
    Options = SearchedOptions

class GivenOptions(StrategyOptions):
    depth: int = option(help="how deep")

class Given(Shallow):
    """Needs an option that somebody must give."""
    Options = GivenOptions
'''


def test_those_worth_drafting_with_are_found_whoever_registered_them(install) -> None:
    names = ("Shallow", "Whole", "Looping", "Guessing", "Searched", "Given", "Gone")
    install("drafters", DRAFTERS, **{name.lower(): f"drafters_module:{name}" for name in names})
    ours = {"static_exit", "dynamic_exit", "dynamic_skip"}
    assert set(drafting_strategies()) == ours | {"shallow", "guessing", "searched"}
    can = {name: load_strategy(name.lower()).can_draft() for name in names[:-1]}
    assert can == {name: name != "Looping" for name in names[:-1]}
