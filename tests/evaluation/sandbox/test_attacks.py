"""Real attacks on the machine: each ends as a failed sample, in time, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SWALLOW = """
import os, time
def attempt(what, *arguments):
    try:
        return what(*arguments)
    except BaseException as problem:
        return problem
"""


def test_fork_bomb(arena):
    arena.attack(
        SWALLOW
        + """
while True:
    attempt(os.fork)
""",
        endless=True,
    )


def test_fork_bomb_is_held_at_the_limit(arena):
    outcome = arena.attack(
        SWALLOW
        + """
children = []
while not isinstance(child := attempt(os.fork), OSError):
    if child == 0:
        time.sleep(60)
    children.append(child)
raise SystemExit(f"started {len(children)}")
"""
    )
    started = int(outcome.detail.rpartition("started ")[2])
    if arena.counts_exactly:
        assert started < arena.sandbox.limits.processes


@pytest.mark.slow
def test_threads_count_as_processes(arena):
    if not arena.counts_exactly:
        pytest.skip("without a user id of its own the program shares the user's count")
    outcome = arena.attack(
        """
import threading, time
for started in range(1000):
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError:
        raise SystemExit(f"started {started}")
"""
    )
    assert int(outcome.detail.rpartition("started ")[2]) < arena.sandbox.limits.processes


def test_20_gb_allocation(arena):
    outcome = arena.attack("block = bytearray(20 << 30)", "pass")
    assert "MemoryError" in outcome.detail


@pytest.mark.slow
def test_memory_piece_by_piece(arena):
    outcome = arena.attack("kept = []\nwhile True:\n    kept.append(bytearray(1 << 20))", "pass")
    assert "MemoryError" in outcome.detail


def test_endless_loop(arena):
    assert arena.attack("while True: pass", endless=True).reason == "timed_out"


@pytest.mark.slow
def test_endless_sleep_in_the_test(arena):
    outcome = arena.attack("def slow():\n    import time\n    time.sleep(600)", "slow()", endless=True)
    assert outcome.reason == "timed_out"


def test_kill_of_the_parent_and_of_all(arena):
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        arena.attack(
            SWALLOW
            + """
for target in (os.getppid(), HARNESS, -1, *range(2, 400)):
    if target != os.getpid():
        for number in (15, 9):
            attempt(os.kill, target, number)
attempt(os.killpg, os.getpgid(0), 15)
"""
        )
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_deletion_of_the_working_tree(arena):
    arena.attack(
        SWALLOW
        + """
import shutil, stat, sys
shutil.rmtree(VICTIM, ignore_errors=True)
for path in (VICTIM + "/README.md", VICTIM + "/package/module.py"):
    attempt(os.truncate, path, 0)
    attempt(os.chmod, path, 0)
    attempt(os.remove, path)
    attempt(os.rename, path, path + ".gone")
    attempt(open, path, "w")
for folder in (*sys.path, os.path.dirname(os.__file__)):
    attempt(open, folder + "/" + MARK, "w")
"""
    )
    for folder in sys.path:
        assert not Path(folder, arena.mark).exists()
    if arena.confines:
        assert (arena.victim / "README.md").stat().st_mode & 0o777 == 0o666


def test_reading_the_working_tree(arena):
    if not arena.confines:
        pytest.skip("limits alone do not keep a program from reading")
    assert "precious" not in arena.attack("raise SystemExit(open(VICTIM + '/README.md').read())").detail


def test_writing_wherever_anyone_may(arena):
    if not arena.confines:
        pytest.skip("limits alone do not keep a program from folders open to every user")
    places = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/", str(Path.home())]
    arena.attack(
        SWALLOW + f"for place in {places}:\n    attempt(open, place + '/' + MARK, 'w')\n"
        "for n in range(64): attempt(os.mkdir, MARK * 2 + str(n))"
    )
    assert [place for place in places if Path(place, arena.mark).exists()] == []


@pytest.mark.slow
def test_folder_that_resists_removal(arena):
    arena.attack(
        SWALLOW
        + """
os.mkdir("locked"); open("locked/file", "w").close(); attempt(os.chmod, "locked", 0)
for _ in range(1500):
    if attempt(os.mkdir, "d" * 50) or attempt(os.chdir, "d" * 50):
        break
