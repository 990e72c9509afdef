"""Processes that die, fail or hang in the middle of a sample, whole runs of the tiny model around them."""

import errno
import os
from functools import partial
from pathlib import Path

import pytest

from lsbench import pipeline
from lsbench.errors import EXIT_DONE, EXIT_SAMPLES_FAILED, LsbenchError
from lsbench.execution.cluster import backend
from lsbench.execution.cluster.patience import Patience
from lsbench.measurement.pairing import comparable_in_time, pair_up
from lsbench.store import line_file
from lsbench.store.run_folder import RunFolder
from support.models import single_thread
from support.processes import children, ranks
from support.runs import go, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("ray_session", "one_thread")]

TASKS = ("tiny_generate", "tiny_choice")


@pytest.fixture
def faulty(tmp_path):
    """``faulty(fault, doc, ...)``: as the command line spells it."""

    def make(fault: str, doc: int, rank: int = 0, times: int = 1) -> str:
        return f"faulty:doc={doc},fault={fault},marks={tmp_path},rank={rank},times={times}"

    return make


@pytest.fixture(scope="module")
def alone(spec_for):
    """What one process gives: the baseline's own output is everyone's here."""
    with single_thread():
        outcome = go(spec_for("autoregressive", tasks=TASKS, max_new_tokens=8, dtype="float64"))
    return {record.key._replace(strategy=""): record for record in outcome.folder.records()}


@pytest.fixture
def patience(monkeypatch):
    """A replica that says nothing for three seconds is lost."""
    short = partial(Patience, least_s=3.0, times=0.0)
    monkeypatch.setattr(backend, "Patience", short)


def same(record, alone) -> bool:
    own = alone[record.key._replace(strategy="")]
    return (record.token_ids, record.text, record.is_greedy) == (own.token_ids, own.text, own.is_greedy)


@pytest.mark.usefixtures("patience")
def test_replicas_that_die_or_hang_cost_a_retry_and_nothing_else(
    spec_for, faulty, alone, watched, tmp_path, capfd
):
    dies, hangs, doomed = faulty("kill", 1), faulty("hang", 3), faulty("kill", 4, times=99)
    everyone = (dies, hangs, doomed, faulty("absent", 0))
    spec = spec_for(*everyone, tasks=TASKS, replicas=2, max_retries=1, max_new_tokens=8, dtype="float64")
    outcome = pipeline.run(spec, watched)
    records = outcome.folder.records()
    *labels, absent = [choice.label for choice in spec.strategies]
    requests = [key for key in alone if key.kind in ("generate", "score")]
    assert {record.key for record in records if record.kind in ("generate", "score")} == {
        key._replace(strategy=label) for key in requests for label in ("autoregressive", *labels)
    }
    # What cannot run on one replica runs on none.
    assert outcome.folder.manifest.unavailable == {absent: "it is not on this host"}
    assert outcome.metrics.strategies[3].unavailable == "it is not on this host"
    (lost,) = [record for record in records if record.error is not None]
    assert (lost.label, lost.task, lost.doc_id, lost.kind) == (labels[2], "tiny_generate", 4, "generate")
    assert "lost 2 times" in lost.error
    assert "rank 0 of replica" in lost.error
    assert lost.attempt == 2
    assert outcome.exit_code == EXIT_SAMPLES_FAILED
    assert outcome.metrics.status == "failed_samples"
    kept = [record for record in records if record.kind in ("generate", "score") and record is not lost]
    assert all(same(record, alone) for record in kept)
    again = [record for record in kept if record.attempt > 1]
    assert {record.doc_id for record in again} <= {1, 3, 4}
    assert {(labels[0], 1), (labels[1], 3)} <= {(record.label, record.doc_id) for record in again}
    # What was run again stands in no speed figure.
    paired = comparable_in_time(pair_up(records, "autoregressive", labels[0])).pairs
    assert paired
    assert all(pair.baseline.attempt == pair.strategy.attempt == 1 for pair in paired)
    assert 1 not in {pair.strategy.doc_id for pair in paired}
    assert len(list(tmp_path.glob("hang-3-*"))) == 1
    assert any("gave no word for 3 seconds" in note for note in outcome.folder.manifest.notes)
    assert any("died (process" in note for note in outcome.folder.manifest.notes)
    assert {"running", "restarting", "idle"} <= {state for _, state in watched.states}
    assert {record.replica for record in records} == {0, 1}
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", ""), "Ray tells of none of this itself"


@pytest.mark.deepspeed
def test_one_rank_of_two_that_dies_or_fails_alone_ends_its_group(spec_for, faulty, alone, tmp_path):
    spec = spec_for(
        faulty("kill", 1, rank=1),
        faulty("fail", 3, rank=1),
        tasks=("tiny_generate",),
        tensor_parallel=2,
        max_retries=1,
        max_new_tokens=8,
        dtype="float64",
    )
    outcome = go(spec)
    records = outcome.folder.records()
    made = [record for record in records if record.kind == "generate"]
    assert len(made) == 5 * 3
    assert all(record.error is None and same(record, alone) for record in made)
    assert outcome.exit_code == EXIT_DONE
    assert {record.doc_id for record in made if record.attempt > 1} == {1, 3}
    died, failed = [note for note in outcome.folder.manifest.notes if "of replica 0" in note]
    assert died.startswith("rank 1 of replica 0 died (process")
    assert "rank 1 of replica 0 failed" in failed
    assert "out of luck on one rank" in failed
    logs = outcome.folder.path / "logs"
    assert "RuntimeError: out of luck on one rank" in (logs / "replica-0-rank-1.log").read_text()
    assert "in break_down" in (logs / "lost.log").read_text()


def test_a_disk_that_is_full_ends_the_run_with_one_line_and_everything_closed(spec_for, alone, monkeypatch):
    spec = spec_for("autoregressive", tasks=TASKS, max_new_tokens=8, dtype="float64", backend="ray")
    written, write = [], os.write

    def fills_up(descriptor: int, line: bytes) -> int:
        written.append(line)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, line)

    with monkeypatch.context() as patch:
        patch.setattr(line_file.os, "write", fills_up)
        with pytest.raises(
            LsbenchError, match=r"samples.jsonl: No space left on device; what was .* --resume"
        ):
            go(spec)
    assert ranks(children()) == []
    (path,) = Path(spec.output).iterdir()
    folder = RunFolder.open(path)
    assert len(lines_of(path)) == 3
    outcome = go(spec.model_copy(update={"backend": "local"}), folder)
    records = outcome.folder.records()
    assert len(records) == len(alone)
    assert all(record.error is None and same(record, alone) for record in records)
