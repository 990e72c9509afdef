"""What a run was made on and with: hardware, versions, load and the state of the source."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from lsbench.spec import Frozen

_PACKAGES = {
    "lsbench": "lsbench",
    "torch": "torch",
    "transformers": "transformers",
    "deepspeed": "deepspeed",
    "ray": "ray",
    "lm_eval": "lm-eval",
}


class Hardware(Frozen):
    """The machine the run's driver ran on."""

    system: str
    """Operating system and machine type, such as ``Linux-6.1-x86_64``."""
    cpu: str
    cores: int
    """Logical cores this process may use."""
    memory_bytes: int
    gpus: tuple[str, ...] = ()


class GitState(Frozen):
    """The commit checked out where the command was given."""

    commit: str
    dirty: bool
    """Whether tracked files differed from the commit."""


def hardware(gpus: tuple[str, ...] = ()) -> Hardware:
    """Describe this machine; ``gpus`` are device names, from whoever has torch loaded."""
    import psutil

    return Hardware(
        system=f"{platform.system()}-{platform.release()}-{platform.machine()}",
        cpu=_cpu_model(),
        cores=_usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        gpus=gpus,
    )


def versions() -> dict[str, str | None]:
    """Versions of Python and of every package that could change a figure; None for one not installed.

    Read from the installed metadata: nothing is imported.
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def load_average() -> tuple[float, float, float] | None:
    """Runnable processes over the last 1, 5 and 15 minutes; None where the system does not tell."""
    try:
        return os.getloadavg()
    except (AttributeError, OSError):
        return None


def git_state(folder: Path | None = None) -> GitState | None:
    """The commit of ``folder`` (default: the working directory); None outside git or without git.

    Nothing git says reaches the terminal.
    """
    where = folder or Path.cwd()
    commit = _git(where, "rev-parse", "--verify", "HEAD")
    status = _git(where, "status", "--porcelain", "--untracked-files=no")
    if commit is None or status is None:
        return None
    return GitState(commit=commit.strip(), dirty=bool(status.strip()))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=10,
            text=True,
            errors="replace",
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
