"""Two rank processes that run what tests give them, one after the other, and tell what came of it on each."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

RANKS = 2
_TESTS = Path(__file__).parents[1]


class Ranks:
    """Processes that share models, with one thread each.

    Args:
        log: folder for what they print.
        one_host: whether they may share memory.
    """

    def __init__(self, log: Path, one_host: bool = True) -> None:
        self.port = free_port()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        self.processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "support.ranks",
                    str(rank),
                    str(self.port),
                    str(int(one_host)),
                    str(log),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            for rank in range(RANKS)
        ]

    def run(self, job: Callable[..., Any], *arguments: Any) -> list[Any]:
        """``job(rank, *arguments)`` on each rank, a function that a module of ``support`` has.

        Returns:
            what each returned, or the exception it raised.
        """
        self.begin(job, *arguments)
        return [self.outcome(rank) for rank in range(RANKS)]

    def begin(self, job: Callable[..., Any], *arguments: Any) -> None:
        """The same, without waiting for an outcome."""
        for process in self.processes:
            assert process.stdin is not None
            pickle.dump((job, arguments), process.stdin)
            process.stdin.flush()

    def outcome(self, rank: int) -> Any:
        """What one rank's job came to."""
        process = self.processes[rank]
        assert process.stdout is not None
        return pickle.load(process.stdout)

    def close(self) -> None:
        """End them, and wait."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def same(outcomes: Sequence[Any]) -> Any:
    """What every rank came to, which is the same."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    assert all(outcome == outcomes[0] for outcome in outcomes), outcomes
    return outcomes[0]


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _serve(rank: int, port: int, one_host: bool, log: Path) -> None:
    from lsbench.execution.shards import RankPlace, close_shards, prepare_environment

    place = RankPlace(rank, RANKS, "127.0.0.1", port, one_host)
    prepare_environment(place, "cpu")
    if not one_host:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # Outcomes go where nobody else prints.
    answers: BinaryIO = os.fdopen(os.dup(1), "wb")
    printed = os.open(log / f"rank{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            job, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        try:
            outcome: Any = job(place, *arguments)
        except BaseException as error:
            traceback.print_exc()
            outcome = error
        try:
            pickle.dump(outcome, answers)
        except Exception:
            pickle.dump(RuntimeError(repr(outcome)), answers)
        answers.flush()
    close_shards()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1", Path(sys.argv[4]))
