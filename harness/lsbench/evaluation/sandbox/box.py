"""Chooses the strongest confinement that works here, and runs programs in it."""

from __future__ import annotations

import functools
import json
import os
import pwd
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from lsbench.errors import SandboxUnavailable
from lsbench.evaluation.sandbox import probe
from lsbench.evaluation.sandbox.child.order import Order
from lsbench.evaluation.sandbox.interpreter import Interpreter
from lsbench.evaluation.sandbox.limits import Limits, Outcome

Mechanism = Literal["bubblewrap", "namespaces", "landlock", "limits"]
MECHANISMS: tuple[Mechanism, ...] = ("bubblewrap", "namespaces", "landlock", "limits")
"""Strongest first."""

_FOLDER = Path(__file__).parent
_START = "import sys; sys.path.insert(0, sys.argv[1]); from child.launcher import main; main()"
_GRACE_S = 30.0
"""How long after the wall clock limit the launcher may take to end everything and answer."""


@dataclass(frozen=True)
class Sandbox:
    """Runs generated programs confined by one mechanism, which was tried before it was chosen."""

    mechanism: Mechanism
    limits: Limits = field(default_factory=Limits)
    changes_user: bool = False
    """Whether each program runs under an unprivileged user id of its own, which only root can give it."""

    @classmethod
    def detect(cls, mode: Literal["auto", "strict"] = "auto", limits: Limits | None = None) -> Sandbox:
        """The strongest mechanism that a real trial shows to work here.

        Args:
            mode: ``strict`` refuses where nothing but resource limits is left.
            limits: what a program may use; the defaults of ``Limits`` when None.

        Raises:
            SandboxUnavailable: in strict mode, only limits are left; or not even they work.
        """
        limits = limits or Limits()
        refusals: list[str] = []
        for mechanism in MECHANISMS:
            if mechanism == "limits" and mode == "strict":
                break
            try:
                return cls.using(mechanism, limits)
            except SandboxUnavailable as refusal:
                refusals.append(str(refusal))
        otherwise = " Or give --sandbox auto to run them under resource limits alone."
        raise SandboxUnavailable(
            f"Generated programs cannot be confined here as {mode!r} asks: {' '.join(refusals)} Install "
            "bubblewrap, allow user namespaces, or use a Linux kernel with Landlock."
            + (otherwise if mode == "strict" else "")
        )

    @classmethod
    def using(cls, mechanism: Mechanism, limits: Limits | None = None) -> Sandbox:
        """A sandbox of the named mechanism.

        Raises:
            SandboxUnavailable: it does not do here what it claims to do.
        """
        if mechanism != "limits" and sys.platform != "linux":
            raise SandboxUnavailable(f"{mechanism}: needs Linux.")
        if mechanism == "bubblewrap" and _bubblewrap() is None:
            raise SandboxUnavailable("bubblewrap: not installed.")
        problems: list[str] = []
        for changes_user in (True, False) if os.geteuid() == 0 else (False,):
            sandbox = cls(mechanism, limits or Limits(), changes_user)
            try:
                problem = probe.trial(sandbox._run, sandbox.limits, confining=mechanism != "limits")
            except SandboxUnavailable as refusal:
                problem = str(refusal)
            if problem is None:
                return sandbox
            problems.append(problem.strip().splitlines()[-1].rstrip("."))
        raise SandboxUnavailable(f"{mechanism}: {'; '.join(problems)}.")

    @property
    def warning(self) -> str | None:
        """One line for the user and the run's notes where only resource limits confine; else None."""
        if self.mechanism != "limits":
            return None
        return (
            "Generated programs run under resource limits only: nothing on this machine keeps them from "
            "files that the user may change. Install bubblewrap or allow user namespaces; --sandbox strict "
            "refuses to run without."
        )

    def run(self, program: str, test: str) -> Outcome:
        """Run ``program``, then ``test`` among its names; passed only if both run to their very end.

        Raises:
            SandboxUnavailable: the confinement itself could not be set up; no program causes this.
        """
        return self._run(program, test, self.limits)

    def run_many(self, pairs: Sequence[tuple[str, str]], workers: int | None = None) -> list[Outcome]:
        """Run pairs of program and test, several at once.

        Args:
            pairs: what to run.
            workers: how many at once; as many as there are processors when None.

        Returns:
            Outcomes in the order of ``pairs``.

        Raises:
            SandboxUnavailable: as ``run``.
        """
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            return list(pool.map(lambda pair: self.run(*pair), pairs))

    def _run(self, program: str, test: str, limits: Limits) -> Outcome:
        interpreter = _interpreter()
        with _own_user(self.changes_user) as uid:
            order = Order(
                mechanism=self.mechanism,
                seal=secrets.token_hex(16),
                program=program,
                test=test,
                uid=uid,
                executable=interpreter.executable,
                import_path=list(interpreter.import_path),
                visible=list(interpreter.visible),
                environment=interpreter.environment,
                runner=_runner(),
                bubblewrap=_bubblewrap() if self.mechanism == "bubblewrap" else None,
                **asdict(limits),
            )
            return _launch(order)


def _launch(order: Order) -> Outcome:
    """Hand the order to a launcher and read its answer."""
    command = [sys.executable, "-I", "-S", "-c", _START, str(_FOLDER)]
    launcher = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"TMPDIR": tempfile.gettempdir(), **order.environment},
        start_new_session=True,
    )
    try:
        said, complaint = launcher.communicate(order.to_json().encode(), order.wall_s + _GRACE_S)
    except subprocess.TimeoutExpired:
        return Outcome(False, "timed_out", f"its processes would not end within {_GRACE_S:g} s")
    finally:
        if launcher.poll() is None:  # out of patience, or interrupted: it still ends all it started
            launcher.terminate()
            try:
                launcher.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                launcher.kill()
                launcher.wait()
    try:
        answer = json.loads(said)
    except ValueError:
        answer = {}
    if "error" in answer:
        raise SandboxUnavailable(f"The sandbox ({order.mechanism}) could not be set up: {answer['error']}")
    if answer.get("seal") != order.seal:
        last = complaint.decode(errors="replace").strip()[-300:]
        return Outcome(False, "killed", f"the launcher ended without an answer. {last}".strip())
    return Outcome(answer["reason"] == "passed", answer["reason"], answer["detail"])


_users_taken: set[int] = set()
_users_lock = threading.Lock()


@contextmanager
def _own_user(wanted: bool) -> Iterator[int | None]:
    """A user id that nobody has and no process runs under, for as long as the context lasts."""
    if not wanted:
        yield None
        return
    with _users_lock:
        uid = next(uid for uid in iter(lambda: random.randrange(50_000, 60_000), None) if _nobodys(uid))
        _users_taken.add(uid)
    try:
        yield uid
    finally:
        with _users_lock:
            _users_taken.discard(uid)


def _nobodys(uid: int) -> bool:
    if uid in _users_taken:
        return False
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return uid not in _users_running()
    return False


def _users_running() -> set[int]:
    owners: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            owners.add(entry.stat().st_uid)
        except OSError:  # it has just ended
            continue
    return owners


@functools.cache
def _interpreter() -> Interpreter:
    return Interpreter.current()


@functools.cache
def _runner() -> str:
    return (_FOLDER / "child" / "runner.py").read_text(encoding="utf-8")


@functools.cache
def _bubblewrap() -> str | None:
    return shutil.which("bwrap")
