import json
import sys
from pathlib import Path

import pytest
import torch

from lsbench.doctor import compute
from lsbench.engine.native import crossover, library
from lsbench.store import machine


@pytest.fixture
def nothing_installed(tmp_path, monkeypatch):
    """A machine with this Python and no program besides."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    return tmp_path


def program(folder: Path, name: str, says: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\necho more\n")
    (folder / name).chmod(0o755)


def test_without_a_compiler_products_are_torchs(nothing_installed):
    found = compute.compiler()
    assert found.status == "limited"
    assert "torch's own" in found.detail
    assert "g++" in found.advice
    assert compute.ninja().status == "limited"


def test_the_compiler_is_the_one_that_CXX_names(nothing_installed, monkeypatch):
    program(nothing_installed, "clang++", "clang version 15")
    assert compute.compiler().detail == "clang version 15"
    program(nothing_installed, "g++", "g++ 12")
    assert compute.compiler().detail == "g++ 12"
    monkeypatch.setenv("CXX", "clang++")
    assert compute.compiler().detail == "clang version 15"
    monkeypatch.setenv("CXX", "icpx")
    assert compute.compiler().status == "limited"
    assert "'icpx'" in compute.compiler().detail


@pytest.fixture
def no_library(tmp_path, monkeypatch):
    """As where nothing has been built yet."""
    monkeypatch.setattr(library, "_LOADED", [])
    monkeypatch.setattr(library, "library_folder", lambda: tmp_path / "native" / "it")
    monkeypatch.setattr(crossover, "_FOUND", {})
    monkeypatch.setattr(crossover, "library_folder", lambda: tmp_path / "native" / "it")
    monkeypatch.delenv(library.PRODUCTS, raising=False)
    return tmp_path / "native" / "it"


def test_a_look_builds_nothing(no_library, nothing_installed, monkeypatch):
    monkeypatch.setattr(library, "_build_once", lambda *_: pytest.fail("it is built"))
    program(nothing_installed, "g++", "g++ 12")
    found = compute.few_row_products()
    assert (found.status, found.advice) == ("limited", "pip install ninja")
    program(nothing_installed, "ninja", "1.13")
    found = compute.few_row_products()
    assert (found.status, found.detail) == ("ok", f"compiled at the first run, by {nothing_installed}/g++")
    assert not no_library.exists()


def test_without_a_compiler_the_cost_is_told(no_library, nothing_installed):
    found = compute.few_row_products()
    assert found.status == "limited"
    assert "third of memory's speed: no C++ compiler was found" in found.detail
    assert "g++" in found.advice


def test_what_was_built_is_told_with_the_rows_that_are_known(no_library, monkeypatch):
    no_library.mkdir(parents=True)
    (no_library / library._LIBRARY).touch()
    monkeypatch.setattr(library, "_instruction_set", lambda: "AVX2")
    assert compute.few_row_products().detail == (
        "compiled for AVX2; up to how many rows they win is measured at the first run"
    )
    threads = torch.get_num_threads()
    known = {f"float32/{threads}": 24, f"bfloat16/{threads}": 8, f"float32/{threads + 1}": 4}
    (no_library / "crossover.json").write_text(json.dumps({"most_rows": known}))
    assert compute.few_row_products().status == "ok"
    assert compute.few_row_products().detail == (
        "compiled for AVX2, up to 24 rows in float32 and 8 in bfloat16"
    )


def test_a_build_that_failed_is_told_with_its_reason(no_library):
    no_library.mkdir(parents=True)
    (no_library / library._FAILURE).write_text("out of order\n")
    found = compute.few_row_products()
    assert found.status == "limited"
    assert f"out of order (delete {no_library} to try again)" in found.detail


def test_what_the_environment_asks_for_is_told(no_library, monkeypatch):
    monkeypatch.setenv(library.PRODUCTS, "torch")
    found = compute.few_row_products()
    assert (found.status, found.advice) == ("limited", "unset LSBENCH_PRODUCTS")
    monkeypatch.setenv(library.PRODUCTS, "troch")
    found = compute.few_row_products()
    assert found.status == "missing"
    assert "Did you mean 'torch'" in found.detail


def test_programs_of_an_environment_that_is_not_activated_are_found(nothing_installed):
    program(nothing_installed / "bin", "ninja", "1.13")
    assert (compute.ninja().status, compute.ninja().detail) == ("ok", "1.13")


def test_a_program_that_fails_is_named_by_its_path(nothing_installed):
    (nothing_installed / "ninja").write_text("#!/bin/sh\nexit 1\n")
    (nothing_installed / "ninja").chmod(0o755)
    assert compute.ninja().detail == str(nothing_installed / "ninja")


def test_a_busy_machine_is_told(monkeypatch):
    cores = machine.hardware().cores
    monkeypatch.setattr(machine, "load_average", lambda: (cores + 0.5, 0, 0))
    found = compute.processor()
    assert found.status == "limited"
    assert f"load {cores + 0.5:.1f}" in found.detail
    monkeypatch.setattr(machine, "load_average", lambda: (0.0, 9, 9))
    assert compute.processor().status == "ok"
    monkeypatch.setattr(machine, "load_average", lambda: None)
    assert compute.processor().status == "ok"


def test_accelerators_are_named_by_torch(monkeypatch):
    class Device:
        name, total_memory = "Fast One", 80 << 30

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Device)
    assert compute.accelerators().detail == "Fast One, 80.0 GiB; Fast One, 80.0 GiB"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert compute.accelerators().detail.startswith("none")
