"""How a mechanism is chosen, what is said of it, and running many at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from lsbench.errors import SandboxUnavailable
from lsbench.evaluation.sandbox import MECHANISMS, Limits, Sandbox, box, probe
from lsbench.evaluation.sandbox.interpreter import Interpreter, outermost

PATIENT = Limits(wall_s=60.0)
"""Nothing here goes on for ever, and a busy machine may take its time."""


def test_detected_sandbox_is_the_first_that_works():
    detected = Sandbox.detect(limits=PATIENT)
    for mechanism in MECHANISMS[: MECHANISMS.index(detected.mechanism)]:
        with pytest.raises(SandboxUnavailable, match=mechanism):
            Sandbox.using(mechanism, PATIENT)
    assert (detected.warning is None) == (detected.mechanism != "limits")


@pytest.fixture
def only_limits(monkeypatch):
    """A machine whose kernel refuses every confinement: the trial's own verdict, for each of them."""
    real = probe.trial

    def trial(run, limits, confining):
        return "refused" if confining else real(run, limits, confining)

    monkeypatch.setattr(probe, "trial", trial)


@pytest.mark.usefixtures("only_limits")
def test_falls_back_to_limits_with_one_warning_line():
    sandbox = Sandbox.detect("auto", PATIENT)
    assert sandbox.mechanism == "limits"
    assert sandbox.warning is not None
    assert "\n" not in sandbox.warning
    assert sandbox.run("x = 1", "assert x == 1").passed


@pytest.mark.usefixtures("only_limits")
def test_strict_refuses_limits():
    with pytest.raises(SandboxUnavailable, match="--sandbox auto") as refusal:
        Sandbox.detect("strict", PATIENT)
    assert refusal.value.exit_code == 2
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_trial_sees_through_a_mechanism_that_does_not_confine():
    """The limits alone, passed off as a confinement, do not stand the trial."""
    limits_only = Sandbox("limits", PATIENT, changes_user=os.geteuid() == 0)
    assert probe.trial(limits_only._run, PATIENT, confining=True)
    assert probe.trial(limits_only._run, PATIENT, confining=False) is None


def test_missing_bubblewrap_is_said(monkeypatch):
    monkeypatch.setattr(box, "_bubblewrap", lambda: None)
    with pytest.raises(SandboxUnavailable, match="bubblewrap"):
        Sandbox.using("bubblewrap", PATIENT)


def test_a_confinement_that_cannot_be_set_up_is_no_failed_sample(monkeypatch):
    monkeypatch.setattr(box, "_runner", lambda: "raise OSError('nothing works')")
    with pytest.raises(SandboxUnavailable, match="nothing works"):
        Sandbox("limits", PATIENT).run("pass", "pass")


@pytest.mark.slow
def test_many_keep_their_order_and_run_at_once(monkeypatch):
    sandbox = Sandbox.detect(limits=PATIENT)
    begin, all_begun = subprocess.Popen, threading.Barrier(4, timeout=120)

    def with_the_others(*given, **more):
        launcher = begin(*given, **more)
        all_begun.wait()
        return launcher

    monkeypatch.setattr(box.subprocess, "Popen", with_the_others)
    outcomes = sandbox.run_many([("pass", f"assert {number % 2}") for number in range(4)], workers=4)
    assert [outcome.passed for outcome in outcomes] == [False, True, False, True]
    assert sandbox.run_many([]) == []


@pytest.mark.slow
def test_large_program():
    sandbox = Sandbox.detect(limits=PATIENT)
    text = "x = '" + "a" * 3_000_000 + "'"
    assert sandbox.run(text, "assert len(x) == 3_000_000").passed


def test_hashes_are_the_same_every_time():
    sandbox = Sandbox.detect(limits=PATIENT)
    said = {sandbox.run("raise SystemExit(str(hash('text')))", "").detail for _ in range(2)}
    assert len(said) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's word that a parent died")
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_nothing_outlives_a_killed_harness(mechanism, tmp_path):
    try:
        Sandbox.using(mechanism, PATIENT)
    except SandboxUnavailable as refusal:
        pytest.skip(str(refusal))
    code = (
        "from lsbench.evaluation.sandbox import Sandbox, Limits\n"
        f"Sandbox.using({mechanism!r}, Limits(wall_s=600)).run('while True: pass', '')"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch)}
    harness = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        ours = psutil.Process(harness.pid)
        deadline = time.monotonic() + 120
        descendants: list[psutil.Process] = []
        busy: list[psutil.Process] = []
        while time.monotonic() < deadline:
            descendants = ours.children(recursive=True)
            busy = [process for process in descendants if process.cpu_times().user > 0.3]
            if busy:
                break
            time.sleep(0.05)
        assert busy
    finally:
        harness.send_signal(signal.SIGKILL)
        harness.wait()
    _, alive = psutil.wait_procs(descendants, timeout=60)
    assert alive == []
    assert list(scratch.iterdir()) == []


def test_outermost_keeps_links_and_drops_what_lies_within(tmp_path):
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    paths = [str(tmp_path / name) for name in ("real", "real/inner", "link", "missing")]
    assert sorted(outermost(paths)) == [str(tmp_path / "link"), str(tmp_path / "real")]
    assert outermost(["/"]) == ()


def test_library_path_is_all_that_is_handed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:relative")
    interpreter = Interpreter.current()
    assert str(tmp_path) in interpreter.visible
    assert not any("relative" in path for path in interpreter.visible)
    monkeypatch.setattr(box, "_interpreter", lambda: interpreter)
    said = Sandbox.detect(limits=PATIENT).run("import os\nraise SystemExit(' '.join(os.environ))", "").detail
    assert "LD_LIBRARY_PATH" in said
    assert "PYTEST_CURRENT_TEST" not in said
