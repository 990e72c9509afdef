"""The progress of a search: on a terminal, and as lines."""

import io
import re

import pytest

from lsbench.report.tune_live import TuneLiveView
from support.tune_folder import finalists, skipping_trials, trial


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    for name, value in {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "90", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


def rows_of(stream: io.StringIO) -> list[str]:
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    return [line.rstrip() for line in plain.replace("\r", "\n").splitlines() if line.strip()]


def search(view: TuneLiveView, clock: Clock, seconds: float = 2.0) -> None:
    """A whole search of forty predicted trials, six timed ones and two finalists."""
    trials = skipping_trials()
    view.stage("Loading the model")
    view.begin(40, 600)
    best = None
    for kind in ("predicted", "timed"):
        own = [each for each in trials if each.kind == kind]
        view.phase(kind, "tuning", len(own))
        best = None
        for each in own:
            view.trial_started(kind, "tuning", each.number, each.label)
            clock.now += seconds
            view.trial_done(each)
            if each.status == "ok" and (best is None or (each.objective or 0) > (best.objective or 0)):
                best = each
                view.best(best)
    view.phase("timed", "final", 2)
    for each in finalists():
        view.trial_done(each)


def test_elsewhere_every_trial_is_a_line():
    clock, stream = Clock(), io.StringIO()
    with TuneLiveView(stream=stream, clock=clock) as view:
        search(view, clock)
        view.note("the machine is busy")
        view.note("the machine is busy")
        view.finished("dynamic_skip:a=1 is 1.14 × as fast as the baseline.")
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert lines[0] == "lsbench: Loading the model"
    assert sum(line.startswith("lsbench: predicted trial") for line in lines) == 40
    assert sum(line.startswith("lsbench: timed trial") for line in lines) == 6
    assert sum(line.startswith("lsbench: final trial") for line in lines) == 2
    tenth = next(line for line in lines if line.startswith("lsbench: predicted trial 9:"))
    assert "(best so far " in tenth
    assert tenth.endswith(", 1 min 00 s left")  # thirty trials at 2 s
    failed = next(line for line in lines if line.startswith("lsbench: predicted trial 5:"))
    assert "failed: RuntimeError: <b>out of memory</b>" in failed
    assert [line for line in lines if "busy" in line] == ["lsbench: note: the machine is busy"]
    assert lines[-1] == "lsbench: dynamic_skip:a=1 is 1.14 × as fast as the baseline."


def test_the_time_budget_ends_a_search_first():
    clock, stream = Clock(), io.StringIO()
    with TuneLiveView(stream=stream, clock=clock) as view:
        view.begin(1000, 600, spent_s=560)
        view.phase("timed", "tuning", 1000)
        clock.now += 10
        view.trial_done(trial(0, "static_exit:exit_layer=20", speedup=1.1))
    assert "30 s left" in stream.getvalue()
    assert stream.getvalue().splitlines()[-1] == "lsbench: stopped after 1 trials"


def test_what_earlier_processes_finished_is_counted_but_not_timed():
    clock, stream = Clock(), io.StringIO()
    done = [trial(number, f"static_exit:exit_layer={number + 1}", speedup=1.0) for number in range(10)]
    with TuneLiveView(stream=stream, clock=clock) as view:
        view.begin(14, None, 300, done)
        view.phase("timed", "tuning", 14)
        clock.now += 5
        view.trial_done(trial(10, "static_exit:exit_layer=11", speedup=1.0))
    assert "lsbench: 10 trials were finished before" in stream.getvalue()
    assert "timing: trial 10 of 14" in stream.getvalue()
    assert "15 s left" in stream.getvalue()  # three more at 5 s


def test_a_terminal_shows_trials_the_best_and_the_front(terminal):
    clock = Clock()
    with TuneLiveView(stream=terminal, clock=clock) as view:
        search(view, clock)
        rows = rows_of(terminal)
        assert any(row.startswith("timing: trial 6 of 6") for row in rows)
        assert any(row.startswith("best so far 1.1") for row in rows)
        assert any(re.match(r"front of \d+, measured", row) for row in rows)
        assert any(row.startswith("timed 3 ") for row in rows)
        assert any("predicted 5" in row and "out of memory" in row for row in rows)
        assert max(map(len, rows)) <= 90
    assert terminal.getvalue().count("\x1b[?25h") == 1


@pytest.mark.parametrize("height", ["8", "12"])
def test_a_low_terminal_is_not_flooded(terminal, monkeypatch, height):
    monkeypatch.setenv("LINES", height)
    clock = Clock()
    with TuneLiveView(stream=terminal, clock=clock) as view:
        search(view, clock)
        last = terminal.getvalue().rpartition("\x1b[2K")[2]
        assert len(last.splitlines()) <= int(height)
        assert "judging on prompts" in last


def test_names_cannot_steer_the_terminal(terminal):
    clock = Clock()
    with TuneLiveView(stream=terminal, clock=clock) as view:
        view.begin(3)
        view.phase("timed", "tuning", 3)
        view.trial_started("timed", "tuning", 0, "evil\x1b[2J:a=1")
        view.trial_done(trial(0, "s:a=1", label="s:\x1b[2Jb", reason="\x1b]0;title\x07no", status="failed"))
        view.best(trial(0, "s:a=1", label="s:\x1b[2Jb", speedup=1.2))
        view.phase("timed", "tuning", 3)
    assert "\x1b[2J" not in terminal.getvalue()
    assert "title" not in terminal.getvalue()


def test_quiet_says_nothing(capsys):
    clock = Clock()
    with TuneLiveView(quiet=True, clock=clock) as view:
        search(view, clock)
    assert capsys.readouterr() == ("", "")
