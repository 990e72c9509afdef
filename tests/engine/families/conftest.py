"""Every tiny model in turn; all but a few of them in the slow tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.families.models import VARIANTS, TinyFamily, tiny_family
from support.models import single_thread

QUICK = ("gemma2", "gpt_neox")
"""Between them: windows, soft caps, norms after; parallel layers, biases, a fused projection."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Products this small are slower on two threads than on one."""
    with single_thread():
        yield


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name.replace(" ", "-"))
        for name in VARIANTS
    ]
)
def tiny_of(request: pytest.FixtureRequest) -> TinyFamily:
    """Every variant in float64."""
    return tiny_family(request.param)
