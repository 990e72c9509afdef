"""What the compiled products are built with."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")


def compiler_path() -> str | None:
    """The C++ compiler: the one that ``CXX`` names where it is set, else the first there is."""
    given = os.environ.get("CXX")
    return next(filter(None, map(_found, [given] if given else COMPILERS)), None)


def ninja_path() -> str | None:
    """The build tool that torch's extension loader calls."""
    return _found("ninja")


def what_is_missing() -> str | None:
    """Why nothing can be built, in a few words; None where it can."""
    given = os.environ.get("CXX")
    if compiler_path() is None:
        return f"CXX names {given!r}, which is no program" if given else "no C++ compiler was found"
    return None if ninja_path() else "ninja was not found"


def _found(program: str) -> str | None:
    """On the path, or beside this interpreter: an environment that was not activated is not on the path."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
