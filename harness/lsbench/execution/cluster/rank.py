"""One process of a replica: a worker, and what Ray needs of it."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsbench.errors import BadInput, CannotRun
from lsbench.execution import collector
from lsbench.execution.cluster.assignment import Order
from lsbench.execution.lines import reason
from lsbench.records import Bandwidth, LoopTimes, Outlook, SampleRecord, StepCost
from lsbench.spec import GenerateRequest, StrategyChoice

if TYPE_CHECKING:
    from lsbench.engine.stack import DecoderStack
    from lsbench.execution.leftovers import Ledger
    from lsbench.execution.setup import Setup
    from lsbench.execution.worker import Contender, Worker


@dataclass(frozen=True)
class Where:
    """Where a rank came to run.

    Attributes:
        node: Ray's name for the host.
        host: what people call it.
        address: under which other hosts reach it.
        pid: of its process there.
        version: of lsbench there.
    """

    node: str
    host: str
    address: str
    pid: int
    version: str


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of a group find each other.

    Attributes:
        address: of rank 0.
        port: free there.
        one_host: whether all ranks run on one.
        shares_memory: whether they exchange their sums through its memory.
    """

    address: str
    port: int
    one_host: bool
    shares_memory: bool


@dataclass(frozen=True)
class Loaded:
    """A rank that holds its part of the model.

    Attributes:
        num_layers: L.
        threads: of torch's CPU operators.
        gpu: name of its device; None on a CPU.
        niceness: by how much it gives way to others on its host.
        files: what it holds in the memory of the driver's host, to be deleted in the end.
    """

    num_layers: int
    threads: int
    gpu: str | None
    niceness: int = 0
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Failed:
    """What was asked of every rank of a group, and raised an error on all of them.

    Attributes:
        reason: in one line.
    """

    reason: str


class Rank:
    """An actor; its methods run one after the other, in the order they were called.

    Args:
        replica: which copy of the model.
        rank, size: which of how many processes that share it.
        home: Ray's name for the driver's host.
        log: the file that is written to in place of standard output and error, where its folder can be seen
            from here; elsewhere Ray keeps both.
    """

    def __init__(self, replica: int, rank: int, size: int, home: str, log: str) -> None:
        self._replica, self._rank, self._size = replica, rank, size
        self._made: Worker | None = None
        self._home = home
        self._ledger: Ledger | None = None
        self._log = Path(log) if Path(log).parent.is_dir() else None
        if self._log is not None:
            _write_to(self._log)

    def where(self) -> Where:
        """Where this process runs."""
        from importlib.metadata import version

        import ray

        node = ray.get_runtime_context().get_node_id()
        address = ray.util.get_node_ip_address()
        return Where(node, platform.node(), address, os.getpid(), version("lsbench"))

    def meet(self, *ranks: Where) -> Meeting:
        """Asked of rank 0: where all of them find each other.

        Raises:
            BadInput: hosts have different versions of lsbench.
        """
        mine = ranks[0]
        for other in ranks:
            if other.version != mine.version:
                raise BadInput(
                    f"{other.host} has lsbench {other.version}, {mine.host} {mine.version}; install the same"
                )
        one_host = len({rank.node for rank in ranks}) == 1
        address = "127.0.0.1" if one_host else mine.address
        with socket.socket() as free:
            free.bind((address, 0))
            return Meeting(address, free.getsockname()[1], one_host, one_host and self._size > 1)

    def load(self, setup: Setup, meeting: Meeting) -> Loaded:
        """Load the model, or this rank's part of it.

        Raises:
            BadInput: this host has not the model, or not the same; or what loading raises.
        """
        with _told(f"loading {setup.model}"):
            setup.set_environment()
            if setup.threads is not None:
                # For whoever reads it when it is loaded, which torch is below.
                os.environ["OMP_NUM_THREADS"] = str(setup.threads)
            path = _model_here(setup)
            stack = self._stack(setup, path, meeting)
            from lsbench.engine.loading import load_tokenizer
            from lsbench.execution.machine import devices, use_threads

            threads = use_threads(setup.threads)
            self._made = setup.worker(stack, load_tokenizer(path), _contenders(setup), self._replica)
            gpus = devices(setup.device)
            gpu = gpus[0] if gpus else None
            return Loaded(stack.num_layers, threads, gpu, os.nice(0), self._files(meeting))

    def change(self, others: Sequence[StrategyChoice], warm_up: Sequence[GenerateRequest]) -> None:
        """Other strategies take the place of those beside the baseline; the model stays loaded.

        Raises:
            BadInput: one is not installed here, cannot calibrate, or cannot run here.
        """
        with _told(f"changing to {', '.join(choice.label for choice in others) or 'the baseline'}"):
            self._made = self._worker.with_others([_contender(choice) for choice in others])
            self._made.prepare()
            for why in self._made.unavailable.values():
                raise CannotRun(why)
            self._made.warm_up(warm_up)

    def apply(self, function: Callable[..., object], *arguments: object) -> object:
        """What a function makes of this rank's worker; ``Failed`` where it raises an error of its own.

        Raises:
            Disagreement: one of the ranks that share the model failed alone.
        """
        from lsbench.engine.agreement import Disagreement

        with _told(function.__name__):
            try:
                return function(self._worker, *arguments)
            except Disagreement:
                raise
            except Exception as error:
                self._worker.stack.agreement.failed(error)
                traceback.print_exc()
                return Failed(reason(error))

    def prepare(self) -> dict[str, str]:
        """As ``Worker.prepare``; who cannot run here, and why."""
        with _told("calibrating"):
            self._worker.prepare()
        return self._worker.unavailable

    def leave_out(self, labels: tuple[str, ...]) -> None:
        """As ``Worker.leave_out``: who cannot run on another replica runs on none."""
        self._worker.leave_out(labels)

    def warm_up(self, requests: Sequence[GenerateRequest]) -> None:
        """As ``Worker.warm_up``."""
        with _told("warming up"):
            self._worker.warm_up(requests)
        collector.settle()

    def costs(self, typical: GenerateRequest) -> tuple[StepCost, ...]:
        """As ``Worker.costs``; every rank of a group is asked, since a step takes them all."""
        with _told("measuring what a layer costs"):
            return self._worker.costs(typical)

    def bandwidth(self) -> Bandwidth | None:
        """As ``Worker.bandwidth``; every rank of a group reads at once, as it does in a step."""
        with _told("measuring memory"):
            return self._worker.bandwidth()

    def loop_times(self, typical: GenerateRequest) -> tuple[LoopTimes, ...]:
        """As ``Worker.loop_times``; every rank of a group is asked, since a step takes them all."""
        with _told("watching loops"):
            return self._worker.loop_times(typical)

    def outlooks(self) -> tuple[Outlook, ...]:
        """As ``Worker.outlooks``; every rank of a group is asked, since a step takes them all."""
        with _told("foreseeing what strategies come to"):
            return self._worker.outlooks()

    def remarks(self) -> list[str]:
        """As ``Worker.remarks``."""
        return self._worker.remarks()

    def lead(self, order: Order) -> Iterator[SampleRecord]:
        """Asked of rank 0: run a turn; every record is handed over as soon as it is finished."""
        with _told(f"running {_words(order)}"):
            for record in order.earlier:
                self._worker.remember(record)
            yield from self._worker.run(order.turn, order.finished, order.attempts)

    def follow(self, order: Order) -> None:
        """Asked of the others: run it too; their records are rank 0's once more, and are dropped."""
        for _ in self.lead(order):
            pass

    @property
    def _worker(self) -> Worker:
        assert self._made is not None  # loaded before anything is asked of it
        return self._made

    def _files(self, meeting: Meeting) -> tuple[Path, ...]:
        """For the driver's ledger; on another host this process keeps one, in case nobody can delete them."""
        if not meeting.shares_memory:
            return ()
        import ray

        from lsbench.execution import leftovers
        from lsbench.execution.shards import shared_files

        files = tuple(shared_files(meeting.port))
        if ray.get_runtime_context().get_node_id() == self._home:
            return files
        leftovers.clean(print)
        self._ledger = leftovers.Ledger.open(f"that replica {self._replica} was of")
        for file in files:
            self._ledger.file(file)
        return ()

    def _stack(self, setup: Setup, path: Path, meeting: Meeting) -> DecoderStack:
        if self._size == 1:
            from lsbench.engine.loading import load_stack
            from lsbench.execution.machine import use_threads

            use_threads(setup.threads)
            return load_stack(path, setup.dtype, setup.device)
        from lsbench.execution import shards

        place = shards.RankPlace(self._rank, self._size, meeting.address, meeting.port, meeting.one_host)
        shards.prepare_environment(place, setup.device)
        from lsbench.execution.machine import use_threads

        use_threads(setup.threads)
        return shards.load_shard(path, setup.dtype, setup.device, place, self._log)


