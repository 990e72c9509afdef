"""Ray that is missing, too old, or does not answer: said at once, in one line."""

import importlib.metadata
import os
import socket
import threading
import time

import pytest

from lsbench import pipeline
from lsbench.errors import BadInput
from lsbench.execution.cluster.requirement import check_ray
from lsbench.execution.cluster.session import RaySession
from support.runs import go


@pytest.fixture
def installed(monkeypatch):
    """``installed(version)``: of Ray; None is none."""
    real = importlib.metadata.version

    def install(found: str | None) -> None:
        def version(name: str) -> str:
            if name != "ray":
                return real(name)
            if found is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(importlib.metadata, "version", version)

    return install


def test_what_is_installed_serves():
    check_ray()


@pytest.mark.parametrize(
    ("version", "words"),
    [(None, "not installed here: pip install 'ray"), ("2.9.3", "Ray 2.9.3 is installed"), ("3.0.0", "3.0.0")],
)
def test_ray_of_another_version_is_refused_before_anything_is_read(version, words, installed, spec_for):
    installed(version)
    with pytest.raises(BadInput, match=words) as refused:
        go(spec_for("static_exit:exit_layer=2", tasks=("tiny_generate",), replicas=2))
    assert "pip install 'ray[tune]" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_one_process_asks_for_no_ray(installed, spec_for):
    installed(None)
    pipeline.check(spec_for("static_exit:exit_layer=2", tasks=("tiny_generate",)))


def test_an_address_that_refuses_is_told_within_seconds():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(BadInput, match=f"--ray-address 127.0.0.1:{port}: Connection refused; .*ray start"):
        RaySession(f"127.0.0.1:{port}", None)
    assert time.monotonic() - begun < 5
    assert "ray" not in os.environ.get("RAY_ADDRESS", "")


@pytest.mark.slow
@pytest.mark.ray
def test_something_else_that_listens_is_told_from_ray(monkeypatch):
    from lsbench.execution.cluster import session

    monkeypatch.setattr(session, "_HEALTH_S", 3.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        held = []
        threading.Thread(target=lambda: held.append(server.accept()), daemon=True).start()
        with pytest.raises(BadInput, match="does not answer as Ray does"):
            RaySession(f"127.0.0.1:{server.getsockname()[1]}", None)
