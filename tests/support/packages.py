"""Packages of third parties, installed as their users would install them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Installed:
    """A folder of its own with one package in it, beside all else that is installed."""

    site: Path

    @contextmanager
    def python(self) -> Iterator[Run]:
        """Runs Python as ``python ...`` in a folder, with the package in reach.

        Each command has a process of its own, forked from one that has loaded torch and lsbench already.
        """
        server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("warm_python.py")],
            env={**os.environ, "PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdin is not None
        assert server.stdout is not None
        orders, answers = server.stdin, server.stdout

        def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
            with tempfile.TemporaryDirectory() as said:
                print(json.dumps({"command": command, "folder": str(folder), "said": said}), file=orders)
                orders.flush()
                code = int(answers.readline())
                out, err = (Path(said, name).read_text() for name in ("out", "err"))
            return subprocess.CompletedProcess(command, code, out, err)

        yield run
        orders.close()
        server.wait()


def install(package: Path, work: Path) -> Installed:
    """From a copy below ``work``: a build leaves files beside its source."""
    source, site = work / "source" / package.name, work / "site"
    shutil.copytree(package, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    pip = [sys.executable, "-m", "pip", "install", *options, source]
    subprocess.run(pip, check=True, capture_output=True)
    return Installed(site)
