import json
import os
import platform

import pytest

from lsbench.doctor import processes
from lsbench.engine.native import tools
from lsbench.execution import leftovers, memory
from lsbench.execution.plan import SHARED_BUFFER_BYTES


@pytest.fixture
def shared_memory_has(monkeypatch):
    def make(size):
        monkeypatch.setattr(memory, "shared_memory_free", lambda: size)
        return processes.shared_memory()

    return make


@pytest.mark.skipif(platform.system() != "Linux", reason="DeepSpeed's all-reduce is for Linux")
def test_shards_need_a_compiler(monkeypatch):
    found = processes.shards()
    assert found.status == ("ok" if tools.what_is_missing() is None else "limited")
    monkeypatch.setattr(tools, "compiler_path", lambda: None)
    monkeypatch.delenv("CXX", raising=False)
    found = processes.shards()
    assert found.status == "limited"
    assert "no C++ compiler was found" in found.detail
    assert "--tensor-parallel" in found.detail
    assert "g++" in found.advice


@pytest.mark.skipif(platform.system() != "Linux", reason="DeepSpeed's all-reduce is for Linux")
def test_it_is_told_whether_the_sum_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(tools, "what_is_missing", lambda: None)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert "compiles its all-reduce at the first" in processes.shards().detail
    (tmp_path / "deepspeed_shm_comm").mkdir()
    (tmp_path / "deepspeed_shm_comm" / "deepspeed_shm_comm.so").touch()
    assert processes.shards().detail.endswith("is compiled")


def test_a_small_shared_memory_is_told_before_ranks_die_of_it(shared_memory_has):
    found = shared_memory_has(64 << 20)
    assert found.status == "limited"
    assert "64.0 MiB free in /dev/shm" in found.detail
    assert "--shm-size" in found.advice
    assert shared_memory_has(2 * SHARED_BUFFER_BYTES).detail.endswith("enough for 2 ranks")
    assert shared_memory_has(1 << 40).status == "ok"
    assert shared_memory_has(None).status == "limited"


def test_shared_memory_of_this_machine_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_SHARED", tmp_path)
    assert memory.shared_memory_free() > 0
    monkeypatch.setattr(memory, "_SHARED", tmp_path / "none")
    assert memory.shared_memory_free() is None


def test_what_killed_runs_have_left_is_cleaned_up(monkeypatch, tmp_path):
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path))
    assert processes.left_behind().detail == "have left nothing behind"
    file = tmp_path / "buffer"
    file.write_bytes(b"x" * (5 << 20))
    folder = tmp_path / "leftovers"
    folder.mkdir(exist_ok=True)
    gone = {"run": "20260101-abc", "place": leftovers._place(), "owner": os.getpid(), "started": 0.5}
    lines = (gone, {"file": str(file)})
    (folder / "1-ab.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = processes.left_behind()
    assert found.status == "ok"
    assert found.detail == "cleaned up 1 file (5 MiB) of run 20260101-abc, which had been killed"
    assert not file.exists()
