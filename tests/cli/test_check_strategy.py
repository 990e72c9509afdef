"""``lsbench check-strategy``: a checklist, an exit code, and JSON for scripts."""

import json
import signal
from dataclasses import replace

import pytest

from lsbench.strategy import conformance
from lsbench.strategy.conformance.kit import CHECKS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Fewer prompts and draws than the command's own; the kit's tests run it whole."""
    whole = conformance.random_bench()
    small = replace(whole, prompts=whole.prompts[:4], max_new_tokens=6, draws=10)
    monkeypatch.setattr(conformance, "random_bench", lambda: small)


@pytest.fixture
def overclaiming(tmp_path, monkeypatch):
    """A plugin that claims too much, and prints what nobody asked for."""
    (tmp_path / "overclaiming.py").write_text(
        "from lsbench.engine import ConstantPolicy, DepthPlan\n"
        "from lsbench.strategy import Strategy\n"
        "class Overclaiming(Strategy):\n"
        "    lossless = True\n"
        "    def prepare(self, preparation):\n"
        "        print('here I am')\n"
        "        self.plan = DepthPlan.exit_at(preparation.num_layers, 1)\n"
        "    def policy(self, request):\n"
        "        return ConstantPolicy(self.plan)\n"
    )
    metadata = tmp_path / "overclaiming-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: overclaiming\nVersion: 1\n")
    entry = "[lsbench.strategies]\noverclaiming = overclaiming:Overclaiming\n"
    (metadata / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_what_holds_is_ticked(cli):
    said = cli("check-strategy", "static_exit:exit_layer=2")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert "✓ every option acts  2 options, 1 of them on cost only" in lines
    assert "– lossless, greedy  it does not claim to be lossless" in lines
    ending = " ".join(" ".join(lines[len(CHECKS) :]).split())
    assert ending.startswith(
        "static_exit:exit_layer=2 on a random Llama of 4 layers in float64: 15 held, 0 failed"
    )


def test_a_failed_claim_is_explained_and_has_its_exit_code(cli, overclaiming):
    said = cli("check-strategy", "overclaiming", "--quiet")
    assert said.code == 3
    assert "✗ lossless, greedy" in said.out
    assert "Greedy output is the full model's, token by token." in said.out
    assert "Seen: token 1 after prompt 0 is " in said.out
    assert "✓" not in said.out
    assert "here I am" not in said.out


@pytest.mark.slow
def test_json_is_all_there_is_on_stdout(cli, overclaiming):
    said = cli("check-strategy", "overclaiming", "--json")
    report = json.loads(said.out)
    assert said.code == 3
    assert (report["schema"], report["strategy"], report["ok"]) == (1, "overclaiming", False)
    assert len(report["results"]) == len(CHECKS)
    by_name = {result["name"]: result for result in report["results"]}
    assert by_name["seeds"]["status"] == "held"
    assert by_name["lossless, greedy"]["status"] == "failed"
    assert set(by_name["seeds"]) == {"name", "claim", "status", "detail", "seconds"}
    assert "✗ lossless, greedy" in said.err
    assert "here I am" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["static_exi"], "Did you mean 'static_exit'"),
        (["static_exit:exit_layr=1"], "Did you mean 'exit_layer'"),
        (["static_exit:exit_layer=9"], "the model has 1..4"),
        (["static_exit:"], "ends in ':'"),
        (["static_exit", "--revision", "main"], "give --model too"),
        (["static_exi", "--model", "no/such/folder"], "Unknown strategy"),
        ([], "Missing argument 'NAME[:key=value,...]'"),
    ],
)
def test_bad_input_is_refused_in_one_line(cli, arguments, words):
    said = cli("check-strategy", *arguments)
    assert said.code == 2
    assert words in said.error


@pytest.mark.slow
def test_a_model_can_be_given(cli, tiny_model):
    """Short texts and few tokens on the model itself; options and distributions on random ones as deep."""
    said = cli("check-strategy", "self_speculative:draft=static_exit", "--model", tiny_model, "--json")
    report = json.loads(said.out)
    assert said.code == 0, said.err
    assert report["model"] == "tiny (4 layers) in float64"
    assert "Loading tiny in float64" in said.err
    by_name = {result["name"]: result for result in report["results"]}
    assert {result["status"] for result in by_name.values()} == {"held"}
    assert by_name["lossless, greedy"]["detail"] == "36 tokens after 6 prompts"
    assert by_name["lossless, sampled"]["detail"].startswith("2 x 150 sequences")


@pytest.mark.slow
def test_being_interrupted_says_what_was_checked_so_far(processes, tmp_path):
    checking = processes.start(["check-strategy", "dawdling:pause=0.1"], tmp_path)
    checking.until(lambda: "options told and bounded" in checking.stdout.read_text())
    said = checking.signal(signal.SIGINT)
    assert said.code == 130
    (line,) = said.err.splitlines()
    assert line.startswith("lsbench: interrupted while checking 'every option acts': of ")
    assert line.endswith(" checks 3 were made, 3 held and 0 failed")
    assert "Traceback" not in said.out


@pytest.mark.slow
def test_being_interrupted_names_what_has_failed_and_keeps_stdout_clean(processes, tmp_path):
    checking = processes.start(["check-strategy", "untold:pause=0.1", "--json"], tmp_path)
    checking.until(lambda: "options told and bounded" in checking.stderr.read_text())
    said = checking.signal(signal.SIGTERM)
    assert (said.code, said.out) == (130, "")
    assert said.err.splitlines()[-1].endswith("2 held and 1 failed (options told and bounded)")


def test_being_interrupted_before_the_first_check_says_so(cli, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(conformance, "random_bench", interrupted)
    said = cli("check-strategy", "static_exit:exit_layer=2")
    assert (said.code, said.err) == (130, "lsbench: interrupted before the first check\n")


def test_any_command_that_is_interrupted_says_so(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    # Imported now, it keeps the real one for the tests that come after.
    import lsbench.tuning.listing  # noqa: F401

    monkeypatch.setattr("lsbench.store.listing.list_runs", interrupted)
    said = cli("ls", "runs")
    assert (said.code, said.err) == (130, "lsbench: interrupted\n")
