"""Every family; one thread, since products this small are slower on two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.models import single_thread


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield
