"""The few Linux calls that Python 3.11 does not offer, through the C library."""

from __future__ import annotations

import ctypes
import os
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME, MS_BIND = 32, 1024, 2048, 4096
MS_REC, MS_PRIVATE, MS_RELATIME = 16384, 1 << 18, 1 << 21
MNT_DETACH = 2

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x80

PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
"""System call number by machine; the C library has no function for it."""

_libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """``result`` of a C call; raises OSError that says ``what`` failed when it is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def prctl(option: int, argument: Any, pointer: Any = 0) -> None:
    """Change one property of this process; raises OSError when the kernel refuses."""
    value = argument if isinstance(argument, ctypes._SimpleCData) else ctypes.c_ulong(argument)
    zero = ctypes.c_ulong(0)
    extra = pointer if pointer else zero
    checked(_libc.prctl(option, value, extra, zero, zero), f"prctl({option})")


def unshare(flags: int) -> None:
    """Leave the named namespaces for new ones; raises OSError when the kernel refuses."""
    checked(_libc.unshare(flags), f"unshare({flags:#x})")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount; raises OSError when the kernel refuses."""
    encode = os.fsencode
    result = _libc.mount(
        encode(source),
        encode(target),
        encode(kind) if kind else None,
        ctypes.c_ulong(flags),
        encode(data) if data else None,
    )
    checked(result, f"mount({target})")


def pivot_into(folder: str) -> None:
    """Make ``folder``, a mount, this process's root and let go of the old one; raises OSError."""
    os.chdir(folder)
    # With both arguments ".", the old root ends up stacked on the new one and can be detached from there.
    checked(syscall(PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    checked(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def syscall(number: int, *arguments: Any) -> int:
    """Any system call by number; -1 with the C library's errno set when it fails."""
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _libc.syscall(ctypes.c_long(number), *wide)
