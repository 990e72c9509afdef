"""Claims of losslessness of what is sampled: certified in a run, and refuted where the rule is wrong."""

import json

import pytest

from lsbench import pipeline
from lsbench.errors import EXIT_CLAIM_FAILED, EXIT_DONE
from lsbench.execution import certificate
from lsbench.report.live import LiveView
from lsbench.store.run_folder import RunFolder
from lsbench.strategy import acceptance
from support.runs import go, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

DRAFTING = "self_speculative:draft=static_exit,draft.exit_layer=2,num_speculations=3"


@pytest.fixture
def spec(spec_for, monkeypatch):
    monkeypatch.setattr(certificate, "SPOTS", 2)
    monkeypatch.setattr(certificate, "DRAWS", 32)
    return spec_for(
        DRAFTING,
        "static_exit:exit_layer=2",
        tasks=("tiny_generate",),
        dtype="float64",
        temperature=0.9,
        top_k=40,
        max_new_tokens=40,
    )


def looks_of(folder):
    return [line for line in lines_of(folder) if line["kind"] == "certificate"]


def test_a_claim_that_holds_is_certified_and_resuming_loses_no_draw(spec):
    outcome = go(spec)
    drafting, lossy = outcome.metrics.strategies
    found = drafting.certificate
    assert outcome.exit_code == EXIT_DONE
    assert lossy.certificate is None
    assert drafting.parity is None
    assert not found.refuted
    assert (found.drawn, found.spots, found.tests) == (64, 2, 2)
    folder = outcome.folder.path
    looks = looks_of(folder)
    outputs = {
        r["doc_id"]: r["token_ids"] for r in lines_of(folder) if r["label"] == DRAFTING and r["token_ids"]
    }
    assert {look["doc_id"]: len(look["places"]) for look in looks} == {
        doc_id: len(tokens) for doc_id, tokens in outputs.items()
    }
    assert found.outputs.tokens == sum(map(len, outputs.values()))
    assert [look["draws"] for look in looks] == [32, 32, None, None, None]
    report = (folder / "report.md").read_text()
    assert "lossless as claimed, as far as" in report
    assert "64 draws after 2 beginnings" in report

    # Stopped between the second look and the third.
    lines = (folder / "samples.jsonl").read_bytes().splitlines(keepends=True)
    seen = [place for place, line in enumerate(lines) if json.loads(line)["kind"] == "certificate"]
    (folder / "samples.jsonl").write_bytes(b"".join(lines[: seen[1] + 1]))
    again = go(spec, RunFolder.open(folder))
    assert looks_of(folder)[:2] == looks[:2]
    assert again.metrics.strategies[0].certificate == found
    assert (
        pipeline.rescore(RunFolder.open(folder), LiveView(quiet=True)).metrics.strategies[0].certificate
        == found
    )


def test_a_wrong_rule_is_refuted_and_the_exit_code_says_so(spec, monkeypatch):
    monkeypatch.setattr(acceptance, "is_taken", lambda target, proposed, uniform: True)
    outcome = go(spec)
    found = outcome.metrics.strategies[0].certificate
    assert outcome.exit_code == EXIT_CLAIM_FAILED
    assert found.refuted
    assert found.outputs.p_value < 1e-6
    assert found.draws.p_value < 1e-4
    for name in ("report.md", "report.html"):
        assert "claim to be lossless FAILED" in (outcome.folder.path / name).read_text()
    assert pipeline.rescore(RunFolder.open(outcome.folder.path), LiveView(quiet=True)).exit_code == 3


OUTSIDE = ("hf_generate", "hf_prompt_lookup", "hf_assistant_early_exit:exit_layer=2")


def test_outside_methods_that_claim_it_are_certified_too(spec, spec_for):
    outside = spec_for(*OUTSIDE, tasks=spec.tasks, temperature=0.9, top_p=0.95, max_new_tokens=40, limit=3)
    outcome = go(outside)
    assert outcome.exit_code == EXIT_DONE
    assert [strategy.label for strategy in outcome.metrics.strategies] == list(OUTSIDE)
    for strategy in outcome.metrics.strategies:
        assert strategy.certificate.outputs.tokens >= 50


def test_greedy_runs_are_not_certified_but_compared(spec):
    outcome = go(spec.model_copy(update={"temperature": None, "limit": 2}))
    assert outcome.metrics.strategies[0].certificate is None
    assert outcome.metrics.strategies[0].parity.compared == 2
    assert looks_of(outcome.folder.path) == []