"""
    )


def test_huge_file(arena):
    outcome = arena.attack(
        """
with open("big", "wb") as file:
    while True:
        file.write(bytes(1 << 20))
""",
        "pass",
    )
    assert outcome.reason in ("failed", "killed")


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_socket(arena, kind):
    with socket.socket(socket.AF_INET, getattr(socket, kind)) as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "SOCK_STREAM":
            listener.listen()
        address = listener.getsockname()
        outcome = arena.attack(
            f"import socket\ns = socket.socket(socket.AF_INET, socket.{kind})\n"
            f"s.settimeout(1)\ns.connect({address})\ns.send(b'stolen')",
            "pass",
        )
        assert "Error" in outcome.detail
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept() if kind == "SOCK_STREAM" else listener.recv(100)


def test_socket_by_name_in_the_abstract(arena):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{arena.mark}")
        listener.listen()
        arena.attack("import socket\nsocket.socket(socket.AF_UNIX).connect('\\0' + MARK)", "pass")
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_reading_the_environment(arena, monkeypatch):
    monkeypatch.setenv("LSBENCH_TOKEN", "secret-of-the-environment")
    outcome = arena.attack(
        SWALLOW
        + """
import glob, sys
found = [str(os.environ)]
for name in ("/proc/self/environ", f"/proc/{os.getppid()}/environ", f"/proc/{HARNESS}/environ"):
    found.append(str(attempt(lambda: open(name, "rb").read())))
raise SystemExit("\\n".join(found))
"""
    )
    assert "PATH" in outcome.detail
    assert "secret-of-the-environment" not in outcome.detail


def test_descriptors_are_not_inherited(arena, tmp_path):
    with open(tmp_path / "open-in-the-harness", "w") as file:
        os.set_inheritable(file.fileno(), True)
        os.dup2(file.fileno(), 40)
        try:
            arena.attack("import os\nos.write(40, b'x')", "pass")
        finally:
            os.close(40)
    assert (tmp_path / "open-in-the-harness").read_text() == ""


def test_flood_of_output(arena):
    outcome = arena.attack("while True: print('x' * 10000)", "pass")
    assert outcome.reason == "output_exceeded"


def test_child_that_outlives_its_parent(arena):
    outcome = arena.attack(
        SWALLOW
        + """
if os.fork() == 0:
    attempt(os.setsid)
    if os.fork() == 0:
        attempt(os.setpgid, 0, 0)
        time.sleep(600)
    os._exit(0)
time.sleep(0.2)
"""
    )
    assert outcome.reason == "failed"


@pytest.mark.slow
def test_child_that_becomes_another_program(arena):
    arena.attack(
        """
import subprocess, time
subprocess.Popen(["sh", "-c", "sleep 600; : " + MARK], start_new_session=False)
time.sleep(0.2)
"""
    )


@pytest.mark.slow
def test_ignored_signals(arena):
    outcome = arena.attack(
        """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True: pass
""",
        endless=True,
    )
    assert outcome.reason in ("timed_out", "killed")


@pytest.mark.slow
def test_becoming_another_user(arena):
    outcome = arena.attack(
        SWALLOW
        + """
ways = {
    "root": lambda: os.setresuid(0, 0, 0),
    "group": lambda: os.setgroups([0]),
    "chroot": lambda: os.chroot("."),
    "priority": lambda: os.nice(-5),
    "namespace": lambda: os.unshare(0x10000000) if hasattr(os, "unshare") else 1 / 0,
}
taken = [name for name, way in ways.items() if not isinstance(attempt(way), BaseException)]
raise SystemExit(f"taken {taken}")
"""
    )
    assert outcome.detail.endswith("taken []")


@pytest.mark.slow
def test_crash_of_the_interpreter(arena):
    outcome = arena.attack(
        "import sys\nsys.setrecursionlimit(10**9)\nf = lambda: None\n"
        "for _ in range(10**6): f = type('C', (), {'__call__': f})()\nf()",
        "pass",
        endless=True,
    )
    assert outcome.reason in ("killed", "failed", "timed_out")
