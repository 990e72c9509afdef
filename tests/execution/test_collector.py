"""What is loaded is left alone while things are timed, and collected afterwards."""

from __future__ import annotations

import gc

from lsbench.execution.collector import settle, unsettle


def test_what_was_there_is_visited_by_no_collection_until_the_end():
    settle()
    try:
        frozen = gc.get_freeze_count()
        assert frozen > 1000
        loop: list[object] = []
        loop.append(loop)
        del loop
        assert gc.collect() >= 1
        assert len(gc.get_objects()) < frozen
    finally:
        unsettle()
    assert gc.get_freeze_count() == 0
