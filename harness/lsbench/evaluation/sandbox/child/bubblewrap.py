"""Confinement by bubblewrap: the same arrangement as ``namespaces``, made by a tool many machines have."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from .order import Order


def arguments(order: Order, filter_descriptor: int | None) -> list[str]:
    """The ``bwrap`` command line up to, and without, the command to run inside.

    Args:
        order: what to run.
        filter_descriptor: an inheritable descriptor of a file that holds the system call filter.
    """
    assert order.bubblewrap is not None
    command = [order.bubblewrap, "--die-with-parent", "--new-session"]
    command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"]
    if order.uid is None:
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    else:  # the runner changes to that id itself, and loses these two with it
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    command += ["--perms", "1777", "--size", str(4 * order.file_bytes), "--tmpfs", "/tmp"]
    for folder in _above(order.visible):  # by itself it closes those above a private folder to others
        command += ["--perms", "0755", "--dir", folder]
    for path in sorted(order.visible, key=len):
        if os.path.islink(path):
            within = any(path.startswith(f"{outer}/") for outer in order.visible)
            command += [] if within else ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind", path, path]
    command += ["--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    if filter_descriptor is not None:
        command += ["--seccomp", str(filter_descriptor)]
    return [*command, "--"]


def _above(paths: list[str]) -> list[str]:
    """Every folder that holds one of ``paths``, outermost first, less the root and the writable one."""
    parents = {parent for path in paths for parent in map(str, PurePosixPath(path).parents)}
    return sorted(parents - {"/", "/tmp"}, key=len)
