"""What is left pending and made later, against the engine's own count of it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine import DecoderStack, DepthPlan, Session
from lsbench.tuning.riding import Ridden, riding
from support.families.models import LAYERS, made_family


@lru_cache
def stack() -> DecoderStack:
    return made_family("llama", torch.float64).stack


def stepped(runs: list[tuple[bool, ...]]) -> Ridden:
    """What the engine does in a step for each row."""
    session = Session(stack())
    session.prefill(torch.tensor([[3, 1, 4]]))
    for token, row in enumerate(runs):
        session.forward(torch.tensor([[token]]), DepthPlan(row, "recompute"))
    tally = session.tally
    frontier = session.cache.frontier[0, 3 : 3 + len(runs)].tolist()
    return Ridden(tuple(frontier), tally.older_rows, tally.own_passes, tally.ridden)


def frontier_of(runs: np.ndarray) -> list[int]:
    """How far each is exact in its own step, where it sees nothing inexact."""
    return [2 * LAYERS if row.all() else int(np.argmin(row)) for row in runs]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20))
def test_positions_left_early_are_taken_along_by_the_next_that_goes_deeper(exits: list[int]) -> None:
    depth, older, ridden = [2 * layer for layer in exits], 0, 0
    for new in range(len(depth)):
        for sublayer in range(2 * exits[new]):
            along = [before for before in range(new) if depth[before] == sublayer]
            for before in along:
                depth[before] += 1
            older += len(along)
            ridden += bool(along)
    own = [2 * layer for layer in exits]
    runs = np.arange(12) < np.array(own)[:, None]
    assert riding(runs, own, True) == Ridden(tuple(depth), older, 0, ridden)
    assert riding(runs, own, False) == Ridden(tuple(own))


EXITS = st.integers(1, 2 * LAYERS).map(lambda end: tuple(index < end for index in range(2 * LAYERS)))
ANY = st.tuples(*[st.booleans()] * (2 * LAYERS)).map(lambda runs: (True, *runs[1:]))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EXITS | ANY, min_size=1, max_size=8))
def test_it_is_what_the_engine_does(rows: list[tuple[bool, ...]]) -> None:
    runs = np.array(rows)
    assert riding(runs, frontier_of(runs), True) == stepped(rows)
