"""The search itself: Ray Tune's ``Tuner`` proposes, trials run on benches, answers go back.

Tune runs in a thread and its trials in processes of Tune's, which only wait: what a trial takes happens here,
on replicas whose model stays loaded, so that a trial costs some hundredths of a second of Ray and no reload.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from lsbench.errors import LsbenchError
from lsbench.tuning.proposals import Proposal, Proposals
from lsbench.tuning.searchers import OBJECTIVE
from lsbench.tuning.trainable import NUMBER, Desk, trial

_LOOK_EVERY_S = 0.01
_END_S = 3.0
"""How long Tune may take to end when a search ends early; it is left behind then."""
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    # Nothing is restored from Tune's own files: trials.jsonl is the memory of a search.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}

Bench = TypeVar("Bench")


def search(
    proposals: Proposals,
    benches: Sequence[Bench],
    attempt: Callable[[Bench, Proposal], float],
    storage: Path,
    over: Callable[[], bool] = lambda: False,
) -> None:
    """Try what is proposed until nothing is, or the time is over; Ray is connected.

    Args:
        proposals: what to try; it is told what came of each.
        benches: where: as many trials run at once as there are.
        attempt: tries one and says what the searcher is told, which is finite. It is called in a thread of
            its own for each bench; what it raises ends the search.
        storage: a folder for what Ray Tune writes, which is deleted in the end.
        over: whether the time is; what runs then is finished.

    Raises:
        LsbenchError: Ray Tune broke down.
        KeyboardInterrupt: the user stopped it; whatever runs is left as it is.
    """
    import ray

    os.environ.update(_QUIET)
    free: SimpleQueue[Bench] = SimpleQueue()
    for bench in benches:
        free.put(bench)

    def run(number: int) -> float:
        bench = free.get()
        try:
            return attempt(bench, proposals.given(number))
        finally:
            free.put(bench)

    with ExitStack() as stack:
        # Nothing is read from it again; what a killed process left there goes too.
        shutil.rmtree(storage, ignore_errors=True)
        stack.callback(shutil.rmtree, storage, ignore_errors=True)
        pool = ThreadPoolExecutor(len(benches), "trial")
        # Threads that still run end when their replica does.
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        desk: Any = ray.remote(Desk)  # type: ignore[arg-type]
        desk = desk.options(num_cpus=0, max_concurrency=len(benches) + 10).remote()
        tuner = _Tuner(proposals, desk, len(benches), str(storage.absolute()))
        stack.callback(tuner.stop)
        # Trials that wait at the desk end with it, and so does Tune.
        stack.callback(ray.kill, desk)
        tuner.start()
        running: dict[Future[float], int] = {}
        next_one = desk.take.remote()
        while tuner.is_alive() or running:
            if over():
                proposals.end()
            if ray.wait([next_one], timeout=_LOOK_EVERY_S)[0]:
                number = cast(int, ray.get(next_one))
                running[pool.submit(run, number)] = number
                next_one = desk.take.remote()
            for future in [each for each in running if each.done()]:
                number, value = running.pop(future), future.result()
                proposals.tell(number, value)
                ray.get(desk.tell.remote(number, value))
        tuner.check()


class _Tuner(threading.Thread):
    """Ray Tune, in a thread: it leaves signals to the main one."""

    def __init__(self, proposals: Proposals, desk: Any, at_once: int, storage: str) -> None:
        super().__init__(name="ray-tune", daemon=True)
        self._proposals, self._desk, self._at_once, self._storage = proposals, desk, at_once, storage
        self._error: Exception | None = None

    def run(self) -> None:
        """Until nothing is proposed any more."""
        try:
            self._fit()
        except Exception as error:
            self._error = error

    def stop(self) -> None:
        """Propose nothing any more, and wait a moment for what is left."""
        self._proposals.end()
        if self.is_alive():
            self.join(_END_S)

    def check(self) -> None:
        """Raise what went wrong.

        Raises:
            LsbenchError: Ray Tune broke down.
        """
        if self._error is not None:
            raise LsbenchError(f"Ray Tune broke down: {self._error}") from self._error

    def _fit(self) -> None:
        from ray import tune

        from lsbench.tuning.asking import Asking

        # It prints across whatever is shown; what matters is raised, or is a trial's reason.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        here = tune.with_resources(tune.with_parameters(trial, desk=self._desk), _this_node())
        tuner = tune.Tuner(
            here,
            tune_config=tune.TuneConfig(
                metric=OBJECTIVE,
                mode="max",
                search_alg=Asking(self._proposals),
                num_samples=-1,
                max_concurrent_trials=self._at_once,
                # A process for each would take a second.
                reuse_actors=True,
                trial_name_creator=lambda made: f"trial-{made.config[NUMBER]}",
                trial_dirname_creator=lambda made: f"trial-{made.config[NUMBER]}",
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=self._storage,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
            ),
        )
        tuner.fit()


def _this_node() -> dict[str, float]:
    """A resource that costs nothing of what benches need, and keeps Tune's processes beside this one."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    resources = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    name = next(each for each in resources if each.startswith("node:") and "internal" not in each)
    return {name: 0.0001}
