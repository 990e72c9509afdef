from __future__ import annotations

import sys
import time

import pytest

from lsbench.catalog.reporting_process import run_reporting


def test_progress_lines_are_passed_on_and_the_rest_kept(told):
    code = "print('Progress 0 of 10'); print('hello'); print('Progress 10 of 10'); print('Progress 3 of 0')"
    ended = run_reporting([sys.executable, "-c", code], "Working", told)
    assert ended.status == 0
    assert ended.lines == ("hello",)
    assert told.updates == [
        ("Working", 0, None),
        ("Working", 0, 10),
        ("Working", 10, 10),
        ("Working", 3, None),
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('ERROR: first'); print('ERROR: the cause'); print('note'); exit(1)", "the cause"),
        ("raise KeyError('k')", "KeyError: 'k'"),
        (
            "import os; print('ERROR: no', flush=True); os.kill(os.getpid(), 9)",
            "it was killed by signal 9, as happens when memory runs out",
        ),
        ("exit(3)", "it ended with status 3 and said nothing"),
    ],
)
def test_the_reason_is_one_line(told, code: str, reason: str):
    ended = run_reporting([sys.executable, "-c", code], "Working", told)
    assert ended.status != 0
    assert ended.reason == reason


def test_an_interrupted_call_ends_the_child(tmp_path):
    class Interrupt:
        def update(self, stage: str, done: int, total: int | None) -> None:
            if total:
                raise KeyboardInterrupt

    code = f"import time; print('Progress 1 of 2'); time.sleep(0.5); open({str(tmp_path / 'alive')!r}, 'w')"
    with pytest.raises(KeyboardInterrupt):
        run_reporting([sys.executable, "-c", code], "Working", Interrupt())
    time.sleep(0.8)  # were the child still there, it would have written the file by then
    assert not (tmp_path / "alive").exists()
