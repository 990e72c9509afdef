"""Ray, started for a run or joined where it runs already; and left as it was found."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsbench.errors import BadInput
from lsbench.execution.cluster.requirement import check_ray
from lsbench.execution.plan import Host, Resources

if TYPE_CHECKING:
    from lsbench.execution.leftovers import Ledger

_ANSWER_S = 3.0
"""How long an address may take to accept a connection."""
_HEALTH_S = 30.0
"""How long Ray may take to say that it is well, this process's own start of Python included."""
_LONGEST_FOLDER = 30
"""Characters: Ray puts sockets some 75 deeper, and the system takes 107."""
_OBJECT_STORE_BYTES = 100 << 20
"""Little more than Ray's least: records and requests are small and pass beside it."""
_SHARED_MEMORY = Path("/dev/shm")
_QUIET = {
    # Every listener on the loopback interface; Ray has no other way to say so (2.60).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Its processes would give way to whatever else runs, this one included, and be timed like that.
    "RAY_worker_niceness": "0",
}


class RaySession:
    """This process's connection to Ray.

    Args:
        address: of the cluster, ``HOST:PORT`` or ``auto``; None starts Ray here, for this process alone. A
            connection that the process has already is shared, and left when this is closed.
        ledger: is told of what is started, so that it is ended even after a ``kill -9``.

    Raises:
        BadInput: Ray is missing, of another version, or does not answer; within seconds.
    """

    def __init__(self, address: str | None, ledger: Ledger | None) -> None:
        check_ray()
        self._folder: Path | None = None
        self._connected = False
        self._before = {name: os.environ.get(name) for name in _QUIET}
        if address is None:
            os.environ.update(_QUIET)
        else:
            check_listens(address)
            _check_well(address)
        with _own_signals():
            import ray

            _say_nothing()
            if ray.is_initialized():
                return
            self._connected = True
            try:
                if address is None:
                    self._start(ledger)
                else:
                    self._join(address)
            except BaseException:  # an interruption too
                self.close(None)
                raise

    @property
    def own(self) -> bool:
        """Whether Ray was started for this, on this host alone."""
        return self._folder is not None

    @property
    def node(self) -> str:
        """Ray's name for the host of this process."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def resources(self) -> Resources:
        """Every host that is alive, as Ray counts what it has."""
        import ray

        alive: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
        hosts = tuple(
            Host(
                name=str(node["NodeManagerHostname"]),
                cores=int(node["Resources"].get("CPU", 0)),
                gpus=int(node["Resources"].get("GPU", 0)),
                memory_bytes=int(node["Resources"].get("memory", 0)),
                shared_memory_bytes=_free_shared_memory() if node["NodeID"] == self.node else None,
            )
            for node in alive
        )
        return Resources(hosts)

    def close(self, logs: Path | None) -> None:
        """Leave Ray; what was started here ends, and what it wrote is moved to ``logs``."""
        if self._connected:
            import ray

            self._connected = False
            with _own_signals():
                ray.shutdown()
        if self._folder is not None:
            if logs is not None and logs.is_dir():
                _keep_logs(self._folder, logs)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        # Whoever this process starts later, a cluster of several hosts for one, is to choose for itself.
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _start(self, ledger: Ledger | None) -> None:
        import psutil
        import ray

        self._folder = _short_folder()
        if ledger is not None:
            ledger.file(self._folder)
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                num_cpus=_cores(),
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(self._folder),
            )
        except Exception as error:
            raise BadInput(
                f"Ray cannot be started here: {_first_line(error)}; one process needs no Ray: --backend local"
            ) from error
        if ledger is not None:
            for child in psutil.Process().children(recursive=True):
                if str(self._folder) in " ".join(_command(child)):
                    ledger.process(child.pid)

    def _join(self, address: str) -> None:
        import ray

        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise _refused(address, _first_line(error)) from error


def check_listens(address: str) -> None:
    """Whether anything does, where Ray itself would ask again and again for two minutes.

    Raises:
        BadInput: nothing takes a connection there.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except OSError as error:
        raise _refused(address, error.strerror or str(error)) from error


def _check_well(address: str) -> None:
    """Whether it is Ray, in good health and of this version."""
    if address == "auto":
        return
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=_HEALTH_S
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(address, "what listens there does not answer as Ray does") from error
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise _refused(address, said[-1] if said else "not in good health")


def _refused(address: str, why: str) -> BadInput:
    return BadInput(
        f"--ray-address {address}: {why}; start a cluster with `ray start --head` and give the address that "
        "it prints, from a machine of that cluster, or leave --ray-address out"
    )


def _say_nothing() -> None:
    """Ray prints across whatever is shown when a process dies; that is told here in other words."""
    from ray._private import worker

    # The switch of Ray's own debugger: there is no public one for what the raylet says.
    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = False


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it connects; whoever handles it here goes on doing so."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not the main thread, which Ray leaves alone
            signal.signal(signal.SIGTERM, before)


def _short_folder() -> Path:
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="lsbench-", dir=base if len(base) <= _LONGEST_FOLDER else "/tmp"))


def _keep_logs(folder: Path, logs: Path) -> None:
    """What Ray's processes wrote, if they wrote anything; a full disk is no reason not to end."""
    for file in folder.glob("session_2*/logs/*"):
        with contextlib.suppress(OSError):
            if file.is_file() and file.stat().st_size:
                (logs / "ray").mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, logs / "ray" / file.name)


def _free_shared_memory() -> int | None:
    try:
        return shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _command(process: Any) -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
