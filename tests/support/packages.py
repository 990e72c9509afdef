"""Packages of third parties, installed as their users would install them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Installed:
    """A folder of its own with one package in it, beside all else that is installed."""

    site: Path

    def run(self, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Python with the package in reach, in ``folder``."""
        environment = {**os.environ, "PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )


def install(package: Path, work: Path) -> Installed:
    """From a copy below ``work``: a build leaves files beside its source."""
    source, site = work / "source" / package.name, work / "site"
    shutil.copytree(package, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    pip = [sys.executable, "-m", "pip", "install", *options, source]
    subprocess.run(pip, check=True, capture_output=True)
    return Installed(site)
