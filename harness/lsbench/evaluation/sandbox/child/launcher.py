"""Starts one confined program, watches it, ends every process of it, and tells what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import reaping, spawning
from .order import Order

TAIL = 2000
"""Bytes kept of the end of what a program prints."""


@dataclass
class Watch:
    """What was seen of the program while it ran."""

    output: bytearray = field(default_factory=bytearray)
    printed: int = 0
    verdict: bytearray = field(default_factory=bytearray)
    status: int | None = None
    """As ``os.waitpid`` gives it; None while it runs, and for ever if it had to be killed."""
    stopped_for: str | None = None
    """``timed_out``, ``output_exceeded`` or ``terminated``, where the launcher ended it."""


def main() -> None:
    """Read an order from standard input, run it, and print the answer as JSON."""
    try:
        order = Order.from_json(sys.stdin.read())
        answer = run(order)
    except Exception as problem:  # the harness must hear of whatever went wrong here
        answer = {"error": f"{type(problem).__name__}: {problem}"}
        order = None
    sys.stdout.write(json.dumps(answer | {"seal": order.seal if order else None}))
    sys.stdout.flush()


def run(order: Order) -> dict[str, object]:
    """Run the order's program and test to an end of one kind or another.

    Returns:
        ``reason`` and ``detail`` as in ``Outcome``, or ``error`` where the confinement could not be set up.
    """
    woken = _wake_on_signals()
    reaping.adopt_orphans()
    folder = tempfile.mkdtemp(prefix="lsbench-sandbox-")
    nonce = secrets.token_bytes(32)
    watch = Watch()
    main_child: int | None = None
    try:
        started = spawning.start(order, folder, nonce)
        main_child = started.pid
        if not order.isolated:
            reaping.hide()
        _follow(started, watch, order, woken)
    finally:
        reaping.end(main_child, order)
        _remove(folder)
    return _answer(watch, nonce, order)


def _wake_on_signals() -> tuple[int, Callable[[], bool]]:
    """A descriptor that becomes readable on a signal, and whether one asked this process to stop."""
    asked: list[int] = []
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: asked.append(number))
    return reader, lambda: bool(asked)


def _follow(
    started: spawning.Started, watch: Watch, order: Order, woken: tuple[int, Callable[[], bool]]
) -> None:
    """Read what the program says until its first process ends or a limit of ours is passed."""
    waker, asked_to_stop = woken
    poll = select.poll()
    for descriptor in (started.output, started.verdict, waker):
        os.set_blocking(descriptor, False)
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + order.wall_s
    while watch.stopped_for is None and watch.status is None:
        ended, status = os.waitpid(started.pid, os.WNOHANG)
        if ended:
            watch.status = status
        elif asked_to_stop():
            watch.stopped_for = "terminated"
        elif time.monotonic() >= deadline:
            watch.stopped_for = "timed_out"
        else:
            for descriptor, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                if descriptor == waker:
                    _read(waker)
                elif not _take(descriptor, started, watch, order):
                    poll.unregister(descriptor)
    for descriptor in (started.output, started.verdict):  # what is still in the pipes
        _take(descriptor, started, watch, order)


def _take(descriptor: int, started: spawning.Started, watch: Watch, order: Order) -> bool:
    """Read once from one of the program's pipes; False when nobody holds its other end any more."""
    said = _read(descriptor)
    if said is None:
        return True
    if descriptor == started.verdict:
        watch.verdict += said[: 256 - len(watch.verdict)]  # more than the proof is no proof
    else:
        watch.printed += len(said)
        watch.output += said
        del watch.output[:-TAIL]
        if watch.printed > order.output_bytes and watch.status is None:
            watch.stopped_for = "output_exceeded"
    return bool(said)


def _read(descriptor: int) -> bytes | None:
    """What can be read at once: None for nothing yet, empty for the end."""
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return None


def _answer(watch: Watch, nonce: bytes, order: Order) -> dict[str, object]:
    said = watch.output.decode("utf-8", "replace").strip()
    if watch.verdict[:1] != b"R" and watch.stopped_for is None:
        return {"error": said or f"the runner did not start (status {watch.status})"}
    if watch.stopped_for is not None:
        limit = {
            "timed_out": f"stopped after {order.wall_s:g} s",
            "output_exceeded": f"printed more than {order.output_bytes} bytes",
            "terminated": "the harness ended the run",
        }[watch.stopped_for]
        reason = "killed" if watch.stopped_for == "terminated" else watch.stopped_for
        return {"reason": reason, "detail": limit}
    assert watch.status is not None
    code = os.waitstatus_to_exitcode(watch.status)
    if code == 0 and bytes(watch.verdict) == b"R" + nonce:
        return {"reason": "passed", "detail": said}
    number = -code if code < 0 else code - 128 if order.isolated and code > 128 else 0
    if number == signal.SIGXCPU:
        return {"reason": "timed_out", "detail": f"used more than {order.cpu_s} s of processor time"}
    if number:
        return {"reason": "killed", "detail": said or f"ended by signal {number}"}
    return {"reason": "failed", "detail": said or f"exit status {code} before the end of the test"}


def _remove(folder: str) -> None:
    """Remove the throw-away folder, however deep and however protected its content."""
    with contextlib.suppress(RecursionError):  # a program may nest folders deeper than Python can follow
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        for command in (["chmod", "-R", "u+rwx", folder], ["rm", "-rf", "--", folder]):
            subprocess.run(command, check=False, capture_output=True)
