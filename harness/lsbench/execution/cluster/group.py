"""One replica: the processes that share a copy of the model, started together and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from lsbench.execution.cluster.failure import Failure, Lost, verdict
from lsbench.execution.cluster.patience import WakingClock
from lsbench.execution.cluster.rank import Loaded, Meeting, Rank, Where, sweep
from lsbench.records import SampleRecord
from lsbench.spec import GenerateRequest

if TYPE_CHECKING:
    from lsbench.execution.cluster.assignment import Order
    from lsbench.execution.cluster.session import RaySession
    from lsbench.execution.leftovers import Ledger
    from lsbench.execution.setup import Setup

State = Literal["starting", "restarting", "idle", "running", "lost"]

_EVIDENCE_S = 1.0
"""How long after a first failure others are waited for."""
_END_S = 10.0
"""How long a killed process may take to be gone."""
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class _Asked:
    """What a rank was asked and has not answered."""

    rank: int
    what: str


class Group:
    """A replica's processes.

    Args:
        index: which replica.
        size: how many ranks share it.
        room: Ray's placement group, a bundle a rank.
        session: connected.
        ledger: is told of every process and file, for when this process is killed.
        logs: the folder that ranks write to.
    """

    def __init__(
        self, index: int, size: int, room: Any, session: RaySession, ledger: Ledger | None, logs: Path
    ) -> None:
        self.index, self.size = index, size
        self.state: State = "starting"
        self.loaded: dict[int, Loaded] = {}
        self.wheres: dict[int, Where] = {}
        self.unavailable: dict[str, str] = {}
        """Which strategies cannot run here, by label, and why; known once it is idle."""
        self._room, self._session, self._ledger, self._logs = room, session, ledger, logs
        self._actors: list[Any] = []
        self._asked: dict[Any, _Asked] = {}
        self._stream: Any = None
        self._meeting: Meeting | None = None

    # -- what it is asked ---------------------------------------------------------------------------

    def begin(self, setup: Setup, warm_up: Sequence[GenerateRequest], again: bool = False) -> None:
        """Start the processes; they load, calibrate and warm up while others are looked after."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self.state = "restarting" if again else "starting"
        actor: Any = ray.remote(Rank)
        for rank, bundle in enumerate(self._room.bundle_specs):
            options = actor.options(
                num_cpus=bundle["CPU"],
                num_gpus=bundle.get("GPU", 0),
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._room, rank),
            )
            log = self._logs / f"replica-{self.index}-rank-{rank}.log"
            home = self._session.node
            self._actors.append(options.remote(self.index, rank, self.size, home, str(log)))
        places = [self._ask(rank, "where") for rank in range(self.size)]
        meeting = self._ask(0, "meet", *places)
        for rank in range(self.size):
            self._ask(rank, "load", setup, meeting)
            self._ask(rank, "prepare")
            self._ask(rank, "warm_up", tuple(warm_up))

    def leave_out(self, labels: Sequence[str]) -> None:
        """Let strategies take no part any more."""
        for rank in range(self.size):
            self._ask(rank, "leave_out", tuple(labels))

    def give(self, order: Order) -> None:
        """Run a turn on every rank."""
        self.state = "running"
        self._stream = self._actors[0].lead.options(num_returns="streaming").remote(order)
        for rank in range(1, self.size):
            self._ask(rank, "follow", order)

    def everyone(self, what: str, *arguments: object, within_s: float) -> list[Any]:
        """Ask all ranks the same, and wait for their answers.

        Raises:
            Lost: one of them fails or dies, or there is none in time.
        """
        import ray

        clock = WakingClock()

        references = [self._ask(rank, what, *arguments) for rank in range(self.size)]
        answers: dict[Any, Any] = {}
        while len(answers) < len(references):
            waited_for = [reference for reference in references if reference not in answers]
            ready, _ = ray.wait(waited_for, num_returns=1, timeout=_LOOK_EVERY_S)
            for reference in ready:
                answers[reference] = self._answer(reference)
            if clock.now_s() > within_s:
                raise Lost(f"replica {self.index} gave no word for {within_s:.0f} seconds ({what})")
        return [answers[reference] for reference in references]

    # -- what it says -------------------------------------------------------------------------------

    @property
    def waited_for(self) -> list[Any]:
        """What there may be news of, as ``ray.wait`` takes it."""
        return [*self._asked, *([self._stream] if self._stream is not None else [])]

    def hear(self, news: Any) -> SampleRecord | None:
        """Take one piece of news; a record, if that is what it is.

        Raises:
            Lost: a rank failed or died.
            BadInput: loading or calibrating says that what was asked cannot be.
        """
        record: SampleRecord | None = None
        if news is self._stream:
            record = self._next_record()
        else:
            self._answer(news)
        if not self._asked and self._stream is None:
            self.state = "idle"
        return record

    # -- how it ends --------------------------------------------------------------------------------

    def end(self) -> None:
        """Kill every process, and delete what they leave in memory; may be called in any state."""
        import ray

        for actor in self._actors:
            with contextlib.suppress(Exception):
                ray.kill(actor)
        here = [where.pid for where in self.wheres.values() if where.node == self._session.node]
        for pid in filter(_runs, here):
            # Ray asks a process to end itself, which one that is stopped or deep in a product does not hear.
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + _END_S
        while any(map(_runs, here)) and time.monotonic() < until:
            time.sleep(0.01)
        self._sweep()
        self._actors, self._asked, self._stream, self._meeting = [], {}, None, None
        self.loaded, self.wheres = {}, {}

    # -- within -------------------------------------------------------------------------------------

    def _ask(self, rank: int, what: str, *arguments: object) -> Any:
        reference = getattr(self._actors[rank], what).remote(*arguments)
        self._asked[reference] = _Asked(rank, what)
        return reference

    def _answer(self, reference: Any) -> Any:
        import ray
        from ray.exceptions import RayError

        asked = self._asked.pop(reference)
        try:
            answer = ray.get(reference)
        except RayError as error:
            raise self._verdict(asked, error) from error
        if isinstance(answer, Where):
            self.wheres[asked.rank] = answer
            if self._ledger is not None and answer.node == self._session.node:
                self._ledger.process(answer.pid)
        elif asked.what == "prepare":
            self.unavailable.update(answer)
        elif isinstance(answer, Meeting):
            self._meeting = answer
            self._foresee(answer)
        elif isinstance(answer, Loaded):
            self.loaded[asked.rank] = answer
            if self._ledger is not None:
                for file in answer.files:
                    self._ledger.file(file)
        return answer

    def _foresee(self, meeting: Meeting) -> None:
        """Write down what ranks are about to make in this host's memory: a kill may come while they load."""
        if self._ledger is None or not meeting.shares_memory or self.wheres[0].node != self._session.node:
            return
        from lsbench.execution.shards import foreseen_files

        for file in foreseen_files(meeting.address, meeting.port, self.size):
            self._ledger.file(file)

    def _next_record(self) -> SampleRecord | None:
        import ray
        from ray.exceptions import RayError

        try:
            return cast(SampleRecord, ray.get(next(self._stream)))
        except StopIteration:
            self._stream = None
            return None
        except RayError as error:
            raise self._verdict(_Asked(0, "lead"), error) from error

    def _verdict(self, asked: _Asked, error: Exception) -> Exception:
        """What to raise, once what else fails within a moment is known."""
        import ray
        from ray.exceptions import RayError

        failures = [Failure(asked.rank, asked.what, error)]
        until = time.monotonic() + _EVIDENCE_S
        while self._asked and (left := until - time.monotonic()) > 0:
            ready, _ = ray.wait(list(self._asked), num_returns=1, timeout=left)
            for reference in ready:
                other = self._asked.pop(reference)
                try:
                    ray.get(reference)
                except RayError as failed:
                    failures.append(Failure(other.rank, other.what, failed))
        return verdict(failures, self.index, self.wheres)

    def _sweep(self) -> None:
        """Delete what DeepSpeed left in the memory of the host that all ranks ran on."""
        if self._meeting is None or not self._meeting.shares_memory:
            return
        port, nodes = self._meeting.port, {where.node for where in self.wheres.values()}
        if self._session.node in nodes:
            sweep(port)
        elif nodes:
            _sweep_there(port, nodes.pop())


def _sweep_there(port: int, node: str) -> None:
    """On another host of the cluster, as far as it can still be reached."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with contextlib.suppress(Exception):
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        swept = ray.remote(num_cpus=0)(sweep).options(scheduling_strategy=there).remote(port)
        ray.wait([swept], timeout=_END_S)


def _runs(pid: int) -> bool:
    """Whether a process is there, one of Ray's, and not merely waited for: numbers are given again."""
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        return state not in "ZX" and b"ray::" in (process / "cmdline").read_bytes()
    except (OSError, IndexError):
        return False
