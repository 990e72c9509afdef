"""The example of a third-party package, installed beside lsbench as its reader would."""

import shutil
import tomllib
from pathlib import Path

import pytest

from support.packages import Installed, install
from support.requests import generate_request

PACKAGE = Path(__file__).parents[2] / "strategies" / "example_prompt_lookup"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Installed:
    return install(PACKAGE, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def python(package):
    with package.python() as python:
        yield python


def test_it_is_listed_once_installed(python, tmp_path):
    listed = python("-m", "lsbench", "ls", "strategies", folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "prompt_lookup (lsbench-prompt-lookup 0.1.0) Copies from prompt and output" in listed.stdout
    assert "max_ngram" in listed.stdout


def test_its_own_tests_pass_the_conformance_kit_among_them(python, tmp_path):
    shutil.copytree(PACKAGE / "tests", tmp_path / "tests")
    tested = python("-m", "pytest", "-q", "tests", folder=tmp_path)
    assert tested.returncode == 0, tested.stdout
    assert "9 passed" in tested.stdout


def test_it_depends_on_nothing_but_lsbench():
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    assert [dependency.partition(">")[0] for dependency in project["dependencies"]] == ["lsbench"]


def test_its_tokens_are_those_of_transformers_with_and_without_lookup(
    package, tiny_stack, monkeypatch, one_thread
):
    """On a text that repeats itself, so that something is copied at nearly every step."""
    import torch

    from lsbench.engine import Session
    from lsbench.spec import parse_strategy
    from lsbench.strategy import Preparation
    from lsbench.strategy.registry import resolve

    monkeypatch.syspath_prepend(str(package.site))
    strategy = resolve(parse_strategy("prompt_lookup:num_speculations=5"))
    strategy.prepare(Preparation(tiny_stack, ()))
    accepted = 0
    for seed in range(12):
        phrase = torch.randint(4, 340, (7,), generator=torch.Generator().manual_seed(seed)).tolist()
        prompt = tuple(phrase * 4)
        request = generate_request(prompt, 40, doc_id=seed)
        emissions = list(strategy.generate(Session(tiny_stack), request))
        tokens = [token for emitted in emissions for token in emitted.tokens]
        accepted += sum(len(emitted.tokens) for emitted in emissions if emitted.kind == "accepted")
        ids = torch.tensor([prompt])
        for lookup in ({}, {"prompt_lookup_num_tokens": 5}):
            theirs = tiny_stack.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=40,
                eos_token_id=None,
                pad_token_id=1,
                **lookup,
            )
            assert tokens == theirs[0, len(prompt) :].tolist()
    assert accepted > 5
