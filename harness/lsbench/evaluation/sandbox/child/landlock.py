"""Confinement of the file system by Landlock, which any process may put on itself where the kernel has it.

Source: Linux's ``Documentation/userspace-api/landlock.rst``.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from . import kernel

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1, 2, 4, 8, 1 << 14
READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
"""The rights that mean something on a single file; the others concern what a folder holds."""
OLDEST = 3
"""Before version 3 (Linux 6.2) it does not stop files from being truncated."""


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scope", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def version() -> int:
    """The kernel's Landlock version, or 0 where it has none or has it switched off."""
    return max(kernel.syscall(CREATE_RULESET, None, 0, 1), 0)


def confine(readable: Iterable[str], writable: str) -> None:
    """Let this process and its children read only ``readable`` and write only beneath ``writable``.

    Raises:
        OSError: the kernel has no Landlock, or one too old to be relied on.
    """
    abi = version()
    if abi < OLDEST:
        raise OSError(f"Landlock version {abi} here, {OLDEST} needed")
    every = (1 << (16 if abi >= 5 else 15)) - 1
    # Version 4 knows TCP (bind, connect), version 6 abstract sockets and signals; nothing is allowed there.
    ruleset = _Ruleset(every, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    number = kernel.checked(kernel.syscall(CREATE_RULESET, ctypes.byref(ruleset), size, 0), "landlock")
    try:
        for path in readable:
            _allow(number, path, READ)
        for name in ("null", "zero", "full", "random", "urandom"):
            _allow(number, f"/dev/{name}", READ_FILE | WRITE_FILE)
        _allow(number, writable, every & ~EXECUTE)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.checked(kernel.syscall(RESTRICT_SELF, number, 0), "landlock_restrict_self")
    finally:
        os.close(number)


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if os.path.isdir(path) else rights & ON_FILES
        rule = _Beneath(allowed, descriptor)
        result = kernel.syscall(ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)
        kernel.checked(result, f"landlock rule for {path}")
    finally:
        os.close(descriptor)
