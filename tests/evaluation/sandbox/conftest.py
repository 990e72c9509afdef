"""A sandbox of each kind that works here, and a look at what a program left behind."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
import pytest

from lsbench.errors import SandboxUnavailable
from lsbench.evaluation.sandbox import MECHANISMS, Limits, Mechanism, Outcome, Sandbox, box

SMALL = Limits(wall_s=1.0, cpu_s=2, memory_bytes=512 << 20, processes=12, output_bytes=1 << 20)

NEVER_OVER = "its processes would not end"
"""What the harness says where the launcher has not ended everything in its time."""


@dataclass
class Arena:
    """Runs a hostile program and proves that it is over: no process, no file, the victims untouched."""

    sandbox: Sandbox
    mark: str
    """Stands in the command line of every process that a program of ours starts as."""
    scratch: Path
    """Where throw-away folders are made."""
    victim: Path
    """A working tree that any user may write to."""
    tree: dict[str, str] = field(default_factory=dict)

    @property
    def confines(self) -> bool:
        return self.sandbox.mechanism != "limits"

    @property
    def counts_exactly(self) -> bool:
        """Whether the kernel counts this program's processes by themselves."""
        return os.geteuid() == 0 or self.sandbox.mechanism in ("bubblewrap", "namespaces")

    def attack(self, program: str, test: str = "assert False", endless: bool = False) -> Outcome:
        """Run; whatever comes of it, it is no pass, is over in time and leaves nothing."""
        given = f"MARK, VICTIM, HARNESS = {self.mark!r}, {str(self.victim)!r}, {os.getpid()}\n"
        outcome = self.run(given + program, test, endless)
        assert not outcome.passed, outcome
        assert outcome.reason != "passed"
        return outcome

    def run(self, program: str, test: str, endless: bool = False) -> Outcome:
        """Run a program, with time to spare on a busy machine unless it is known to take all it gets."""
        patient = dataclasses.replace(self.sandbox.limits, wall_s=60.0, cpu_s=60)
        sandbox = self.sandbox if endless else dataclasses.replace(self.sandbox, limits=patient)
        outcome = sandbox.run(program, test)
        # What removes a folder that resists takes its time beside other tests; what goes on takes for ever.
        assert NEVER_OVER not in outcome.detail, outcome
        if not endless:
            assert outcome.reason != "timed_out", outcome
        self.nothing_is_left()
        return outcome

    def nothing_is_left(self) -> None:
        assert self.processes() == []
        assert list(self.scratch.iterdir()) == []
        if self.confines:
            assert read(self.victim) == self.tree

    def processes(self) -> list[str]:
        left = []
        for process in psutil.process_iter():
            try:
                command = " ".join(process.cmdline())
                if self.mark in command and process.pid != os.getpid():
                    left.append(f"{process.pid} {process.status()} {command[-200:]}")
            except psutil.Error:
                continue
        return left


def read(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


EVERY = ["strongest", *(pytest.param(name, marks=pytest.mark.slow) for name in MECHANISMS)]


@pytest.fixture(scope="session")
def sandbox_of() -> Callable[..., Sandbox | str]:
    """Sandboxes by mechanism, each tried once; in place of one that does not work here, the reason."""
    tried: dict[str, Sandbox | str] = {}

    def sandbox_of(mechanism: Mechanism | Literal["strongest"]) -> Sandbox | str:
        if mechanism not in tried:
            try:
                strongest = mechanism == "strongest"
                tried[mechanism] = (
                    Sandbox.detect(limits=SMALL) if strongest else Sandbox.using(mechanism, SMALL)
                )
            except SandboxUnavailable as refusal:
                tried[mechanism] = str(refusal)
        return tried[mechanism]

    return sandbox_of


@pytest.fixture(params=EVERY)
def arena(
    request: pytest.FixtureRequest,
    sandbox_of: Callable[..., Sandbox | str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Arena]:
    sandbox = sandbox_of(request.param)
    if isinstance(sandbox, str):
        pytest.skip(sandbox)
    if request.param != "strongest" and sandbox_of("strongest") == sandbox:
        pytest.skip("tried as the strongest one already")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    mark = f"mark-{uuid.uuid4().hex}"
    text = box._runner()
    monkeypatch.setattr(box, "_runner", lambda: f"# {mark}\n{text}")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        victim = Path(place, "tree")
        (victim / "package").mkdir(parents=True)
        (victim / "package" / "module.py").write_text("precious = True\n")
        (victim / "README.md").write_text("precious\n")
        for path in [victim, *victim.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)
        yield Arena(sandbox, mark, scratch, victim, read(victim))
