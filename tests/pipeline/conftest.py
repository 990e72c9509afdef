"""Whole runs of a tiny model."""

from collections.abc import Iterator
from functools import partial

import pytest

from support.models import single_thread
from support.runs import STRATEGIES, TASKS, go


@pytest.fixture(scope="session")
def spec_for(spec_for):
    """All of the tiny tasks, unless others are given."""
    return partial(spec_for, tasks=TASKS)


@pytest.fixture(scope="package", autouse=True)
def few_rounds() -> Iterator[None]:
    """What a step costs is told by a few rounds; ``tests/execution`` measures it as runs do."""
    from lsbench.execution import rounds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "_MOST_ROUNDS", 6)
        yield


@pytest.fixture(scope="session")
def whole(spec_for):
    """One run of everything, looked at from many sides."""
    with single_thread():
        return go(spec_for(*STRATEGIES))
