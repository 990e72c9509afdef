"""docs/write-a-strategy.md, followed: its files are written, installed, tried and checked as they stand."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.packages import Run, install

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "write-a-strategy.md"
NAMED_BLOCK = re.compile(r"^`([^`\n]+)`:\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def files() -> dict[str, str]:
    return {name: text for name, _, text in NAMED_BLOCK.findall(GUIDE.read_text())}


def commands() -> list[str]:
    return [line for block in CONSOLE.findall(GUIDE.read_text()) for line in block.splitlines() if line]


@dataclass(frozen=True)
class Followed:
    """A reader who has written and installed everything."""

    folder: Path
    python: Run

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.python(*command, folder=self.folder)


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Iterator[Followed]:
    folder = tmp_path_factory.mktemp("reader")
    for name, text in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    package = install(folder / "lsbench-periodic", tmp_path_factory.mktemp("installed"))
    with package.python() as python:
        yield Followed(folder, python)


def test_the_folder_it_draws_is_the_folder_it_makes():
    drawn = GUIDE.read_text().split("```\n")[1]
    named = [name.rpartition("/")[2] for name in files() if name.startswith("lsbench-periodic/")]
    assert len(named) == 6
    assert all(name in drawn for name in named)


def test_every_block_reads_as_what_it_is():
    for name, text in files().items():
        if name.endswith(".py"):
            compile(text, name, "exec")
        if name.endswith(".toml"):
            assert tomllib.loads(text)["project"]["entry-points"]["lsbench.strategies"]


def test_every_link_leads_somewhere():
    links = LINK.findall(GUIDE.read_text())
    assert len(links) >= 3
    missing = [link for link in links if not (DOCS / link).resolve().exists()]
    assert not missing


def test_every_check_is_explained_under_its_name_in_order():
    from lsbench.strategy.conformance.kit import CHECKS

    table = GUIDE.read_text().split("| check | what it proves |\n|---|---|\n")[1].split("\n\n")[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()] == [
        check.name for check in CHECKS
    ]


@pytest.mark.slow
def test_the_strategies_are_listed_once_installed(followed):
    listed = followed.run("-m", "lsbench", "ls", "strategies")
    assert listed.returncode == 0, listed.stderr
    assert "periodic (lsbench-periodic 0.1.0) One token in" in listed.stdout
    assert "settled (lsbench-periodic 0.1.0) Each token stops" in listed.stdout


@pytest.mark.slow
def test_the_first_try_shows_the_depth_of_every_token(followed):
    tried = followed.run("try_it.py")
    assert tried.returncode == 0, tried.stderr
    lines = tried.stdout.splitlines()
    depths = [float(re.fullmatch(r"\(\d+,\) \((.*),\)", line)[1]) for line in lines]
    # From the prefill; then one in three runs all four layers, the others one.
    assert depths == [4, 4, 1, 1, 4, 1, 1, 4]


@pytest.mark.slow
def test_the_draft_that_learns_changes_its_exit_and_nothing_else(followed):
    from lsbench.strategy.conformance import random_bench
    from lsbench.strategy.conformance.observation import full_model

    tried = followed.run("learning.py")
    assert tried.returncode == 0, tried.stderr
    found = [re.fullmatch(r"(\w+) \((.*)\) (\S+) (\S+)", line) for line in tried.stdout.splitlines()]
    tokens = [int(token) for line in found for token in line[2].split(",") if token.strip()]
    bench = random_bench()
    assert tuple(tokens) == full_model(bench.stack, bench.request(0, max_new_tokens=24))
    assert {line[1] for line in found} == {"decoded", "accepted", "verified"}
    assert len({float(line[4]) / int(line[3]) for line in found if line[3] not in ("None", "0")}) > 1


@pytest.mark.slow
def test_the_loop_for_a_batch_gives_each_member_the_full_models_tokens(followed):
    from lsbench.strategy.conformance import random_bench
    from lsbench.strategy.conformance.observation import full_model

    tried = followed.run("together.py")
    assert tried.returncode == 0, tried.stderr
    found = [[], [], []]
    for line in tried.stdout.splitlines():
        place, token = re.fullmatch(r"(\d) \((\d+),\)", line).groups()
        found[int(place)].append(int(token))
    bench = random_bench()
    requests = [bench.request(prompt, max_new_tokens=4 + prompt) for prompt in range(3)]
    assert [tuple(tokens) for tokens in found] == [full_model(bench.stack, request) for request in requests]


@pytest.mark.slow
def test_its_own_tests_pass(followed):
    tested = followed.run("-m", "pytest", "-q", "lsbench-periodic/tests")
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout


@pytest.mark.slow
def test_every_command_is_one_that_lsbench_takes(followed):
    asked = [line.split() for line in commands() if line.startswith("lsbench ")]
    assert {words[1] for words in asked} == {"ls", "check-strategy", "run"}
    for words in asked:
        if words[1] == "run":
            said = followed.run("-m", "lsbench", *words[1:], "--print-config")
            assert said.returncode == 0, said.stderr
    drafted = "self_speculative:draft=periodic,draft.exit_layer=10"
    assert drafted in GUIDE.read_text()
    resolving = "import sys; from lsbench.spec import *; from lsbench.strategy.registry import *; "
    said = followed.run("-c", f"{resolving}resolve(parse_strategy(sys.argv[1]))", drafted)
    assert said.returncode == 0, said.stderr
