"""Third-party strategy packages, really installed, and a model small enough to run in milliseconds."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lsbench.engine import DecoderStack, Session
from lsbench.strategy.loops import decode
from support.drafting import FULL, request_for, tokens_of
from support.models import random_llama, single_thread

Install = Callable[..., Path]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution: a module, and a metadata folder that registers strategies."""

    def install(distribution: str, source: str, module: str | None = None, **strategies: str) -> Path:
        site = tmp_path / distribution
        metadata = site / f"{distribution}-1.2.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [f"{name} = {target}" for name, target in strategies.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[lsbench.strategies]", *lines, ""]))
        module = module or f"{distribution}_module"
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return site

    return install


@pytest.fixture(scope="session")
def stack() -> DecoderStack:
    """Six layers of random weights, large enough that every layer changes the prediction; float64."""
    return DecoderStack(random_llama(4, vocab_size=61, num_hidden_layers=6, intermediate_size=80).double())


@pytest.fixture(scope="module")
def greedy(stack: DecoderStack) -> list[int]:
    """What the full model says, token by token."""
    return tokens_of(list(decode(Session(stack), request_for(120), FULL)))
