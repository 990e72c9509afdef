"""Widths that are timed, by what strategies did while warming up."""

from __future__ import annotations

import pytest

from lsbench.execution.step_widths import DRAFTING_WIDTHS, StepWidths, widths_up_to
from lsbench.records import SampleRecord

L = 4


def record(**did) -> SampleRecord:
    fields = {
        "strategy": "x", "options": {}, "label": "x", "task": "t", "doc_id": 0, "kind": "generate",
        "arguments_sha256": "", "prompt": "", "prompt_tokens": 1, "filled": 0, "older_rows": 0,
    }  # fmt: skip
    return SampleRecord.model_validate({**fields, **did})


def widths(*records: SampleRecord, batch_size: int = 1) -> tuple[int, ...]:
    made = StepWidths(L)
    for each in records:
        made.see(each)
    return made.of(batch_size)


@pytest.mark.parametrize(
    "alone",
    [
        {"layers_run": (4.0, 4.0, 4.0)},
        {"layers_run": (4.0, 2.0, 2.0)},  # all stop at one layer
        {"layers_run": (4.0, 2.0, 3.0), "filled": 3},
        {"layers_run": None},
    ],
)
def test_one_row_where_none_comes_with_it(alone):
    assert widths(record(**alone)) == (1,)
    assert widths(record(**alone), batch_size=4) == (1, 2, 3, 5)


@pytest.mark.parametrize(
    "rides",
    [
        {"layers_run": (4.0, 2.0, 4.0), "older_rows": 4},
        # Nobody has gone deeper than those before yet.
        {"layers_run": (4.0, 3.0, 2.0, 2.0)},
    ],
)
def test_several_where_positions_left_early_may_come_along_later(rides):
    assert widths(record(layers_run=(4.0, 4.0)), record(**rides)) == (1, 2, 3, 5, 9)
    assert widths(record(**rides), batch_size=16) == DRAFTING_WIDTHS


def test_all_where_somebody_drafts_or_nobody_is_known():
    assert widths(record(layers_run=(4.0, 4.0)), record(layers_run=(4.0, 4.0), drafted=3)) == DRAFTING_WIDTHS
    assert widths() == DRAFTING_WIDTHS


@pytest.mark.parametrize(
    ("rows", "wanted"), [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 5)), (40, DRAFTING_WIDTHS)]
)
def test_widths_lie_around_what_is_asked(rows, wanted):
    assert widths_up_to(rows) == wanted
