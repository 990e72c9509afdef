"""Programs of a task run through an installed runner, or not at all."""

import pytest

from lsbench_tasks.execution import installed, run_programs


def test_without_a_runner_nothing_runs():
    with pytest.raises(RuntimeError, match="No runner"):
        run_programs([("raise SystemExit", "")])


def test_a_runner_serves_its_block_and_no_longer():
    with installed(lambda programs: [program == "good" for program, _ in programs]):
        with installed(lambda programs: [False for _ in programs]):
            assert run_programs([("good", "")]) == [False]
        assert run_programs([("good", ""), ("bad", "")]) == [True, False]
    with pytest.raises(RuntimeError, match="No runner"):
        run_programs([])


def test_one_verdict_a_program():
    with installed(lambda programs: [True]), pytest.raises(RuntimeError, match="1 verdicts for 2"):
        run_programs([("a", ""), ("b", "")])
