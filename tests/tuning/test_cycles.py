"""Cycles that are played through are those of a loop that drafts and compares token by token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsbench.tuning.cycles import TableCycles, play
from lsbench.tuning.draft_table import DraftTable, NotDrafted, Proposals, Until

ANY, SURE = Until(0.0, frozenset()), Until(0.5, frozenset())


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


def table_of(draft: Draft) -> DraftTable:
    rows = len(draft.right)
    table = DraftTable(rows)
    table.know_all(
        Proposals(
            choices=np.array(draft.tokens),
            agrees=np.array(draft.right),
            chances=np.array(draft.chances),
            work=np.tile([2.0, 1.0, 1.5, 0.0, 0.0, 1.0], (rows, 1)),
            frontier=np.full(rows, 3),
            runs=np.tile([True, True, True, False, False, False], (rows, 1)),
            rides=False,
        )
    )
    return table


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
    played = play(TableCycles(table_of(draft), Until(stop, frozenset(ends))), len(draft.right), most, limit)
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
    table = table_of(Draft([False, True, True], [0.9, 0.9, 0.1], [0, 0, 0]))
    first, second = play(TableCycles(table, ANY), 3, 4, 100)
    assert (first.taken, first.drafted) == (0, 4)
    assert (second.taken, second.drafted) == (2, 4)


def test_after_a_wrong_token_it_goes_on_as_often_as_it_is_sure_elsewhere() -> None:
    table = table_of(Draft([False, True, True, True], [0.9, 0.9, 0.9, 0.1], [0] * 4))
    cycle = TableCycles(table, SURE)(0, 4)
    # The first after it is drafted in any case, and each one more with three chances in four.
    assert cycle.drafted == pytest.approx(1 + 1 + 0.75 + 0.75**2)


def test_what_was_not_drafted_is_said_and_what_was_is_known_to_its_first_wrong_token() -> None:
    rows = table_of(Draft([True, True, False, True], [0.9, 0.9, 0.9, 0.1], [1, 2, 3, 4])).rows
    table = DraftTable(4)
    table.add(np.array([0, 2]), 0, rows.at(np.array([0, 2])))
    assert table.cycle(0, 1, ANY) == [0]
    assert table.cycle(1, 0, ANY) == []
    # A wrong token ends a cycle, and so does one that the draft itself ends it with, and the reference.
    assert table.cycle(2, 5, ANY) == [1]
    assert table.cycle(0, 5, Until(0.95, frozenset())) == table.cycle(0, 5, Until(0.0, frozenset({1}))) == [0]
    for first, count in ((0, 2), (1, 1)):
        with pytest.raises(NotDrafted) as error:
            table.cycle(first, count, ANY)
        assert error.value.first == first
    table.add(np.array([0]), 1, rows.at(np.array([1])))
    assert table.cycle(0, 2, ANY) == [0, 2]
    assert [table.latest(place) for place in range(4)] == [0, 2, 1, None]
    table.add(np.array([3]), 0, rows.at(np.array([3])))
    assert table.cycle(3, 4, ANY) == [3]


def test_as_long_as_not_all_is_known_what_follows_a_wrong_token_is_like_what_came_before() -> None:
    rows = table_of(Draft([True, False, True, False], [0.9, 0.9, 0.1, 0.9], [0] * 4)).rows
    table = DraftTable(4)
    table.add(np.array([0, 2]), 0, rows.at(np.array([0, 2])))
    table.add(np.array([0, 2]), 1, rows.at(np.array([1, 3])))
    cycles = TableCycles(table, SURE)
    assert cycles(0, 4).drafted == pytest.approx(2 + 1 + 1)
    # The token at place 2 ends its cycle, whatever follows.
    assert cycles(2, 4).drafted == 1
    assert TableCycles(table, SURE)(2, 4).drafted == 1
