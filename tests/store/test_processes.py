"""Real processes: killed in the middle of writing, and two that want to write at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lsbench.errors import BadInput
from lsbench.spec import RunSpec
from lsbench.store.listing import find_run, list_runs
from lsbench.store.run_folder import RunFolder

WRITER = """
import sys
from lsbench.records import SampleRecord
from lsbench.store.run_folder import RunFolder

folder = RunFolder.open(sys.argv[1])
segment = folder.resume()
done = {key.doc_id for key in folder.finished()}
print("ready", flush=True)
for doc_id in range(100_000):
    if doc_id not in done:
        folder.append(SampleRecord(
            strategy="s", options={}, label="s", task="t", doc_id=doc_id, kind="generate",
            arguments_sha256="", prompt="x" * 400_000, prompt_tokens=1, segment=segment))
        print(doc_id, flush=True)
"""


def writer(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_writers_lose_no_finished_request_and_repeat_none(tmp_path: Path, spec: RunSpec):
    RunFolder.create(tmp_path, spec).close()
    (path,) = tmp_path.iterdir()
    promised: list[int] = []
    chance = random.Random(0)
    for _ in range(4):
        process = writer(path)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(chance.randint(1, 12)):
            promised.append(int(process.stdout.readline()))
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate()
        promised += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        stored = [record.doc_id for record in RunFolder.open(path).records()]
        # One request may be safely stored without its writer having lived to say so.
        assert len(stored) - len(promised) in (0, 1)
        assert stored == list(range(len(stored)))
        promised = stored
    folder = RunFolder.open(path)
    assert {record.segment for record in folder.records()} == {1, 2, 3, 4}
    assert folder.manifest.segments == 5
    assert list_runs(tmp_path)[0].status == "interrupted"


def test_second_process_is_refused_while_the_first_writes(tmp_path: Path, spec: RunSpec):
    RunFolder.create(tmp_path, spec).close()
    (path,) = tmp_path.iterdir()
    process = writer(path)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(BadInput, match="being written by another process"):
            find_run("latest", tmp_path).resume()
        assert list_runs(tmp_path)[0].status == "running"
        assert RunFolder.open(path).manifest.segments == 2
    finally:
        process.kill()
        process.communicate()
    with find_run("latest", tmp_path) as folder:
        assert folder.resume() == 2
