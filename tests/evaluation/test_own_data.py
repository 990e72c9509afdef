"""A user's file as requests: fields, examples, notes, and the hash by which a change is seen."""

import json

import pytest

from lsbench.errors import BadInput
from lsbench.evaluation.own_data import check_unchanged, file_hashes
from lsbench.evaluation.requests import build_requests
from lsbench.evaluation.scores import score_records
from lsbench.records import SampleRecord

LINES = [{"q": f"Is {i} {{even}}?", "a": ["yes", "Yes"] if i % 2 == 0 else "нет"} for i in range(4)]


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def test_examples_precede_every_prompt_and_are_not_evaluated(own, spec_for, tokenizer):
    spec = spec_for("jsonl", folder=None, data=str(own), data_prompt="q", data_reference="a", num_fewshot=1)
    built = build_requests(spec, tokenizer, 300, (1,))
    assert [request.prompt for request in built.generations] == [
        f"Is 0 {{even}}? yes\n\nIs {i} {{even}}?" for i in (1, 2, 3)
    ]
    assert {(request.max_new_tokens > 100, request.stop_strings) for request in built.generations} == {
        (True, ("\n\n",))
    }
    assert any(f"line 1 of {own} served as examples" in note for note in built.notes)
    assert any("2 of 4 references hold no word that ROUGE knows" in note for note in built.notes)


def test_prompts_without_references_are_run_and_not_scored(own, spec_for, tokenizer):
    spec = spec_for("jsonl", folder=None, data=str(own), data_prompt="q", data_reference="none")
    built = build_requests(spec, tokenizer, 300, (1,))
    assert [request.stop_strings for request in built.generations] == [()] * 4
    assert any("has no references, so nothing is scored" in note for note in built.notes)
    records = [
        SampleRecord(
            strategy="s",
            options={},
            label="s",
            kind="generate",
            text="yes",
            prompt_tokens=1,
            **request.model_dump(include={"task", "doc_id", "idx", "repeat", "arguments_sha256", "prompt"}),
        )
        for request in built.generations
    ]
    scored = score_records(spec, records, None, None)["jsonl"]
    assert (scored.n, scored.failed, scored.metrics) == (4, 0, {})


def test_a_changed_file_is_seen(own, spec_for):
    spec = spec_for("jsonl", folder=None, data=str(own))
    before = file_hashes(spec)
    check_unchanged("some_run", spec, before)
    own.write_text(own.read_text().replace("yes", "no"))
    with pytest.raises(BadInput, match=r"own\.jsonl has changed since some_run began"):
        check_unchanged("some_run", spec, before)
    own.unlink()
    with pytest.raises(BadInput, match=r"Cannot read .*own\.jsonl"):
        check_unchanged("some_run", spec, before)
