"""Python and packages, by their installed metadata: nothing heavy is imported but torch, once."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence

from lsbench.doctor.finding import Finding

_FOR_SCALE = ("ray", "deepspeed", "hyperopt")
"""Only several processes and tuning need these."""


def python() -> Finding:
    """Whether this Python is one that lsbench is made for."""
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    wanted = importlib.metadata.metadata("lsbench")["Requires-Python"]
    if SpecifierSet(wanted or "").contains(version, prereleases=True):
        return Finding("Python", "ok", version)
    return Finding(
        "Python",
        "missing",
        f"{version}, and lsbench needs {wanted}",
        "install such a Python; make a venv of it",
    )


def packages() -> Finding:
    """Whether everything that a run needs is installed, in a version that fits."""
    missing = unmet([name for name in requirements() if name not in _FOR_SCALE])
    if not missing:
        return Finding("packages", "ok", f"all {len(requirements()) - len(_FOR_SCALE)} that a run needs")
    return Finding("packages", "missing", "; ".join(missing), _install(missing))


def scale() -> Finding:
    """Whether what several processes and tuning need is installed."""
    missing = unmet(_FOR_SCALE)
    found = ", ".join(f"{name} {version}" for name in _FOR_SCALE if (version := installed(name)) is not None)
    if not missing:
        return Finding("Ray, DeepSpeed", "ok", found)
    return Finding(
        "Ray, DeepSpeed",
        "limited",
        f"{'; '.join(missing)}: no tuning, no several processes",
        _install(missing),
    )


def torch_itself() -> Finding:
    """Whether torch can be imported, and how many threads it uses."""
    try:
        import torch
    except Exception as error:  # a broken library fails in its own way
        reason = " ".join(str(error).split())[:200]
        return Finding(
            "torch", "missing", f"cannot be imported: {reason}", "pip install --force-reinstall torch"
        )
    threads = torch.get_num_threads()
    return Finding("torch", "ok", f"{torch.__version__}, {threads} thread{'s' if threads != 1 else ''}")


def requirements() -> Mapping[str, str]:
    """What lsbench's own metadata says it needs: requirement by package name, extras left out."""
    from packaging.requirements import Requirement

    read = [Requirement(text) for text in importlib.metadata.requires("lsbench") or ()]
    return {one.name: str(one) for one in read if one.marker is None or one.marker.evaluate({"extra": ""})}


def unmet(names: Sequence[str]) -> list[str]:
    """Which of these packages are not installed, or in a version that does not fit, in words."""
    from packaging.requirements import Requirement

    wanted, said = requirements(), list[str]()
    for name in names:
        requirement = Requirement(wanted.get(name, name))
        version = installed(name)
        if version is None:
            said.append(f"{name} is not installed")
        elif not requirement.specifier.contains(version, prereleases=True):
            said.append(f"{name} is {version}, not {requirement.specifier}")
    return said


def installed(name: str) -> str | None:
    """The installed version of a package; None for none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _install(missing: Sequence[str]) -> str:
    wanted = requirements()
    names = [re.split(r" is ", text)[0] for text in missing]
    return "pip install " + " ".join(f"'{wanted.get(name, name)}'" for name in names)
