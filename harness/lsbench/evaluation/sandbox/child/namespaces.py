"""Confinement by namespaces, without any tool: a file system, process table and network of its own.

As root the new namespaces are made directly and the user id is dropped afterwards; without root a user
namespace comes first, in which this process is the unprivileged id 65534. The new root holds the
interpreter and the system's libraries, read-only, and one small writable folder in memory, ``/tmp``.
"""

from __future__ import annotations

import os
import re

from . import kernel
from .order import Order

NOBODY = 65534
DEVICES = ("null", "zero", "full", "random", "urandom")

_KEPT = {
    "nosuid": kernel.MS_NOSUID,
    "nodev": kernel.MS_NODEV,
    "noexec": kernel.MS_NOEXEC,
    "noatime": kernel.MS_NOATIME,
    "nodiratime": kernel.MS_NODIRATIME,
    "relatime": kernel.MS_RELATIME,
}
"""Mount options that must be repeated when a mount is made read-only: they may be locked on it."""


def enter(order: Order) -> None:
    """Move this process into new namespaces; its next child is the first process of the new table.

    Raises:
        OSError: the kernel refuses, as it does in most containers.
    """
    user, group = os.geteuid(), os.getegid()
    if order.uid is None:
        kernel.unshare(kernel.CLONE_NEWUSER)
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{NOBODY} {user} 1")
        write("/proc/self/gid_map", f"{NOBODY} {group} 1")
    kernel.unshare(kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS)


def furnish(order: Order, root: str) -> None:
    """Build the new file system over the empty folder ``root`` and make it this process's root.

    Raises:
        OSError: the kernel refuses a mount.
    """
    owner = NOBODY if order.uid is None else order.uid
    plain = kernel.MS_NOSUID | kernel.MS_NODEV
    # Only from here on, in the first process inside: changing the root moves every process that shares
    # the mounts, and the launcher has yet to tidy up in the old one.
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", plain, "mode=755,size=4m")
    os.mkdir(f"{root}/tmp")
    room = f"mode=700,uid={owner},gid={owner},size={4 * order.file_bytes},nr_inodes=4096"
    kernel.mount("tmpfs", f"{root}/tmp", "tmpfs", plain | kernel.MS_NOEXEC, room)
    for path in sorted(order.visible, key=len):
        show(path, root)
    read_only(root, {f"{root}{path}" for path in order.visible})
    for name in DEVICES:
        bind(f"/dev/{name}", f"{root}/dev/{name}")
    kernel.mount("none", root, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | plain)
    kernel.pivot_into(root)


def show(path: str, root: str) -> None:
    """Make ``path`` appear in the new file system: a link as a link, all else bound."""
    if os.path.islink(path):
        os.makedirs(os.path.dirname(f"{root}{path}"), exist_ok=True)
        if not os.path.lexists(f"{root}{path}"):  # it may already show through a bound parent
            os.symlink(os.readlink(path), f"{root}{path}")
    else:
        bind(path, f"{root}{path}")


def bind(source: str, target: str) -> None:
    """Bind ``source`` with all mounted below it to ``target``, which is made where missing."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def read_only(root: str, targets: set[str]) -> None:
    """Make every mount at or below one of ``targets`` read-only: a bind keeps each one's own mode."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        mounts = [line.split(" ")[4:6] for line in lines]
    for escaped, options in mounts:
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped)
        if not point.startswith(f"{root}/"):
            continue
        if point not in targets and not any(point.startswith(f"{target}/") for target in targets):
            continue
        flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        for option in options.split(","):
            flags |= _KEPT.get(option, 0)
        try:
            kernel.mount("none", point, None, flags)
        except PermissionError:
            if point in targets:  # below them, what this user cannot even reach needs no protection
                raise


def write(path: str, text: str) -> None:
    """Write one of the kernel's control files in a single call, as they demand."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
