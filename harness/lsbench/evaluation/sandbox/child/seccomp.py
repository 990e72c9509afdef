"""A filter on system calls: no sockets, no tracing, no new namespaces, nothing of the machine's management.

It is what closes the network where no network namespace can be made, and a second wall where one can.
A refused call fails with "operation not permitted"; the program goes on and may handle it.

Source: Linux's ``Documentation/userspace-api/seccomp_filter.rst``; numbers from its system call tables.
"""

from __future__ import annotations

import ctypes
import os
import struct

from . import kernel

ALWAYS = {  # name: number on (x86_64, aarch64); None where the machine has no such call
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kcmp": (312, 272),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "syslog": (103, 116),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "fanotify_init": (300, 262),
    "personality": (135, 92),
    "vhangup": (153, 58),
}
SHARED_TABLE = {  # refused where the program shares the machine's process table
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}
SHARED_OWNER = {  # refused where it also shares the user id: Landlock does not cover these
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
}
ON_ITSELF = {  # allowed there only with itself as the target
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
}
MACHINES = {"x86_64": (0, 0xC000003E, 56), "aarch64": (1, 0xC00000B7, 220)}
"""Machine: its column above, its architecture token, the number of ``clone``."""
CLONE3 = 435
NEW_NAMESPACES = (
    *(kernel.CLONE_NEWNS, kernel.CLONE_NEWCGROUP, kernel.CLONE_NEWUTS, kernel.CLONE_NEWIPC),
    *(kernel.CLONE_NEWUSER, kernel.CLONE_NEWPID, kernel.CLONE_NEWNET),
)

ALLOW, KILL, REFUSE, UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def supported() -> bool:
    """Whether the system call numbers of this machine are known here."""
    return os.uname().machine in MACHINES


def program(shared_table_for: int | None = None, shared_owner: bool = False) -> bytes:
    """The filter as the kernel reads it.

    Args:
        shared_table_for: id of the confined process where it shares the machine's process table; it
            then may signal itself only and cannot leave its process group. None in a table of its own.
        shared_owner: whether it also keeps the user id of the harness.
    """
    column, architecture, clone = MACHINES[os.uname().machine]
    refused = dict(ALWAYS)
    if shared_table_for is not None:
        refused |= SHARED_TABLE
    if shared_owner:
        refused |= SHARED_OWNER
    code = [_step(LOAD, 4), _step(EQUAL, architecture, 1, 0), _step(RETURN, KILL), _step(LOAD, 0)]
    if column == 0:  # the x32 calls of x86_64 would pass by the numbers below
        code += [_step(AT_LEAST, 0x40000000, 0, 1), _step(RETURN, REFUSE)]
    for numbers in refused.values():
        if numbers[column] is not None:
            code += [_step(EQUAL, numbers[column], 0, 1), _step(RETURN, REFUSE)]
    # clone3 hides its flags from filters; "no such call" makes the C library use clone instead.
    code += [_step(EQUAL, CLONE3, 0, 1), _step(RETURN, UNKNOWN)]
    code += [_step(EQUAL, clone, 0, 4), _step(LOAD, 16), _step(ANY_BIT, sum(NEW_NAMESPACES), 0, 1)]
    code += [_step(RETURN, REFUSE), _step(RETURN, ALLOW)]
    if shared_table_for is not None:
        for name, numbers in ON_ITSELF.items():
            itself = [shared_table_for] if "kill" in name else [shared_table_for, 0]
            code += [_step(EQUAL, numbers[column], 0, 2 + 2 * len(itself)), _step(LOAD, 16)]
            for target in itself:
                code += [_step(EQUAL, target, 0, 1), _step(RETURN, ALLOW)]
            code += [_step(RETURN, REFUSE)]
    return b"".join([*code, _step(RETURN, ALLOW)])


def install(filter_code: bytes) -> None:
    """Put the filter on this process and its future children, for good; raises OSError."""

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    pointer = ctypes.byref(Program(len(filter_code) // 8, filter_code))
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, pointer)


def _step(code: int, operand: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, operand)
