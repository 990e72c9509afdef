"""A trial of a mechanism: a program that tries what must not work, and passes if none of it does."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable

from lsbench.evaluation.sandbox.limits import Limits, Outcome

BASIC = """
import json, os, threading
with open("own-file", "w") as file:
    file.write("x")
"""
"""What must work everywhere: imports, and a file of its own."""

CONFINED = """
import os, socket

def forbidden(attempt):
    try:
        attempt()
    except OSError:
        return
    raise SystemExit("not confined: " + attempt.__name__)

def write_outside():
    open(OUTSIDE, "w").close()

def delete_outside():
    os.remove(BESIDE)

def read_outside():
    open(BESIDE).close()

def use_network():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))

def signal_parent():
    if os.getppid() < 2:  # nothing but the sandbox's own first process, which no signal reaches
        raise OSError
    os.kill(os.getppid(), 0)

def start_many():
    children = []
    try:
        for _ in range(PROCESSES + 100):  # some slack where the user's other processes count too
            child = os.fork()
            if child == 0:
                import time
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            try:
                os.kill(child, 9)
            except OSError:
                pass

for attempt in (write_outside, delete_outside, read_outside, use_network, signal_parent, start_many):
    forbidden(attempt)
"""


def trial(run: Callable[[str, str, Limits], Outcome], limits: Limits, confining: bool) -> str | None:
    """Try a mechanism.

    Args:
        run: runs a program and its test under given limits.
        limits: the limits it will be used with.
        confining: whether it claims to confine files, network and processes, not just to set limits.

    Returns:
        None if the mechanism does what it claims here, else what it does not do.
    """
    limits = dataclasses.replace(limits, wall_s=max(limits.wall_s, 10.0), cpu_s=max(limits.cpu_s, 10))
    with tempfile.TemporaryDirectory(prefix="lsbench-probe-") as folder:
        os.chmod(folder, 0o777)  # so that only the sandbox stands between the program and the file
        beside, outside = os.path.join(folder, "beside"), os.path.join(folder, "outside")
        with open(beside, "w", encoding="utf-8"):
            os.chmod(beside, 0o666)
        names = f"OUTSIDE, BESIDE, PROCESSES = {outside!r}, {beside!r}, {limits.processes}\n"
        outcome = run(BASIC, names + CONFINED if confining else "pass", limits)
        if os.path.exists(outside) or not os.path.exists(beside):
            return "a program could write outside its folder"
    if outcome.passed:
        return None
    return outcome.detail or outcome.reason
