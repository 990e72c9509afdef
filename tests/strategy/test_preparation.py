"""What strategies calibrate on."""

import numpy as np
import pytest

from lsbench.engine import DecoderStack, block_influence
from lsbench.strategy import Preparation


def test_speaks_of_the_model(stack: DecoderStack) -> None:
    preparation = Preparation(stack, ((1, 2, 3),))
    assert preparation.num_layers == 6
    assert preparation.sublayer_bytes == stack.sublayer_bytes


def test_influence_is_measured_once_for_all_strategies(
    stack: DecoderStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lsbench.engine

    prompts = ((1, 2, 3), (4, 5, 6, 7))
    calls = []

    def counted(*arguments: object) -> np.ndarray:
        calls.append(arguments)
        return block_influence(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lsbench.engine, "block_influence", counted, raising=False)
    preparation = Preparation(stack, prompts)
    first, second = preparation.influence, preparation.influence
    assert len(calls) == 1
    assert np.array_equal(first, second)
    assert np.array_equal(first, block_influence(stack, prompts))
    assert first.shape == (12,)
