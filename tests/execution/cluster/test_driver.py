"""The driver's own end, wanted or not: what it started ends too, and nothing finished is lost."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lsbench.cli.flags import as_yaml
from lsbench.errors import EXIT_DONE, Interrupted
from lsbench.store.run_folder import RunFolder
from support.models import single_thread
from support.processes import children, ranks, running
from support.runs import go, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("one_thread")]

PATIENCE_S = 120


@pytest.fixture(scope="module")
def spec(spec_for, faulty_plugin):
    """Long enough to be stopped in the middle; in float64, where no two tokens are close."""
    return spec_for(
        "faulty:fault=slow", tasks=("tiny_generate",), repeats=4, max_new_tokens=17, dtype="float64", warmup=0
    )


@pytest.fixture(scope="module")
def alone(spec):
    with single_thread():
        return answers(go(spec).folder)


def answers(folder: RunFolder) -> dict:
    return {record.key: (record.token_ids, record.agreement, record.error) for record in folder.records()}


def records_in(results: Path | str) -> int:
    return sum(len(file.read_text().splitlines()) for file in Path(results).glob("*/samples.jsonl"))


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until, "this does not happen"
        time.sleep(0.05)


@pytest.fixture
def ledgers(tmp_path, monkeypatch) -> Path:
    """Where ledgers are, of these runs alone: the cache is theirs."""
    monkeypatch.setenv("LSBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "leftovers"


def made_by(ledgers: Path) -> list[Path]:
    """Files and folders that ledgers tell of."""
    lines = [line for file in ledgers.glob("*.jsonl") for line in file.read_text().splitlines()]
    return [Path(entry["file"]) for entry in map(json.loads, lines) if "file" in entry]


def test_a_run_that_is_interrupted_ends_all_that_it_started(spec, ledgers):
    spec = spec.model_copy(update={"replicas": 2, "output": spec.output + "-interrupted"})
    before, seen = children(), {}

    def interrupt() -> None:
        wait_for(lambda: records_in(spec.output) >= 3)
        seen["folders"], seen["processes"] = made_by(ledgers), children() - before
        seen["ranks"] = ranks(seen["processes"])
        os.kill(os.getpid(), signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    impatient = threading.Thread(target=interrupt)
    try:
        impatient.start()
        with pytest.raises(Interrupted, match="every finished request is kept"):
            go(spec)
    finally:
        impatient.join()
        signal.signal(signal.SIGINT, handler)
    assert len(seen["ranks"]) == 2
    assert len(seen["processes"]) > 4
    assert children() <= before
    (ray,) = seen["folders"]
    assert not ray.exists()
    assert list(ledgers.iterdir()) == []
    (path,) = Path(spec.output).iterdir()
    assert RunFolder.open(path).manifest.status == "interrupted"
    assert len(list((path / "logs").glob("replica-*-rank-0.log"))) == 2
    assert list((path / "logs" / "ray").iterdir())


def test_after_a_driver_was_killed_the_next_run_cleans_up_and_goes_on(
    spec, alone, ledgers, tmp_path, faulty_plugin
):
    results = tmp_path / "results"
    config = tmp_path / "run.yaml"
    config.write_text(as_yaml(spec.model_copy(update={"output": str(results)})))
    with (tmp_path / "said").open("w") as said:
        driver = subprocess.Popen(
            [sys.executable, "-m", "lsbench", "run", "--config", config, "--backend", "ray"],
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    wait_for(lambda: driver.poll() is not None or records_in(results) >= 3)
    assert driver.poll() is None, (tmp_path / "said").read_text()
    started = psutil.Process(driver.pid).children(recursive=True)
    assert ranks(set(started))
    (ray,) = made_by(ledgers)
    driver.kill()
    driver.wait()
    assert ray.is_dir()

    lines = (tmp_path / "said").read_text().splitlines()
    assert [line for line in lines if not line.startswith("lsbench: ")] == []
    (path,) = results.iterdir()
    folder = RunFolder.open(path)
    kept = lines_of(path)
    outcome = go(folder.manifest.spec.model_copy(update={"backend": "local"}), folder)
    assert not any(map(running, started))
    assert not ray.exists()
    assert list(ledgers.iterdir()) == []
    assert outcome.exit_code == EXIT_DONE
    assert lines_of(path)[: len(kept)] == kept
    assert len(kept) >= 3
    assert answers(outcome.folder) == alone
    assert {record.segment for record in outcome.folder.records()} == {0, 1}
