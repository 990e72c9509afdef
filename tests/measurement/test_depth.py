from __future__ import annotations

import pytest

from lsbench.measurement.depth import depth, memory, speculation


def test_first_token_of_each_request_is_left_out(make_record):
    records = [
        make_record(layers_run=(4.0, 1.0, 2.0)),
        make_record(layers_run=(4.0, 3.0)),
        make_record(layers_run=(4.0,)),
        make_record(layers_run=None),
    ]
    found = depth(records, 4)
    assert found is not None
    assert found.mean_layers == pytest.approx(2.0)
    assert found.histogram == (0, 1, 1, 1, 0)


def test_parts_of_layers_are_rounded_for_the_histogram_only(make_record):
    found = depth([make_record(layers_run=(4.0, 0.5, 1.49, 2.5, 3.75, 4.9))], 4)
    assert found is not None
    assert found.mean_layers == pytest.approx((0.5 + 1.49 + 2.5 + 3.75 + 4.9) / 5)
    assert found.histogram == (0, 2, 0, 1, 2)


def test_unknown_depth_is_none(make_record):
    assert depth([make_record(layers_run=None)], 4) is None
    assert depth([make_record(layers_run=(4.0,))], 4) is None
    assert depth([], 4) is None


def test_speculation_by_hand(make_record):
    records = [
        make_record(tokens=11, drafted=12, accepted=6, verify_passes=4),
        make_record(tokens=6, drafted=3, accepted=3, verify_passes=1),
        make_record(tokens=50),
    ]
    found = speculation(records)
    assert found is not None
    assert (found.drafted, found.accepted, found.verify_passes) == (15, 9, 5)
    assert found.acceptance_rate == pytest.approx(9 / 15)
    assert found.mean_accepted_length == pytest.approx((10 + 5) / 5)


def test_acceptance_by_position_by_hand(make_record):
    """Drafts of 3, 2, 0 and 3 tokens, of which 3, 0, 0 and 1 were accepted."""
    records = [
        make_record(drafted=5, accepted=3, verify_passes=2, draft_passes=((3, 3), (2, 0))),
        make_record(drafted=3, accepted=1, verify_passes=2, draft_passes=((0, 0), (3, 1))),
    ]
    found = speculation(records)
    assert found is not None
    table = [(at.position, at.drafted, at.accepted) for at in found.acceptance_by_position]
    assert table == [(1, 3, 2), (2, 3, 1), (3, 2, 1)]
    assert (sum(row[1] for row in table), sum(row[2] for row in table)) == (found.drafted, found.accepted)


def test_folders_of_before_have_no_acceptance_by_position(make_record):
    found = speculation([make_record(drafted=5, accepted=3, verify_passes=2)])
    assert found is not None
    assert found.acceptance_by_position == ()


def test_nothing_drafted_has_no_rate(make_record):
    assert speculation([make_record()]) is None
    found = speculation([make_record(drafted=0, accepted=0, verify_passes=0)])
    assert found is not None
    assert found.acceptance_rate is None
    assert found.mean_accepted_length is None


def test_memory_takes_the_largest(make_record):
    records = [
        make_record(peak_bytes=10, kv_bytes=3),
        make_record(peak_bytes=7, kv_bytes=5),
        make_record(),
    ]
    found = memory(records)
    assert found is not None
    assert (found.peak_bytes, found.kv_bytes) == (10, 5)
    assert memory(records[2:]) is None
    alone = memory([make_record(peak_bytes=1)])
    assert alone is not None
    assert alone.kv_bytes is None
