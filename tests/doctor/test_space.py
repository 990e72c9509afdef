import psutil
import pytest

from lsbench.doctor import space

GIB = 1 << 30


@pytest.fixture
def machine_has(monkeypatch):
    def make(available):
        class Memory:
            pass

        Memory.available = available
        monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)

    return make


def test_too_little_memory_is_missing(machine_has):
    machine_has(GIB)
    found = space.memory()
    assert found.status == "missing"
    assert "1.00 GiB" in found.detail
    machine_has(3 * GIB)
    assert space.free_memory() <= 3 * GIB


def test_a_container_may_take_less_than_the_machine_has(machine_has, tmp_path):
    machine_has(20 * GIB)
    assert space.free_memory(tmp_path) == 20 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    assert space.free_memory(tmp_path) == 20 * GIB
    (tmp_path / "memory.max").write_text(f"{8 * GIB}\n")
    assert space.free_memory(tmp_path) == 7 * GIB
    (tmp_path / "memory.current").write_text(f"{9 * GIB}\n")
    assert space.free_memory(tmp_path) == 0


def test_a_cache_folder_yet_to_be_made_is_as_good(tmp_path, monkeypatch):
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path / "a" / "b"))
    monkeypatch.setattr(space, "DISK_BYTES", 1)
    found = space.disk()
    assert found.status == "ok"
    assert str(tmp_path / "a" / "b") in found.detail
    assert not (tmp_path / "a").exists()


def test_where_nothing_can_be_kept_a_first_run_fails(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path / "file" / "cache"))
    found = space.disk()
    assert found.status == "missing"
    assert "cannot be written" in found.detail
    assert "LSBENCH_CACHE" in found.advice
    # What is prepared already need not be written.
    monkeypatch.setattr("lsbench.catalog.prepared_model", lambda name: tmp_path)
    monkeypatch.setattr("lsbench.catalog.prepared_data", lambda name: tmp_path)
    assert space.disk().status == "limited"


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(space, "DISK_BYTES", 1 << 62)
    found = space.disk()
    assert found.status == "missing"
    assert "free" in found.detail
