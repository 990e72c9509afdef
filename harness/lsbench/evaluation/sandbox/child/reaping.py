"""Ends every process that a program has left, and waits until they are gone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable

from .order import Order

if sys.platform == "linux":
    from . import kernel

PATIENCE_S = 10.0
"""How long killed processes may take to be gone (one may be stuck in a slow file system)."""


def adopt_orphans() -> None:
    """Become the parent of whatever the program leaves behind, and end orderly should the harness die."""
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)


def hide() -> None:
    """Close this process's descriptors and memory to others of the same user, a shared program among them."""
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def end(first: int | None, order: Order) -> None:
    """Kill the program's first process and all that came of it, and reap them.

    Args:
        first: id of that process, which may have ended; None when there never was one.
        order: how it was confined. In a process table of its own everything dies with the first process;
            else its process group, its user id and its orphans, who are our children by now, are ended.
    """
    if first is None:
        return
    deadline = time.monotonic() + PATIENCE_S
    if not order.isolated:
        _kill(os.killpg, first)
    while time.monotonic() < deadline:
        if not order.isolated and order.uid is not None:
            _kill_user(order.uid)
        for child in _children():
            _kill(os.kill, child)
        if not _reap():
            return
        time.sleep(0.001)


def _reap() -> bool:
    """Take leave of children that have ended; whether any are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _kill_user(uid: int) -> None:
    """Kill every process of ``uid`` at once, so that none can start another meanwhile."""
    helper = os.fork()
    if helper == 0:
        try:
            os.setgroups([])
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(helper, 0)


def _children() -> list[int]:
    """Ids of this process's children, as far as the process table can be read."""
    mine = []
    for name in filter(str.isdigit, os.listdir("/proc")) if os.path.isdir("/proc/self") else ():
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as line:
                # The name in parentheses may hold anything; the parent's id is the second field after it.
                parent = int(line.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # it has just ended
            continue
        if parent == os.getpid():
            mine.append(int(name))
    return mine


def _kill(how: Callable[[int, int], None], target: int) -> None:
    # It may be gone; on macOS a group of dead processes answers "not permitted".
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(target, signal.SIGKILL)
