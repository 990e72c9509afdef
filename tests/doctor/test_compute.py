import sys
from pathlib import Path

import pytest

from lsbench.doctor import compute
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
    import torch

    class Device:
        name, total_memory = "Fast One", 80 << 30

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Device)
    assert compute.accelerators().detail == "Fast One, 80.0 GiB; Fast One, 80.0 GiB"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert compute.accelerators().detail.startswith("none")
