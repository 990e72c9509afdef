"""The command line, called in this process and as processes of its own, and a third party's plugins."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

PLUGINS = '''
import time
from lsbench.engine import ConstantPolicy, DepthPlan
from lsbench.strategy import Emitted, Strategy, StrategyOptions, option

class DawdlingOptions(StrategyOptions):
    pause: float = option(0.0, help="seconds before each token", ge=0)

class Dawdling(Strategy):
    """The full model, slowly."""
    Options = DawdlingOptions
    lossless = True

    def prepare(self, preparation):
        self.plan = DepthPlan.full(preparation.num_layers)

    def policy(self, request):
        return ConstantPolicy(self.plan)

    def generate(self, session, request):
        for emitted in super().generate(session, request):
            time.sleep(self.options.pause)
            yield emitted

class UntoldOptions(DawdlingOptions):
    secret: int = 1

class Untold(Dawdling):
    """Has an option without help."""
    Options = UntoldOptions

class Chatty(Dawdling):
    """Prints what nobody asked for."""
    def policy(self, request):
        print("chatty says hello")
        return super().policy(request)

class Unlucky(Dawdling):
    """Emits nothing for the second document."""
    def generate(self, session, request):
        return iter(()) if request.doc_id == 1 else super().generate(session, request)
'''
ENTRY_POINTS = """[lsbench.strategies]
dawdling = thirdparty:Dawdling
chatty = thirdparty:Chatty
untold = thirdparty:Untold
unlucky = thirdparty:Unlucky
broken = thirdparty_gone:Broken
"""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a mistake is answered with; some show only when the tasks have been read."""
        assert self.out == ""
        (line,) = self.err.removeprefix("lsbench: Reading tasks\n").splitlines()
        assert line.startswith("lsbench: ")
        return line


@pytest.fixture
def cli(capsys, one_thread):
    """Call the command line in this process."""
    from lsbench.cli import main

    def call(*arguments) -> Said:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def plugin_folder(tmp_path_factory) -> Path:
    """A third party's package, as installed: a module and its metadata."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "thirdparty.py").write_text(PLUGINS)
    metadata = folder / "thirdparty-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def plugins(plugin_folder, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(plugin_folder))


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run_of(tiny_model, tiny_tasks, results):
    """The arguments of a run of the tiny model on ``tasks``."""

    def make(tasks, *more) -> list[str]:
        common = ["--model", tiny_model, "--include-path", tiny_tasks, "--threads", "1", "--output", results]
        return ["run", *map(str, common), "--tasks", tasks, *map(str, more)]

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model, tiny_tasks) -> Path:
    """A run that is complete; copy it before changing it."""
    from lsbench.cli import main

    output = tmp_path_factory.mktemp("finished")
    common = ["--model", str(tiny_model), "--include-path", str(tiny_tasks), "--output", str(output), "-q"]
    tasks = ["-t", "tiny_generate,tiny_choice,tiny_rolling", "--limit", "3", "--threads", "1"]
    assert main(["run", *common, *tasks, "-s", "static_exit:exit_layer=2"]) == 0
    (folder,) = output.iterdir()
    return folder


def lines_in(folder: Path) -> list[str]:
    samples = folder / "samples.jsonl"
    return samples.read_text().splitlines(keepends=True) if samples.exists() else []


@dataclass
class Process:
    """A command running as a process of its own."""

    server: "Processes"
    pid: int
    stdout: Path
    stderr: Path

    def until(self, condition, timeout: float = 60) -> None:
        """Wait for a moment of the run, by what it has written so far."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, self.stderr.read_text()
            time.sleep(0.002)

    def says(self, text: str) -> None:
        self.until(lambda: text in self.stderr.read_text())

    def signal(self, number: signal.Signals) -> Said:
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> Said:
        code = int(self.server.ask({"wait": self.pid}))
        return Said(code, self.stdout.read_text(), self.stderr.read_text())


class Processes:
    def __init__(self, folder: Path, path: list[str]) -> None:
        self.folder = folder
        self.path = path
        self.count = 0
        self.server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.server.stdout.readline().strip() == "ready"

    def ask(self, order: dict) -> str:
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return self.server.stdout.readline().strip()

    def start(self, arguments: list[str], folder: Path, **more: object) -> Process:
        """``more`` is put into the order, and may say where to read and write instead."""
        self.count += 1
        out, err = (self.folder / f"{self.count}.{name}" for name in ("out", "err"))
        out.touch()
        err.touch()
        order = {"arguments": arguments, "stdout": str(out), "stderr": str(err), "folder": str(folder)}
        return Process(self, int(self.ask({**order, "path": self.path, **more})), out, err)


@pytest.fixture(scope="session")
def processes(tmp_path_factory, plugin_folder):
    started = Processes(tmp_path_factory.mktemp("said"), [str(plugin_folder)])
    yield started
    started.server.stdin.close()
    started.server.wait(timeout=30)


@pytest.fixture
def lines_of():
    return lines_in
