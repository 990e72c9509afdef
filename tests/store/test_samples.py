from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.errors import DamagedResults, LsbenchError
from lsbench.records import SampleRecord
from lsbench.store.samples import SamplesFile

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
records = st.builds(
    SampleRecord,
    strategy=text,
    options=st.dictionaries(text, st.integers() | text | st.booleans(), max_size=3),
    label=text,
    task=text,
    doc_id=st.integers(0, 10**6),
    idx=st.integers(0, 5),
    repeat=st.integers(0, 5),
    kind=st.sampled_from(["generate", "score", "fidelity"]),
    arguments_sha256=text,
    prompt=text,
    prompt_tokens=st.integers(0, 10**5),
    token_ids=st.none() | st.lists(st.integers(0, 10**5), max_size=8).map(tuple),
    text=st.none() | text,
    ttft_s=st.none() | st.floats(0, 1e6),
    token_s=st.none() | st.lists(st.floats(0, 1e6), max_size=8).map(tuple),
    confidences=st.none() | st.lists(st.none() | st.floats(-1, 9), max_size=8).map(tuple),
    draft_passes=st.none() | st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4).map(tuple),
    layers_run=st.none() | st.lists(st.floats(0, 100), max_size=8).map(tuple),
    logprob=st.none() | st.floats(allow_nan=False),
    agreement=st.none() | st.lists(st.booleans(), max_size=8).map(tuple),
    error=st.none() | text,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written=st.lists(records, max_size=5, unique_by=lambda record: record.key))
def test_what_is_appended_is_read_back(tmp_path_factory: pytest.TempPathFactory, written: list[SampleRecord]):
    file = SamplesFile(tmp_path_factory.mktemp("samples") / "samples.jsonl")
    for record in written:
        file.append(record)
    file.close()
    read = file.read()
    assert list(read.records.values()) == written
    assert read.torn_bytes == 0
    lines = file.path.read_bytes().split(b"\n")[:-1] if written else []
    assert len(lines) == len(written)
    for line in lines:  # strict JSON for every other reader: no NaN, no Infinity
        json.loads(line, parse_constant=lambda name: pytest.fail(name))


def test_infinite_logprob_survives(tmp_path: Path, make_record):
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.append(make_record(kind="score", logprob=-math.inf))
    (record,) = file.read().records.values()
    assert record.logprob == -math.inf


def test_line_has_the_documented_keys(tmp_path: Path, make_record):
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.append(make_record())
    line = json.loads(file.path.read_text(encoding="utf-8"))
    assert line["schema"] == 1
    assert {"strategy", "task", "doc_id", "token_ids", "layers_run", "drafted", "error"} <= line.keys()
    assert "schema_" not in line


def test_a_line_of_before_is_read(tmp_path: Path, make_record):
    record = make_record(drafted=3, accepted=1, verify_passes=1)
    later = {"token_s", "drafted_tokens", "confidences", "draft_passes"}
    line = json.loads(record.model_dump_json(by_alias=True))
    (tmp_path / "samples.jsonl").write_text(
        json.dumps({key: value for key, value in line.items() if key not in later}) + "\n", encoding="utf-8"
    )
    (read,) = SamplesFile(tmp_path / "samples.jsonl").read().records.values()
    assert later <= line.keys()
    assert read == record


def test_every_cut_of_the_last_line_loses_that_line_only(tmp_path: Path, make_record):
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.append(make_record(0))
    sound = file.path.stat().st_size
    file.append(make_record(1))
    file.close()
    whole = file.path.read_bytes()
    for length in {*range(sound, len(whole), 7), len(whole) - 1}:
        file.path.write_bytes(whole[:length])
        read = file.read()
        assert [record.doc_id for record in read.records.values()] == [0]
        assert (read.sound_bytes, read.torn_bytes) == (sound, length - sound)


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"\0\0\0", b'{"schema": 1}', b"\xff\xfe"])
def test_damaged_line_is_named(tmp_path: Path, make_record, damage: bytes):
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.append(make_record(0))
    file.path.write_bytes(file.path.read_bytes() + damage + b"\n")
    file.append(make_record(1))
    with pytest.raises(DamagedResults, match="line 2 is damaged") as caught:
        file.read()
    assert str(file.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_line_of_a_later_schema_is_refused(tmp_path: Path, make_record):
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.append(make_record(schema=2))
    with pytest.raises(DamagedResults, match="line 1 has schema 2"):
        file.read()


def test_request_finished_twice_is_damage(tmp_path: Path, make_record):
    file = SamplesFile(tmp_path / "samples.jsonl")
    for doc_id in (0, 1, 0):
        file.append(make_record(doc_id))
    with pytest.raises(DamagedResults, match="line 3: the same request as line 1"):
        file.read()


def test_later_attempt_replaces_a_failed_one(tmp_path: Path, make_record):
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.append(make_record(0, error="worker died", token_ids=None))
    file.append(make_record(1))
    file.append(make_record(0, attempt=2))
    assert [(r.doc_id, r.attempt, r.error) for r in file.read().records.values()] == [
        (1, 1, None),
        (0, 2, None),
    ]


def test_failure_after_success_is_damage(tmp_path: Path, make_record):
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.append(make_record(0))
    file.append(make_record(0, attempt=2, error="worker died"))
    with pytest.raises(DamagedResults, match="line 2"):
        file.read()


def test_missing_file_holds_nothing(tmp_path: Path):
    assert SamplesFile(tmp_path / "samples.jsonl").read().records == {}


def test_line_that_does_not_fit_is_taken_back(tmp_path: Path, make_record):
    """A real short write: the process's file-size limit cuts it in the middle of a line."""
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.append(make_record(0))
    size = file.path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))
        with pytest.raises(LsbenchError, match="Cannot write to") as caught:
            file.append(make_record(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert "--resume" in str(caught.value)
    assert file.path.stat().st_size == size
    file.append(make_record(1))
    assert len(file.read().records) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_said(make_record):
    with pytest.raises(LsbenchError, match=os.strerror(errno.ENOSPC)):
        SamplesFile(Path("/dev/full")).append(make_record())
