"""Processor, accelerators, and what builds native code for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lsbench.doctor.finding import Finding

_COMPILERS = ("g++", "clang++", "c++")
_WITHOUT = "products of a few rows are torch's own, which read weights far below memory's speed"


def processor() -> Finding:
    """Which processor, and whether it is busy with other work."""
    from lsbench.store.machine import hardware, load_average

    machine, load = hardware(), load_average()
    detail = f"{machine.cpu}, {machine.cores} core{'s' if machine.cores != 1 else ''}"
    if load is not None and load[0] >= machine.cores:
        return Finding(
            "processor",
            "limited",
            f"{detail}, load {load[0]:.1f}: times taken now are noisy",
            "end other work before timing anything",
        )
    return Finding("processor", "ok", detail + ("" if load is None else f", load {load[0]:.1f}"))


def accelerators() -> Finding:
    """The CUDA devices that torch finds."""
    import torch

    from lsbench.report.figures import size

    found = [
        f"{properties.name}, {size(properties.total_memory)}"
        for properties in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]
    return Finding("accelerator", "ok", "; ".join(found) or "none found: models run on the CPU")


def compiler() -> Finding:
    """The C++ compiler that native code is built with."""
    path = compiler_path()
    if path is None:
        given = os.environ.get("CXX")
        found = f"CXX names {given!r}, which is none" if given else f"none of {', '.join(_COMPILERS)}"
        return Finding("compiler", "limited", f"{found}: {_WITHOUT}", "install g++ or clang++")
    return Finding("compiler", "ok", _first_line([path, "--version"]) or path)


def ninja() -> Finding:
    """The build tool that torch's extension loader calls."""
    path = _found("ninja")
    if path is None:
        return Finding("ninja", "limited", f"not found: {_WITHOUT}", "pip install ninja")
    version = _first_line([path, "--version"])
    return Finding("ninja", "ok", version or path)


def compiler_path() -> str | None:
    """The compiler that torch's extension loader would call: ``CXX`` where given, else the first there is."""
    given = os.environ.get("CXX")
    return next(filter(None, map(_found, [given] if given else _COMPILERS)), None)


def _found(program: str) -> str | None:
    """On the path, or beside this interpreter: an environment that was not activated is not on the path."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))


def _first_line(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None
