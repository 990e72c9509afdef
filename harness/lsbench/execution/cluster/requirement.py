"""Whether Ray is there, in a version that lsbench works with."""

from __future__ import annotations

import importlib.metadata
import importlib.util

from lsbench.errors import BadInput


def check_ray() -> None:
    """Look, and import nothing.

    Raises:
        BadInput: Ray is missing or of another version; with what to install.
    """
    from packaging.specifiers import SpecifierSet

    needed = _needed()
    install = f"pip install 'ray[tune]{needed}'"
    try:
        there = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        there = None
    if there is None or importlib.util.find_spec("ray") is None:
        raise BadInput(f"More than one process is placed by Ray, which is not installed here: {install}")
    if not SpecifierSet(needed).contains(there, prereleases=True):
        raise BadInput(f"Ray {there} is installed, and lsbench needs ray{needed}: {install}")


def _needed() -> str:
    """The versions that lsbench was installed for, such as ``>=2.60,<2.61``; any, where that is not known."""
    from packaging.requirements import Requirement

    try:
        written = importlib.metadata.requires("lsbench") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    requirements = (Requirement(text) for text in written)
    return next((str(each.specifier) for each in requirements if each.name == "ray"), "")
