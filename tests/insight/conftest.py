"""A model whose exits agree now and then, looked into."""

from __future__ import annotations

import pytest

from lsbench.insight.findings import find
from support.judging import COSTS, llama_bench


@pytest.fixture(scope="module")
def bench():
    return llama_bench()


@pytest.fixture(scope="module")
def findings(bench):
    return find(bench.references, COSTS)
