"""Models operator by operator, beside the same weights whose few rows are run as static steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lsbench.engine.graphs import GraphedDecoder
from support.models import single_thread


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Products this small are slower on two threads than on one."""
    with single_thread():
        yield


class CalledAgain:
    """Stands in for CUDA graphs: what was recorded is called again, and its outcome put where it was.

    It reads the tensors that it was recorded with and no others, as a graph does. It cannot show that torch
    can record a step: for that a GPU is needed.
    """

    def __init__(self) -> None:
        self.replays = 0

    def __call__(self, run, device):
        outcome = run().clone()

        def replay() -> None:
            self.replays += 1
            outcome.copy_(run())

        return replay, outcome


@pytest.fixture
def record() -> CalledAgain:
    return CalledAgain()


@pytest.fixture
def graphed(record):
    """``graphed(stack)``: a decoder of the stack's layers."""
    return lambda stack: GraphedDecoder(stack.blocks, stack.shape.scale, record)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield
