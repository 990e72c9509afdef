"""Mapped weights that are let go, and come back when they are read."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lsbench.engine.mapped_files import forget, letting_go, unchanged_mappings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
NUMBERS = 4 << 20


def resident_of_files() -> int:
    """Bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssFile"))


@pytest.fixture
def mapped(tmp_path):
    """A weight as transformers loads it: mapped from its file, privately."""
    file = tmp_path / "model.safetensors"
    save_file({"weight": torch.arange(NUMBERS, dtype=torch.float32)}, file)
    before = set(unchanged_mappings())
    weight = load_file(file)["weight"]
    mine = [each for each in unchanged_mappings() if each.begin <= weight.data_ptr() < each.end]
    return weight, [each for each in mine if each not in before]


def test_pages_go_and_come_back(mapped):
    weight, mappings = mapped
    if not mappings:
        pytest.skip("this version of safetensors reads files instead of mapping them")
    total = weight.double().sum().item()
    held = resident_of_files()
    forget(mappings)
    assert held - resident_of_files() > 4 * NUMBERS * 0.9
    assert weight.double().sum().item() == total


def test_what_was_written_to_is_never_let_go(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(1 << 20))
    with file.open("rb") as opened:
        memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    whole.sum()
    address = whole.data_ptr()
    assert [each for each in unchanged_mappings() if each.begin == address]
    whole[5000] = 7
    assert not [each for each in unchanged_mappings() if each.begin <= address < each.end]
    forget(unchanged_mappings())
    assert whole[5000] == 7


def test_where_there_is_no_proc_nothing_is_found(tmp_path):
    assert unchanged_mappings(smaps=tmp_path / "smaps") == []


def test_what_was_read_is_let_go_before_the_next(mapped):
    weight, mappings = mapped
    if not mappings:
        pytest.skip("this version of safetensors reads files instead of mapping them")
    held = []

    def copied():
        for _ in range(2):
            held.append(resident_of_files())
            weight.sum()
            yield 1
        held.append(resident_of_files())

    assert list(letting_go(copied())) == [1, 1]
    assert max(held) - min(held) < 4 * NUMBERS * 0.5
