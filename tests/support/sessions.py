"""Two sessions that should hold the same."""

from __future__ import annotations

import numpy as np
import torch

from lsbench.engine import Session


def assert_held_alike(ours: Session, theirs: Session, tolerance: float) -> None:
    """States and frontiers are equal; keys and values are, to ``tolerance``, absolutely and relatively."""
    assert np.array_equal(ours.cache.state, theirs.cache.state)
    assert np.array_equal(ours.cache.frontier, theirs.cache.frontier)
    assert ours.exact_lengths == theirs.exact_lengths
    for layer in range(ours.num_layers):
        for sequence, held in enumerate(ours.lengths):
            pairs = zip(
                ours.cache.read(layer, sequence, held), theirs.cache.read(layer, sequence, held), strict=True
            )
            for made, expected in pairs:
                torch.testing.assert_close(made, expected, rtol=tolerance, atol=tolerance)
