import sys

import pytest
import torch

from lsbench.execution import memory
from lsbench.execution.memory import PeakMemory

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the peak resident set is read from /proc")
def test_the_peak_is_of_this_request_and_of_no_earlier_one():
    watch = PeakMemory(torch.device("cpu"))
    watch.begin()
    before = watch.read()
    block = bytearray(b"x" * (200 * MIB))
    del block
    after = watch.read()
    assert 190 * MIB <= after - before <= 450 * MIB
    watch.begin()
    assert watch.read() < after - 150 * MIB


def test_where_the_peak_cannot_be_reset_none_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "none" / "clear_refs")
    watch = PeakMemory(torch.device("cpu"))
    watch.begin()
    assert watch.read() is None
