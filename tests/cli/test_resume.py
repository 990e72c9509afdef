"""Real processes, stopped at any moment, and gone on with."""

import json
import os
import signal
import time
from collections import Counter

import pytest

pytestmark = pytest.mark.slow

SLOW = ("-s", "static_exit:exit_layer=2", "-s", "dawdling:pause=0.02", "--limit", "3")
TASKS = "tiny_generate,tiny_choice"
LINES = 3 * 3 + 3 * 2 + 3 + 9 * 3  # generations, fidelity, parity of the one that claims it, answer choices


@pytest.fixture
def start(processes, tmp_path):
    return lambda *arguments: processes.start([str(a) for a in arguments], tmp_path)


@pytest.fixture(scope="module")
def undisturbed(processes, tmp_path_factory, tiny_model, tiny_tasks):
    """The same run, never stopped."""
    output = tmp_path_factory.mktemp("undisturbed")
    common = ["--model", tiny_model, "--include-path", tiny_tasks, "--threads", "1", "--output", output]
    arguments = ["run", *common, "--tasks", TASKS, *SLOW]
    said = processes.start([str(argument) for argument in arguments], output).wait()
    assert said.code == 0, said.err
    (folder,) = (path for path in output.iterdir() if path.is_dir())
    return folder


def keyed(lines):
    records = [json.loads(line) for line in lines]
    return [(tuple(r[k] for k in ("label", "kind", "task", "doc_id", "idx", "repeat")), r) for r in records]


def same_as(undisturbed, folder, lines_of, kept):
    """Nothing lost, nothing twice, everything equal but for the time it took."""
    lines = lines_of(folder)
    assert lines[: len(kept)] == kept
    assert set(Counter(key for key, _ in keyed(lines)).values()) == {1}
    assert len(lines) == LINES
    expected = dict(keyed(lines_of(undisturbed)))
    for key, record in keyed(lines):
        for field in ("token_ids", "text", "stop_reason", "layers_run", "logprob", "is_greedy", "agreement"):
            assert record[field] == expected[key][field]
    ours, theirs = (json.loads((f / "metrics.json").read_text()) for f in (folder, undisturbed))
    assert ours["status"] == "complete"
    assert ours["baseline"]["tasks"] == theirs["baseline"]["tasks"]
    for one, other in zip(ours["strategies"], theirs["strategies"], strict=True):
        for part in ("tasks", "fidelity", "depth"):
            assert one[part] == other[part]


def the_run(results):
    return next(path for path in results.iterdir() if not path.name.startswith("."))


MOMENTS = {
    "while loading": lambda process, count: process.says("Loading"),
    "within the first sample": lambda process, count: process.says("request 0 of"),
    "within a later sample": lambda process, count: (
        process.until(lambda: count() >= 7),
        time.sleep(0.05),
    ),
    "between two samples": lambda process, count: process.until(lambda: count() >= 12),
    "within the last task": lambda process, count: process.until(lambda: count() >= LINES - 10),
    "while scoring": lambda process, count: process.says("Scoring"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_where_it_was(moment, start, run_of, results, undisturbed, lines_of):
    command = run_of(TASKS, *SLOW)
    process = start(*command)
    process.until(lambda: results.exists() and any(results.glob("2*/manifest.json")))
    folder = the_run(results)
    MOMENTS[moment](process, lambda: len(lines_of(folder)))
    assert process.signal(signal.SIGKILL).code == -signal.SIGKILL
    kept = [line for line in lines_of(folder) if line.endswith("\n")]
    if moment == "within the last task":  # a power cut may tear the last line
        torn = (folder / "samples.jsonl").read_bytes()
        (folder / "samples.jsonl").write_bytes(torn[: len(torn) - 30])
        kept = kept[:-1]
    given = ["run", "--output", results] if moment.startswith("while") else command
    said = start(*given, "--resume", folder.name, "--json").wait()
    assert said.code == 0, said.err
    assert json.loads(said.out)["run_id"] == folder.name
    same_as(undisturbed, folder, lines_of, kept)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(number, start, run_of, results, undisturbed, lines_of):
    process = start(*run_of(TASKS, *SLOW))
    process.until(lambda: results.exists() and any(len(lines_of(f)) >= 5 for f in results.glob("2*")))
    said = process.signal(number)
    folder = the_run(results)
    kept = lines_of(folder)
    assert said.code == 130
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err.splitlines()[-1].endswith(f"Go on with: lsbench run --resume {folder}")
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"
    assert kept[-1].endswith("\n")
    assert start("run", "--resume", folder, "--json").wait().code == 0
    same_as(undisturbed, folder, lines_of, kept)


def test_an_interrupted_run_in_the_usual_place_is_named_by_its_id(start, run_of, tmp_path, lines_of):
    command = run_of(TASKS, *SLOW)
    where = command.index("--output")
    process = start(*command[:where], *command[where + 2 :])
    results = tmp_path / "results"
    process.until(lambda: results.exists() and any(lines_of(folder) for folder in results.glob("2*")))
    said = process.signal(signal.SIGINT)
    folder = the_run(results)
    assert said.err.splitlines()[-1].endswith(f"lsbench run --resume {folder.name}")
    assert start("run", "--resume", folder.name[:13], "--quiet").wait().code == 0


def test_interrupted_before_anything_began(start, run_of, results):
    process = start(*run_of(TASKS, *SLOW))
    process.says("Reading tasks")
    said = process.signal(signal.SIGINT)
    assert said.code == 130
    assert "Traceback" not in said.err


def test_two_processes_never_write_to_one_folder(start, run_of, results, undisturbed, lines_of):
    first = start(*run_of(TASKS, *SLOW))
    first.until(lambda: results.exists() and any(lines_of(folder) for folder in results.glob("2*")))
    folder = the_run(results)
    os.kill(first.pid, signal.SIGSTOP)  # it must not end before the others have asked
    second = start("run", "--resume", folder).wait()
    assert second.code == 2
    assert "another process" in second.err.splitlines()[-1]
    third = start("report", folder, "--rescore").wait()
    assert third.code == 2
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait().code == 0
    same_as(undisturbed, folder, lines_of, [])
