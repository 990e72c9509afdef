"""What of this Python installation a confined program must be able to read."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/nix/store", "/gnu/store"),
)
"""Where shared libraries and their index live; what a machine lacks is left out."""


@dataclass(frozen=True)
class Interpreter:
    """A Python installation as seen from inside the sandbox, at the same paths as outside."""

    executable: str
    """The real binary, symbolic links resolved: a virtual environment's is only a link to it."""
    import_path: tuple[str, ...]
    """``sys.path`` inside: the standard library, then the installed packages. numpy and its like are
    there because the code-execution checks that benchmarks come with let programs import them too."""
    visible: tuple[str, ...]
    """Files and folders to show read-only; none lies within another."""

    library_path: str | None
    """``LD_LIBRARY_PATH``, the only variable handed on: some installations do not start without it."""

    @classmethod
    def current(cls) -> Interpreter:
        """The interpreter that runs this very process."""
        executable = os.path.realpath(sys.executable)
        standard = sysconfig.get_path("stdlib")
        # Not sysconfig's DESTSHARED: it keeps the place Python was built for when it has been moved since.
        dynamic = [entry for entry in sys.path if entry.endswith("lib-dynload")]
        packages = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
        import_path = [
            entry for entry in dict.fromkeys([standard, *dynamic, *packages]) if os.path.isdir(entry)
        ]
        prefixes = [sys.base_prefix, sys.base_exec_prefix, os.path.dirname(executable)]
        library_path = os.environ.get("LD_LIBRARY_PATH") or None
        libraries = [entry for entry in (library_path or "").split(":") if os.path.isabs(entry)]
        visible = outermost([*SYSTEM, *prefixes, *import_path, *libraries])
        return cls(executable, tuple(import_path), visible, library_path)

    @property
    def environment(self) -> dict[str, str]:
        """What this interpreter must find in its environment to start."""
        return {"LD_LIBRARY_PATH": self.library_path} if self.library_path else {}


def outermost(paths: list[str]) -> tuple[str, ...]:
    """The given paths that exist, with what they link to, less those inside another of them."""
    wanted = {str(Path(path)) for path in paths if os.path.exists(path)}
    wanted |= {os.path.realpath(path) for path in wanted}
    wanted -= {"/"}  # an installation right under / would show everything
    kept: list[str] = []
    for path in sorted(wanted, key=len):
        # A path that is itself a link (/bin -> usr/bin) must be kept as a link beside its target.
        if os.path.islink(path) or not any(path.startswith(f"{outer}/") for outer in kept):
            kept.append(path)
    return tuple(kept)
