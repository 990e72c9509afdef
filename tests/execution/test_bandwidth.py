import pytest
import torch

from lsbench.engine.clock import Clock
from lsbench.execution import bandwidth
from lsbench.execution.bandwidth import (
    READERS,
    Reader,
    bandwidth_behind,
    last_level_cache_bytes,
    measure_bandwidth,
    step_bytes,
)

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
MEBI = 1 << 20


@pytest.fixture
def at_once(monkeypatch):
    """No longer than it takes to read everything a few times."""
    monkeypatch.setattr(bandwidth, "_BUDGET_S", 0)


@pytest.fixture
def virtual_time(monkeypatch):
    now = [0]
    monkeypatch.setattr(Clock, "now_ns", lambda self: now[0])
    return now


def taking(now, nanoseconds):
    def over(buffer):
        def read():
            now[0] += nanoseconds

        return read

    return over


def test_the_best_reader_counts(virtual_time, monkeypatch):
    readers = (Reader("slow", taking(virtual_time, 9000)), Reader("fast", taking(virtual_time, 4096)))
    monkeypatch.setattr(bandwidth, "READERS", readers)
    found = measure_bandwidth(CPU, MEBI)
    assert found.reader == "fast"
    assert found.bytes_per_second == pytest.approx(MEBI / 4096e-9)
    assert found.threads == 1


def test_a_clock_that_stands_still_tells_nothing(virtual_time):
    assert measure_bandwidth(CPU, MEBI) is None


@pytest.mark.usefixtures("at_once")
def test_threads_are_those_that_torch_uses_now():
    torch.set_num_threads(2)
    assert measure_bandwidth(CPU, MEBI).threads == 2


def test_no_room_for_the_buffer_is_no_error(monkeypatch):
    def full(*_, **__):
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(bandwidth, "huge_pages", lambda num_bytes: None)
    monkeypatch.setattr(torch, "ones", full)
    assert measure_bandwidth(CPU, MEBI) is None


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_reader_touches_every_byte(reader):
    """What it gives or leaves behind depends on every part of the buffer."""
    count = 4 * 2 * 4096
    buffer = torch.ones(count)
    plain = reader.over(buffer.clone())().clone()
    for place in (4096, count // 2 - 1, *((count // 2, count - 1) if reader.name != "copy" else ())):
        changed = buffer.clone()
        changed[place] = 2
        assert not torch.equal(reader.over(changed)(), plain)
    if reader.name == "copy":  # the other half is what it writes
        reader.over(buffer)()
        buffer[: count // 2] = 3
        reader.over(buffer)()
        assert (buffer == 3).all()


@pytest.mark.usefixtures("at_once")
def test_a_model_that_caches_hold_is_bound_by_something_else(tiny_stack, monkeypatch):
    assert bandwidth_behind(tiny_stack) is None
    monkeypatch.setattr(bandwidth, "last_level_cache_bytes", lambda device: step_bytes(tiny_stack) - 1)
    monkeypatch.setitem(bandwidth._LEAST_BYTES, "cpu", MEBI)
    assert bandwidth_behind(tiny_stack).bytes_per_second > 0


def test_a_step_reads_what_its_products_multiply(tiny_stack):
    model = tiny_stack.model
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    names = {name for name, _ in model.named_parameters()}
    head = 0 if "lm_head.weight" in names else model.lm_head.weight.numel()
    assert step_bytes(tiny_stack) == 8 * (sum(p.numel() for p in matrices) + head)


def test_shared_caches_are_counted_once(tmp_path):
    for cpu, (own, shared) in enumerate([("0", "0-1"), ("1", "0-1"), ("2", "2-3"), ("3", "2-3")]):
        for index, level, size, whose in ((0, 1, "32K", own), (3, 3, "16384K", shared)):
            folder = tmp_path / f"cpu{cpu}/cache/index{index}"
            folder.mkdir(parents=True)
            (folder / "level").write_text(f"{level}\n")
            (folder / "size").write_text(f"{size}\n")
            (folder / "shared_cpu_list").write_text(f"{whose}\n")
    assert last_level_cache_bytes(CPU, tmp_path) == 2 * 16 * MEBI
    (tmp_path / "cpu3/cache/index3/size").write_text("unknown\n")
    assert last_level_cache_bytes(CPU, tmp_path) == 2 * 16 * MEBI
    assert last_level_cache_bytes(CPU, tmp_path / "none") == 32 * MEBI
