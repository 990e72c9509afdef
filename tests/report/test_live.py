import io
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time

import pytest

from lsbench.report.live import LiveView

LABEL = "self_speculative:draft=dynamic_skip,num_speculations=6"
SCRIPT = f"""
import sys
from lsbench.report.live import LiveView
try:
    with LiveView(quiet="quiet" in sys.argv) as view:
        view.stage("Loading the model")
        for done in range(0, 101, 5):
            view.update("Downloading weights", done, 100)
        view.note("the machine is busy [red]")
        view.note("the machine is busy [red]")
        view.start(6, 2)
        for doc_id in range(2):
            view.request_done("humaneval", doc_id, "autoregressive", 25.1, None, 30)
            if "stop" in sys.argv:
                raise KeyboardInterrupt
            view.request_done("humaneval", doc_id, {LABEL!r}, 23.4, 0.93, 24.3)
except KeyboardInterrupt:
    pass
print("RESULT")
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def in_terminal(*arguments: str, term: str = "xterm-256color") -> tuple[str, str]:
    """Run the script with standard error on a real pseudo-terminal; what it wrote there, and its stdout."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": term, "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stderr=slave,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    os.close(slave)
    written, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.5)[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not piece:
                break
            written += piece
    stdout, _ = process.communicate(timeout=60)
    os.close(master)
    return written.decode(), stdout


@pytest.fixture(scope="module")
def terminal() -> tuple[str, str]:
    return in_terminal()


def test_a_terminal_shows_progress_and_is_left_as_found(terminal):
    drawn, stdout = terminal
    assert stdout == "RESULT\n"
    assert "Downloading weights: 100%" in drawn
    assert "request 6 of 6 (100%), in 0 s" in drawn
    assert "speedup so far" in drawn
    assert "0.93×" in drawn
    assert drawn.count("note: the machine is busy [red]") == 1
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1, "the cursor is given back"
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("request 6 of 6")


def test_an_interrupted_view_restores_the_terminal_and_says_where():
    drawn, _ = in_terminal("stop")
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1
    assert drawn.rstrip().endswith("stopped after request 3 of 6")


def test_a_dumb_terminal_gets_plain_lines():
    drawn, _ = in_terminal(term="dumb")
    assert "\x1b" not in drawn
    assert "lsbench: request 6 of 6 (100%), in 0 s" in drawn


def test_quiet_shows_nothing_even_on_a_terminal():
    assert in_terminal("quiet") == ("", "RESULT\n")


def test_a_pipe_gets_plain_lines_and_stdout_stays_clean():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "RESULT\n"
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert done.stderr.splitlines() == [
        "lsbench: Loading the model",
        "lsbench: Downloading weights: 0%",
        "lsbench: Downloading weights: 100%",
        "lsbench: note: the machine is busy [red]",
        "lsbench: request 2 of 6 (33%), time left not known yet",
        f"lsbench: request 6 of 6 (100%), in 0 s; {LABEL} 0.93× so far, 24.3 layers per token",
    ]


def test_time_left_counts_only_this_process():
    clock, stream = Clock(), io.StringIO()
    with LiveView(stream=stream, clock=clock) as view:
        view.start(110, 10)
        for doc_id in range(20):
            clock.now += 2
            view.request_done("humaneval", doc_id, "autoregressive", 25.0)
    lines = stream.getvalue().splitlines()
    assert "lsbench: request 18 of 110 (16%), 3 min 04 s left" in lines  # 92 requests at 2 s
    assert lines[-1] == "lsbench: stopped after request 30 of 110"


def test_lines_are_occasional():
    clock, stream = Clock(), io.StringIO()
    with LiveView(stream=stream, clock=clock) as view:
        view.start(1000)
        for doc_id in range(1000):
            clock.now += 0.1
            view.request_done("humaneval", doc_id, "autoregressive", 25.0)
    assert len(stream.getvalue().splitlines()) <= 2 + 100 / 15


def test_what_a_request_cannot_tell_is_kept_from_earlier_ones():
    stream = io.StringIO()
    with LiveView(stream=stream) as view:
        view.start(2)
        view.request_done("humaneval", 0, "dynamic_skip", 25.0, 0.93, 24.0)
        view.request_done("humaneval_bpb", 0, "dynamic_skip")
    assert stream.getvalue().splitlines()[-1].endswith("dynamic_skip 0.93× so far, 24.0 layers per token")


def test_a_failed_request_is_shown_as_failed(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    clock, stream = Clock(), Terminal()
    with LiveView(stream=stream, clock=clock) as view:
        view.start(2)
        clock.now += 1
        view.request_done("humaneval", 7, "dynamic_skip", failed=True)
    assert "1 (1 failed)" in stream.getvalue()
    assert "humaneval 7 under dynamic_skip failed" in stream.getvalue()


def test_names_cannot_steer_the_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with LiveView(stream=stream) as view:
        view.stage("load \x1b[2Jit")
        view.start(1)
        view.request_done("[blink]t\x1b]0;title\x07", 0, "[red]s\x1b[2J", 25.0, 0.9, 20.0)
    assert "\x1b[2J" not in stream.getvalue()
    assert "title" not in stream.getvalue()
    assert "[blink]t 0 under [red]s" in stream.getvalue()


def test_nothing_is_drawn_between_events(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with LiveView(stream=stream) as view:
        view.start(5)
        before = len(stream.getvalue())
        time.sleep(0.4)
        assert len(stream.getvalue()) == before
        assert not [thread for thread in threading.enumerate() if "Refresh" in type(thread).__name__]


def test_a_reader_that_went_away_stops_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    with LiveView(stream=stream) as view:
        view.stage("Loading")
        view.note("still here")
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_a_log_in_ascii_is_served():
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii")
    with LiveView(stream=stream) as view:
        view.start(1)
        view.request_done("humaneval", 0, "dynamic_skip", 25.0, 0.93, 24.0)
    assert b"dynamic_skip 0.93x so far" in buffer.getvalue()


def test_requests_may_end_in_any_thread():
    stream = io.StringIO()
    with LiveView(stream=stream) as view:
        view.start(200)

        def work() -> None:
            for doc_id in range(50):
                view.request_done("humaneval", doc_id, "dynamic_skip", 25.0)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert stream.getvalue().splitlines()[-1].startswith("lsbench: request 200 of 200 (100%)")


def test_one_process_has_no_row_of_its_own(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with LiveView(stream=stream) as view:
        view.start(2)
        view.replica(0, "running", "humaneval", 0, 25.0, 1)
        view.request_done("humaneval", 0, "dynamic_skip", 25.0)
    assert "replica" not in stream.getvalue()


def test_each_replica_has_a_row(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with LiveView(stream=stream) as view:
        view.start(9)
        view.replica(1, "running", "[blink]human\x1b[2Jeval", 7, None, 2)
        view.replica(0, "running", "humaneval", 8, 31.25, 2)
        view.replica(0, "idle", None, None, None, 2)
        view.replica(1, "restarting", None, None, None, 2)
        view.request_done("humaneval", 8, "dynamic_skip", 25.0)
        drawn = stream.getvalue()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    rows = [line.split() for line in plain.replace("\r", "\n").splitlines() if line.strip()]
    assert ["replica", "ranks", "state", "sample", "tokens/s"] in rows
    assert ["1", "2", "running", "[blink]humaneval", "7", "—"] in rows
    assert ["0", "2", "idle", "—", "31.2"] in rows, "the last known speed stays"
    assert ["1", "2", "restarting", "—", "—"] in rows
    assert "\x1b[2J" not in drawn


def test_lines_tell_of_replicas_that_are_not_at_work_and_of_no_others():
    clock, stream = Clock(), io.StringIO()
    with LiveView(stream=stream, clock=clock) as view:
        view.start(100)
        for index in range(2):
            view.replica(index, "starting", None, None, None, 1)
        for doc_id in range(40):
            for index in range(2):
                view.replica(index, "running", "humaneval", doc_id, 25.0, 1)
                view.replica(index, "idle", None, None, None, 1)
        clock.now += 1
        view.replica(1, "restarting", None, None, None, 1)
        view.replica(1, "running", "humaneval", 40, None, 1)
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 7
    assert any(line.endswith("; 1 of 2 replicas at work (replica 1 restarting)") for line in lines)
    assert any(line.endswith("; 2 of 2 replicas at work") for line in lines[-2:])
