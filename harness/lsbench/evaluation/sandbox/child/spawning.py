"""Makes the program's first process and confines it, in the way the order names."""

from __future__ import annotations

import fcntl
import marshal
import os
import platform
import re
import signal
import stat
import sys
import tempfile
from dataclasses import dataclass
from typing import NoReturn

from .order import Order

if sys.platform == "linux":
    from . import bubblewrap, kernel, landlock, namespaces, seccomp

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # the same program gets the same verdict every time
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")},
}
INSIDE = "/tmp"
"""The throw-away folder as an isolated program sees it."""
VERDICT, FILTER, FIRST_FREE = 3, 4, 5
"""Descriptors in the program's process: 0 the runner's instructions, 1 and 2 what it prints, then these."""
NOT_CONFINED = 70
"""Exit status where the confinement could not be set up."""


@dataclass(frozen=True)
class Started:
    """A program under way."""

    pid: int
    output: int
    """Where all it prints can be read."""
    verdict: int
    """Where the runner writes that it began and, after the test's end, the proof."""


def start(order: Order, folder: str, nonce: bytes) -> Started:
    """Start the order's program.

    Args:
        order: what to run, and how.
        folder: an empty folder: the program's own where it shares the file system, else the place over
            which the new file system is built.
        nonce: the proof the runner is to write after the test's end.

    Raises:
        OSError: the kernel refuses the new namespaces.
    """
    output, output_end = os.pipe()
    verdict, verdict_end = os.pipe()
    if order.mechanism == "namespaces":
        namespaces.enter(order)
    with tempfile.TemporaryFile() as given:
        pid = os.fork()
        if pid == 0:
            _become(order, folder, nonce, (given.fileno(), output_end, output_end, verdict_end))
    os.close(output_end)
    os.close(verdict_end)
    return Started(pid, output, verdict)


def _become(order: Order, folder: str, nonce: bytes, descriptors: tuple[int, int, int, int]) -> NoReturn:
    """Turn this forked process into the program's: it never returns to the launcher's code."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for descriptor in descriptors]
        for place, descriptor in enumerate(high):
            os.dup2(descriptor, place)
        os.closerange(FILTER, 1 << 16)
        os.umask(0o022)
        if sys.platform == "linux":
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            _die_first_when_memory_is_short()
        if order.isolated:
            _instruct(order, INSIDE, order.import_path, nonce)
            _isolated(order, folder)
        else:
            _shared(order, folder, nonce)
    except BaseException as problem:
        os.write(2, f"{type(problem).__name__}: {problem}".encode(errors="replace"))
    os._exit(NOT_CONFINED)


def _isolated(order: Order, folder: str) -> None:
    filter_code = seccomp.program() if seccomp.supported() else None
    if order.mechanism == "bubblewrap":
        if filter_code is not None:
            reader, writer = os.pipe()  # at most 4 KiB, so it fits without a reader
            os.write(writer, filter_code)
            os.close(writer)
            if reader != FILTER:
                os.dup2(reader, FILTER)
            os.set_inheritable(FILTER, True)
        wrapped = bubblewrap.arguments(order, FILTER if filter_code else None)
        _execute([*wrapped, *_python(order)], order, INSIDE)
    namespaces.furnish(order, folder)
    program = os.fork()
    if program == 0:
        os.chdir(INSIDE)
        if filter_code is not None:
            seccomp.install(filter_code)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        os.setsid()
        _execute(_python(order), order, INSIDE)
    # From here on this is the first process of the namespace: the kernel ends all others when it ends.
    os.closerange(0, FIRST_FREE)
    while True:
        ended, status = os.wait()
        if ended == program:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _shared(order: Order, folder: str, nonce: bytes) -> None:
    os.setsid()
    import_path, seen_as = order.import_path, folder
    if order.uid is not None:
        os.chown(folder, order.uid, order.uid)
        if not all(_open_to_others(entry) for entry in import_path):
            import_path = [_held_open(entry) for entry in import_path]
        if not _open_to_others(os.path.dirname(folder)):
            seen_as = _held_open(folder)
    _instruct(order, seen_as, import_path, nonce)
    if sys.platform == "linux":
        if order.mechanism == "landlock":
            landlock.confine(order.visible, folder)
        if seccomp.supported():
            filter_code = seccomp.program(os.getpid(), shared_owner=order.uid is None)
            try:
                seccomp.install(filter_code)
            except OSError:
                if order.mechanism == "landlock":  # it alone does not close the network
                    raise
        elif order.mechanism == "landlock":
            raise OSError(f"system calls of {platform.machine()} are not known")
    _execute(_python(order), order, seen_as)


def _python(order: Order) -> list[str]:
    return [order.executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", order.runner]


def _execute(command: list[str], order: Order, folder: str) -> NoReturn:
    places = {"HOME": folder, "TMPDIR": folder}
    os.execve(command[0], command, {**ENVIRONMENT, **places, **order.environment})


def _instruct(order: Order, folder: str, import_path: list[str], nonce: bytes) -> None:
    """Leave on descriptor 0 what the runner is to do."""
    instructions = {
        "program": order.program,
        "test": order.test,
        "nonce": nonce,
        "uid": order.uid,
        "folder": folder,
        "import_path": import_path,
        "cpu_s": order.cpu_s,
        "memory_bytes": order.memory_bytes,
        "file_bytes": order.file_bytes,
        "processes": _process_limit(order),
    }
    content = memoryview(marshal.dumps(instructions))
    while content:
        content = content[os.write(0, content) :]
    os.lseek(0, 0, os.SEEK_SET)


def _process_limit(order: Order) -> int:
    """The kernel counts processes by user id: where that id has others, they come on top.

    A user namespace counts for itself since Linux 5.14.
    """
    release = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
    if order.uid is not None or (order.isolated and release >= (5, 14)):
        return order.processes
    return order.processes + _threads_of(os.getuid())


def _threads_of(uid: int) -> int:
    """How many threads run under ``uid``; 1000 where no process table can be read."""
    if not os.path.isdir("/proc/self/task"):
        return 1000
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # it has just ended
            continue
    return count


def _die_first_when_memory_is_short() -> None:
    """Let the kernel end the program before the harness when the machine runs out of memory."""
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"1000")
        os.close(descriptor)
    except OSError:
        pass  # a courtesy only: every limit holds without it


def _open_to_others(path: str) -> bool:
    """Whether a user with no rights of its own can read the folder ``path``."""
    parents = [path]
    while parents[-1] != "/":
        parents.append(os.path.dirname(parents[-1]))
    if not all(os.stat(parent).st_mode & stat.S_IXOTH for parent in parents):
        return False
    return bool(os.stat(path).st_mode & stat.S_IROTH)


def _held_open(path: str) -> str:
    """A path to the folder ``path`` that also works for a user who may not walk there (/root/...)."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD, FIRST_FREE)  # the copy survives starting the interpreter
    os.close(descriptor)
    return f"/proc/self/fd/{high}"
