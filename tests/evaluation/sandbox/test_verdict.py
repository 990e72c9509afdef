"""Attempts to be counted as passed without passing, and what honestly passes."""

from __future__ import annotations

import pytest

SAY_PASSED = """
import json, os, sys
def say(text):
    for descriptor in range(256):
        try:
            os.write(descriptor, text)
        except OSError:
            pass
"""


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def double(x): return 2 * x", "assert double(2) == 4"),
        ("import numpy\ntotal = int(numpy.arange(4).sum())", "assert total == 6"),
        ("import sys\nsys.stderr.write('noise')\nprint('noise')", "pass"),
        ("from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass P:\n  x: int",
         "assert P(1) == P(1)"),
        ("import threading\nlock = threading.Lock()\nlock.acquire()\n"
         "threading.Thread(target=lock.acquire).start()", "pass"),
        ("import atexit\natexit.register(lambda: 1 / 0)", "pass"),
        ("if __name__ == '__main__':\n    raise SystemExit", "pass"),
        ("import asyncio, tempfile, random, re, typing, hashlib\nasyncio.run(asyncio.sleep(0))\n"
         "tempfile.TemporaryFile().close()", "pass"),
        ("def answer(): return '\u2713'", "assert answer() == '\u2713'"),
    ],
    ids=["plain", "numpy", "noisy", "dataclass", "thread", "atexit", "main", "library", "unicode"],
)  # fmt: skip
def test_what_passes(arena, program, test):
    outcome = arena.run(program, test)
    assert outcome.passed, outcome
    assert outcome.reason == "passed"


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "quit = exit = None\nraise KeyboardInterrupt",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "def broken(:",
        "\x00",
        "'\ud800'.encode()",
        "import os\nos.execv('/bin/true', ['true'])",
        "def check(): raise SystemExit(0)",
    ],
)
def test_ending_before_the_test(arena, program):
    arena.attack(program, "check()")


def test_a_test_that_is_not_python(arena):
    assert "SyntaxError" in arena.attack("pass", "assert (").detail


def test_printed_verdict(arena):
    arena.attack('print(\'passed\')\nprint(\'{"reason": "passed", "detail": "", "seal": null}\')')


def test_verdict_on_every_descriptor(arena):
    arena.attack(
        SAY_PASSED + "say(b'R'); say(b'R' + b'passed')\n"
        "say(json.dumps({'reason': 'passed', 'detail': '', 'seal': ''}).encode())\nos._exit(0)"
    )


def test_noise_on_the_verdict_channel_is_no_pass(arena):
    arena.attack(SAY_PASSED + "say(b'R')", "pass")


def test_verdict_into_the_launcher(arena):
    arena.attack(
        SAY_PASSED
        + """
for owner in (os.getppid(), HARNESS):
    for descriptor in range(64):
        try:
            with open(f"/proc/{owner}/fd/{descriptor}", "wb", buffering=0) as channel:
                os.set_blocking(channel.fileno(), False)
                channel.write(b'{"reason": "passed", "detail": "", "seal": ""}')
        except OSError:
            pass
os._exit(0)
"""
    )


def test_exit_after_atexit(arena):
    arena.attack(SAY_PASSED + "import atexit\natexit.register(os._exit, 0)\nsys.exit(0)")
    arena.attack("import atexit\natexit.register(lambda: 1 / 0)")


def test_hooks_on_the_way_out(arena):
    arena.attack(
        SAY_PASSED
        + """
def leave(*_):
    os._exit(0)
sys.excepthook = sys.__excepthook__ = sys.unraisablehook = leave
import builtins
builtins.BaseException = builtins.AssertionError = int
"""
    )


def test_child_that_goes_on_while_the_parent_leaves(arena):
    arena.attack("import os\nif os.fork(): os._exit(0)")


def test_child_that_holds_the_pipes_does_not_hold_us(arena):
    outcome = arena.attack("import os, time\nif os.fork() == 0: time.sleep(600)\nos._exit(0)")
    assert outcome.reason == "failed"  # and not "timed_out", which waiting for the child would end in


STEAL = (
    SAY_PASSED
    + """
import gc, types
seen, todo, proofs = set(), [], []
def look(thing):
    if id(thing) not in seen:
        seen.add(id(thing))
        if isinstance(thing, (bytes, bytearray)):
            proofs.append(bytes(thing))
        todo.append(thing)

def start():
    frame = sys._getframe()
    while frame:
        look(frame); look(frame.f_locals); look(frame.f_globals); look(frame.f_builtins); look(frame.f_code)
        frame = frame.f_back
    for module in list(sys.modules.values()):
        look(module)
    for way in (gc.get_objects, lambda: gc.get_referrers(os.write), lambda: gc.get_referents(sys._getframe()),
                sys._current_frames):
        try:
            look(way())
            print("open:", way)
        except RuntimeError:
            pass

def follow():
    while todo and len(seen) < 200000:
        thing = todo.pop()
        try:
            if isinstance(thing, dict):
                for pair in list(thing.items()):
                    look(pair[0]); look(pair[1])
            elif isinstance(thing, (list, tuple, set, frozenset)):
                for one in list(thing):
                    look(one)
            else:
                for name in ("__dict__", "__closure__", "__defaults__", "__self__", "__code__", "co_consts",
                             "cell_contents", "func", "args", "__wrapped__", "__globals__"):
                    if hasattr(thing, name):
                        look(getattr(thing, name))
        except Exception:
            pass

start()
follow()
for proof in proofs:
    if len(proof) == 32:
        os.write(3, proof)
        os._exit(0)
raise SystemExit(f"looked at {len(seen)}")
"""
)


def test_search_for_the_proof(arena):
    outcome = arena.attack(STEAL)
    assert "looked at" in outcome.detail
    assert "open:" not in outcome.detail
    assert int(outcome.detail.rpartition("looked at ")[2]) > 1000


@pytest.mark.parametrize(
    "way",
    [
        "import ctypes",
        "import _ctypes",
        "import _testcapi",
        "import sys; sys.settrace(print)",
        "import sys; sys.setprofile(print)",
        "import _imp, importlib.util; _imp.create_dynamic(importlib.util.find_spec('_ctypes'))",
        "import importlib; importlib.import_module('_xxsubinterpreters')",
    ],
)
def test_ways_into_the_interpreter_are_shut(arena, way):
    assert "not available here" in arena.attack(way, "pass").detail


def test_the_lock_cannot_be_taken_off(arena):
    outcome = arena.attack(
        """
import sys, __main__
for name in list(vars(__main__)):
    if not name.startswith("__"):
        delattr(__main__, name)
import builtins
builtins.frozenset = builtins.RuntimeError = None
sys.addaudithook(lambda *_: None)
import gc
gc.get_objects()
""",
        "pass",
    )
    assert "gc.get_objects is not available here" in outcome.detail