def sweep(port: int) -> None:
    """Delete what DeepSpeed left in this host's memory for the group of that port."""
    from lsbench.execution.shards import shared_files

    for file in shared_files(port):
        with suppress(OSError):
            file.unlink()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What is begun, and how it failed, in this rank's log: Ray hands errors over, and writes none down."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)
    try:
        yield
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        raise


def _words(order: Order) -> str:
    first = order.turn.requests[0]
    more = len(order.turn.requests) - 1
    return f"{first.task} {first.doc_id}" + (f" and {more} more" if more else "")


def _contenders(setup: Setup) -> tuple[Contender, ...]:
    """The driver knows them all; this host may not."""
    return tuple(map(_contender, setup.choices))


def _contender(choice: StrategyChoice) -> Contender:
    from lsbench.execution.worker import Contender
    from lsbench.strategy.registry import resolve

    try:
        return Contender(choice, resolve(choice))
    except BadInput as error:
        raise BadInput(f"On {platform.node()}: {error}") from error


def _model_here(setup: Setup) -> Path:
    """The folder the driver reads, or the same weights as this host knows them by their name."""
    if setup.folder.is_dir():
        return setup.folder
    from lsbench.catalog import resolve_model

    try:
        source = resolve_model(setup.model, setup.revision)
    except BadInput as error:
        raise BadInput(f"{platform.node()} has not the model {setup.model!r}: {error}") from error
    if source.sha256 != setup.sha256:
        raise BadInput(
            f"{platform.node()} has other weights under {setup.model!r} (SHA-256 {source.sha256[:12]}, not "
            f"{setup.sha256[:12]}); put the same model in {setup.path} there"
        )
    return source.path


def _write_to(log: Path) -> None:
    """All that this process prints, and all that what it loads prints, goes to a file, line by line."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace", closefd=False)
