"""Cycles that are played through are those of a loop that drafts and compares token by token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsbench.tuning.cycles import DraftTable, play, ridden, table_cycle


@dataclass(frozen=True)
class Draft:
    """At each place of a text, what it proposes there if all before it was right, and how sure it is."""

    right: list[bool]
    chances: list[float]
    tokens: list[int]


@st.composite
def made_drafts(draw: st.DrawFn) -> Draft:
    count = draw(st.integers(1, 24))
    return Draft(
        draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=count, max_size=count)),
        draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)),
    )


def table_of(draft: Draft, longest: int) -> DraftTable:
    rows = len(draft.right)
    index = np.full((rows, longest), -1, dtype=np.int64)
    for first in range(rows):
        for depth in range(min(longest, rows - first)):
            if all(draft.right[first : first + depth]):
                index[first, depth] = first + depth
    return DraftTable(
        index=index,
        choices=np.array(draft.tokens),
        agrees=np.array(draft.right),
        chances=np.array(draft.chances),
        work=np.tile([2.0, 1.0, 1.5, 0.0, 0.0, 1.0], (rows, 1)),
        frontier=np.full(rows, 3),
        end=np.full(rows, 3),
        rides=False,
    )


def looped(draft: Draft, most: int, stop: float, ends: set[int], limit: int) -> list[tuple[int, int]]:
    """Taken and surely drafted tokens of each cycle, drafted and compared one by one."""
    cycles: list[tuple[int, int]] = []
    place, left = 0, limit - 1
    while place < len(draft.right) and left > 0:
        proposed: list[int] = []
        for at in range(place, place + min(most, left - 1)):
            if at >= len(draft.right):
                break
            proposed.append(at)
            if draft.tokens[at] in ends or draft.chances[at] < stop or not draft.right[at]:
                break
        taken = 0
        while taken < len(proposed) and draft.right[proposed[taken]]:
            taken += 1
        cycles.append((taken, len(proposed)))
        place += taken + 1
        left -= taken + 1
    return cycles


@given(
    made_drafts(),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.3, 0.7]),
    st.sets(st.integers(0, 3), max_size=2),
    st.integers(1, 40),
)
def test_what_is_taken_is_what_a_loop_takes(draft, most, stop, ends, limit) -> None:
    table = table_of(draft, 9)
    played = play(
        lambda first, count: table_cycle(table, stop, ends, first, count), table.places, most, limit
    )
    expected = looped(draft, most, stop, ends, limit)
    assert [cycle.taken for cycle in played] == [taken for taken, _ in expected]
    for cycle, (_, surely) in zip(played, expected, strict=True):
        assert surely <= cycle.drafted <= most
        assert cycle.effort.attention == pytest.approx(2 * cycle.drafted)
        assert cycle.effort.layers == pytest.approx(1.5 * cycle.drafted)
        assert (cycle.resumed_attention, cycle.resumed_mlp) == pytest.approx(
            (2 * cycle.drafted, cycle.drafted)
        )


def test_a_draft_that_never_stops_goes_on_to_the_end_of_its_cycle() -> None:
    table = table_of(Draft([False, True, True], [0.9, 0.9, 0.1], [0, 0, 0]), 4)
    first, second = play(lambda first, count: table_cycle(table, 0.0, set(), first, count), 3, 4, 100)
    assert (first.taken, first.drafted) == (0, 4)
    assert (second.taken, second.drafted) == (2, 4)


def test_after_a_wrong_token_it_goes_on_as_often_as_it_is_sure_elsewhere() -> None:
    table = table_of(Draft([False, True, True, True], [0.9, 0.9, 0.9, 0.1], [0] * 4), 4)
    cycle = table_cycle(table, 0.5, set(), 0, 4)
    # The first after it is drafted in any case, and each one more with three chances in four.
    assert cycle.drafted == pytest.approx(1 + 1 + 0.75 + 0.75**2)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20))
def test_positions_left_early_are_taken_along_by_the_next_that_goes_deeper(exits: list[int]) -> None:
    depth, older = [2 * layer for layer in exits], 0
    for new in range(len(depth)):
        for before in range(new):
            while depth[before] < 2 * exits[new]:
                depth[before] += 1
                older += 1
    assert ridden([2 * layer for layer in exits], [2 * layer for layer in exits], True) == (depth, older)
    assert ridden([2 * layer for layer in exits], [2 * layer for layer in exits], False)[1] == 0
