"""Two hosts on one machine: namespaces with a network, a name, shared memory and a Ray folder of their own.

They are joined by a virtual cable and reach nothing else. It takes root, or as much, on Linux.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 6379
CABLE = ("lsbench0", "lsbench1")
AUTHENTICATION = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Environment of every Ray process of the cluster: a head that finds a token in the user's home demands it of
all others, and these do not send one unless they are told to."""
_START_S = 180.0
_FOLDERS = ("/dev/shm", "/tmp/ray")
"""What two hosts would not share."""


class NotPermitted(Exception):
    """This machine does not let us make namespaces; the text says what it refused."""


_OF_ONE_HOST = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",)


@dataclass(frozen=True)
class Host:
    """One of the two: a process that holds its namespaces."""

    name: str
    address: str
    holder: int

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The same command, run on this host."""
        return ["nsenter", f"--target={self.holder}", "--net", "--mount", "--uts", "--", *arguments]

    def run(
        self, *arguments: str, timeout: float = _START_S, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here and wait for it; its output is captured as text."""
        return subprocess.run(
            self.command(arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            # This process may hold a Ray of its own, which is for one host alone.
            env={name: value for name, value in os.environ.items() if name not in _OF_ONE_HOST} | environment,
            check=False,
        )


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts that reach each other; gone, with everything that runs on them, in the end.

    Raises:
        NotPermitted: no root, no namespaces, or not Linux.
    """
    for program in ("unshare", "nsenter", "ip", "mount"):
        if shutil.which(program) is None:
            raise NotPermitted(f"{program} was not found")
    holders: list[subprocess.Popen[bytes]] = []
    try:
        hosts = []
        for index, address in enumerate(ADDRESSES):
            name = f"lsbench-host{index}"
            mounts = " && ".join(f"mkdir -p {folder} && mount -t tmpfs none {folder}" for folder in _FOLDERS)
            script = f"hostname {name} && {mounts} && echo ready && exec sleep 3600"
            holder = subprocess.Popen(
                ["unshare", "--net", "--mount", "--uts", "sh", "-c", script],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            holders.append(holder)
            assert holder.stdout is not None
            assert holder.stderr is not None
            if holder.stdout.readline() != b"ready\n":
                raise NotPermitted(" ".join(holder.stderr.read().decode(errors="replace").split()))
            hosts.append(Host(name, address, holder.pid))
        _ask("ip", "link", "add", "name", CABLE[0], "type", "veth", "peer", "name", CABLE[1])
        for host, end in zip(hosts, CABLE, strict=True):
            _ask("ip", "link", "set", end, "netns", str(host.holder))
            for order in (
                f"addr add {host.address}/24 dev {end}",
                f"link set {end} up",
                "link set lo up",
            ):
                _ask(*host.command(["ip", *order.split()]))
        yield hosts[0], hosts[1]
    finally:
        for holder in holders:
            _end_all_of(holder.pid)
            holder.wait(timeout=30)
            for stream in (holder.stdout, holder.stderr):
                if stream is not None:
                    stream.close()
        subprocess.run(["ip", "link", "delete", CABLE[0]], capture_output=True, check=False)


@contextlib.contextmanager
def ray_cluster(hosts: Sequence[Host], cores: int = 1) -> Iterator[str]:
    """A Ray cluster over hosts, as ``ray start`` makes one; yields the address of its head.

    Args:
        hosts: the first is the head.
        cores: that each host says it has.
    """
    ray = str(Path(sys.executable).with_name("ray"))
    head = f"{hosts[0].address}:{PORT}"
    for host in hosts:
        where = (
            ["--head", f"--port={PORT}", "--include-dashboard=false"]
            if host is hosts[0]
            else [f"--address={head}"]
        )
        done = host.run(
            ray,
            "start",
            *where,
            f"--node-ip-address={host.address}",
            f"--num-cpus={cores}",
            "--object-store-memory=100000000",
            "--disable-usage-stats",
            **AUTHENTICATION,
        )
        if done.returncode != 0:
            raise RuntimeError(f"ray start on {host.name}: {done.stdout}\n{done.stderr}")
    yield head


def _ask(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise NotPermitted(f"{' '.join(command)}: {' '.join(done.stderr.split())}")


def _end_all_of(holder: int) -> None:
    """Kill whatever shares the network namespace of a process, itself last."""
    with contextlib.suppress(OSError):
        network = os.readlink(f"/proc/{holder}/ns/net")
        if network == os.readlink("/proc/self/ns/net"):
            network = ""
        until = time.monotonic() + 20
        while network and time.monotonic() < until:
            inside = [pid for pid in _inside(network) if pid != holder]
            if not inside:
                break
            for pid in inside:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
    with contextlib.suppress(OSError):
        os.kill(holder, signal.SIGKILL)


def _inside(network: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX" and os.readlink(entry / "ns" / "net") == network:
                found.append(int(entry.name))
    return found
