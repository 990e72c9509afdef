"""A strategy that breaks down as it is told to, and one Ray for all tests."""

import os
from pathlib import Path

import pytest

from lsbench.report.live import LiveView

FAULTY = '''
import os, signal, time
from pathlib import Path
from typing import Literal
from lsbench.engine import ConstantPolicy, DepthPlan
from lsbench.strategy import CannotRun, Strategy, StrategyOptions, option

class FaultyOptions(StrategyOptions):
    fault: Literal["kill", "hang", "fail", "slow", "absent"] = option("kill", help="what happens")
    doc: int = option(0, help="while this document runs")
    rank: int = option(0, help="on this rank")
    times: int = option(1, help="so often, then no more")
    marks: str = option(".", help="the folder that remembers how often it has been")

class Faulty(Strategy):
    """The full model, on a machine that fails."""
    Options = FaultyOptions
    lossless = True

    def prepare(self, preparation):
        self.plan = DepthPlan.full(preparation.num_layers)
        self.agreement = preparation.stack.agreement
        self.warm = False
        if self.options.fault == "absent":
            try:
                (Path(self.options.marks) / "absent").touch(exist_ok=False)
            except FileExistsError:
                return  # on another replica it would be there
            raise CannotRun("it is not on this host")

    def policy(self, request):
        return ConstantPolicy(self.plan)

    def generate(self, session, request):
        for place, emitted in enumerate(super().generate(session, request)):
            if place == 2:
                self.break_down(request)
            yield emitted

    def break_down(self, request):
        options = self.options
        if request.max_new_tokens <= 16 and not self.warm:
            self.warm = True  # warming up
            return
        if options.fault == "slow":
            return time.sleep(0.15)
        if request.doc_id != options.doc or self.agreement.rank != options.rank:
            return
        marks = Path(options.marks)
        been = len(list(marks.glob(f"{options.fault}-{options.doc}-*")))
        if been >= options.times:
            return
        (marks / f"{options.fault}-{options.doc}-{been}").write_text(str(os.getpid()))
        if options.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if options.fault == "hang":
            time.sleep(1000)
        raise RuntimeError("out of luck on one rank")
'''


@pytest.fixture(scope="session")
def faulty_plugin(tmp_path_factory) -> Path:
    """A third party's package in this process's path, and so in that of every process Ray starts for it."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "faulty_strategy.py").write_text(FAULTY)
    metadata = folder / "faulty_strategy-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-strategy\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[lsbench.strategies]\nfaulty = faulty_strategy:Faulty\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield folder


@pytest.fixture(scope="module")
def ray_session(faulty_plugin):
    """Ray, started as a run starts it; runs find it and leave it."""
    from lsbench.execution.cluster.session import RaySession

    of_one_host = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before = os.environ.get(of_one_host)
    session = RaySession(None, None)
    assert os.environ[of_one_host] == "0"
    yield session
    session.close(None)
    # A process that starts a cluster of several hosts later does not inherit what suits one.
    assert os.environ.get(of_one_host) == before


class Watched(LiveView):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.states: list[tuple[int, str]] = []
        self.notes: list[str] = []

    def replica(self, index, state, task, doc_id, tokens_per_second, ranks):
        self.states.append((index, state))
        super().replica(index, state, task, doc_id, tokens_per_second, ranks)

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def watched() -> Watched:
    return Watched()
