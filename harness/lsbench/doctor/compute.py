"""Processor, accelerators, and what builds native code for them."""

from __future__ import annotations

import os
import subprocess

from lsbench.doctor.finding import Finding

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
    from lsbench.engine.native.tools import COMPILERS, compiler_path

    path = compiler_path()
    if path is None:
        given = os.environ.get("CXX")
        found = f"CXX names {given!r}, which is none" if given else f"none of {', '.join(COMPILERS)}"
        return Finding("compiler", "limited", f"{found}: {_WITHOUT}", "install g++ or clang++")
    return Finding("compiler", "ok", _first_line([path, "--version"]) or path)


def ninja() -> Finding:
    """The build tool that torch's extension loader calls."""
    from lsbench.engine.native.tools import ninja_path

    path = ninja_path()
    if path is None:
        return Finding("ninja", "limited", f"not found: {_WITHOUT}", "pip install ninja")
    version = _first_line([path, "--version"])
    return Finding("ninja", "ok", version or path)


def few_row_products() -> Finding:
    """Whether the products that decoding rests on are compiled for this machine; nothing is built for it."""
    from lsbench.engine.native.library import PRODUCTS, foresee, wanted
    from lsbench.engine.native.service import WHAT_TORCHS_COST
    from lsbench.engine.native.tools import compiler_path, ninja_path
    from lsbench.errors import BadInput

    name = "few-row products"
    try:
        left_out = not wanted()
    except BadInput as error:
        return Finding(name, "missing", str(error), f"unset {PRODUCTS}, or set it to one of these")
    found = foresee()
    if found is None:
        return Finding(name, "ok", f"compiled at the first run, by {compiler_path()}")
    if found.available:
        return Finding(name, "ok", f"{found.detail}{_up_to()}")
    advice = "mend what failed, then delete that folder"
    if left_out:
        advice = f"unset {PRODUCTS}"
    elif compiler_path() is None:
        advice = "install g++ or clang++, or set CXX"
    elif ninja_path() is None:
        advice = "pip install ninja"
    return Finding(name, "limited", f"torch's serve, and {WHAT_TORCHS_COST}: {found.detail}", advice)


def _up_to() -> str:
    """Up to how many rows, as far as it was measured before."""
    import torch

    from lsbench.engine.native.crossover import known_rows

    rows = {name: known_rows(getattr(torch, name)) for name in ("float32", "bfloat16", "int8")}
    told = [f"{count} in {name}" for name, count in rows.items() if count is not None]
    if not told:
        return "; up to how many rows they win is measured at the first run"
    first, *others = told
    return ", up to " + " and ".join([first.replace(" in", " rows in"), *others])


def _first_line(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None
