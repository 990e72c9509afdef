"""Claims of losslessness in a whole run: what holds, what parts at a tie, and what is broken."""

import json
import shutil
from typing import ClassVar

import pytest
import torch

from lsbench import pipeline
from lsbench.errors import EXIT_CLAIM_FAILED, EXIT_DONE
from lsbench.report.live import LiveView
from lsbench.spec import parse_strategy
from lsbench.store.run_folder import RunFolder
from lsbench.strategy import Emitted, Strategy, registry
from lsbench.strategy.loops import decode
from support.models import single_thread
from support.runs import go

pytestmark = pytest.mark.slow


class Claiming(Strategy):
    """Full depth, claimed to be lossless; ``twisted`` says which third tokens are replaced by others."""

    lossless = True
    twisted: ClassVar[dict[tuple[int, int], int]] = {}

    def policy(self, request):
        from lsbench.engine import ConstantPolicy, DepthPlan

        return ConstantPolicy(DepthPlan.full(4))

    def generate(self, session, request):
        for place, emission in enumerate(decode(session, request, self.policy(request))):
            if place == 2 and (request.doc_id, emission.tokens[0]) in self.twisted:
                yield Emitted((self.twisted[request.doc_id, emission.tokens[0]],), emission.depth)
            else:
                yield emission


@pytest.fixture(scope="module", autouse=True)
def _registered():
    load = registry.load_strategy
    with pytest.MonkeyPatch.context() as patch, single_thread():
        patch.setattr(registry, "load_strategy", lambda name: Claiming if name == "claiming" else load(name))
        yield


@pytest.fixture(scope="module")
def spec(spec_for):
    return spec_for("claiming", "static_exit:exit_layer=4", tasks=("tiny_generate", "tiny_choice"))


def third_tokens(outcome):
    records = [r for r in outcome.folder.records() if r.label == "autoregressive" and r.kind == "generate"]
    return {r.doc_id: r.token_ids[2] for r in records}


def parity_of(outcome):
    claiming, lossy = outcome.metrics.strategies
    assert lossy.parity is None
    return claiming.parity


@pytest.fixture(scope="module")
def honest(spec):
    """Whoever changes its folder copies it first."""
    return go(spec)


def test_a_claim_that_holds(honest):
    assert honest.exit_code == EXIT_DONE
    assert parity_of(honest).model_dump() == {
        "compared": 5, "identical": 5, "numerical_ties": 0, "violations": 0,
    }  # fmt: skip
    lines = [json.loads(line) for line in (honest.folder.path / "samples.jsonl").read_text().splitlines()]
    looks = [line for line in lines if line["kind"] == "parity"]
    assert {(line["label"], line["doc_id"], line["first_difference"]) for line in looks} == {
        ("claiming", doc_id, None) for doc_id in range(5)
    }
    assert "lossless as claimed" in (honest.folder.path / "report.md").read_text()


def test_a_violation_is_exit_code_3_with_its_margin_told(honest, spec, monkeypatch, tmp_path):
    thirds = third_tokens(honest)
    monkeypatch.setattr(Claiming, "twisted", {(1, thirds[1]): (thirds[1] + 5) % 350})
    outcome = go(spec)
    assert outcome.exit_code == EXIT_CLAIM_FAILED
    assert parity_of(outcome).model_dump() == {
        "compared": 5, "identical": 4, "numerical_ties": 0, "violations": 1,
    }  # fmt: skip
    (record,) = (r for r in outcome.folder.records() if r.kind == "parity" and r.first_difference is not None)
    assert (record.doc_id, record.first_difference) == (1, 2)
    assert record.margin > 1000 * record.noise > 0
    (note,) = (note for note in outcome.metrics.notes if "violation" in note)
    assert "claiming: its output for tiny_generate document 1 parts from the baseline's at token 3" in note
    assert f"{record.margin:.3g} apart" in note
    assert "FAILED" in (outcome.folder.path / "report.md").read_text()
    assert pipeline.rescore(RunFolder.open(outcome.folder.path), LiveView(quiet=True)).exit_code == 3
    again = go(spec, RunFolder.open(outcome.folder.path))
    assert (again.exit_code, parity_of(again)) == (3, parity_of(outcome))


def test_a_planted_tie_is_told_as_one_and_the_run_is_fine(honest, spec, monkeypatch):
    from lsbench.engine import loading

    thirds = third_tokens(honest)
    used = {t for r in honest.folder.records() if r.kind == "generate" for t in r.token_ids}
    twin = next(token for token in range(300, 350) if token not in used)
    load = loading.load_stack

    def with_twin(*args):
        stack = load(*args)
        with torch.no_grad():
            head = stack.model.lm_head.weight
            # Within float32's rounding of the other's logit, and below it, so that the baseline keeps it.
            head[twin] = head[thirds[3]] * (1 - 1e-8)
        return stack

    monkeypatch.setattr(loading, "load_stack", with_twin)
    monkeypatch.setattr(
        Claiming, "twisted", {(3, token): max(twin, thirds[3]) for token in (twin, thirds[3])}
    )
    outcome = go(spec)
    record = next(r for r in outcome.folder.records() if r.kind == "parity" and r.doc_id == 3)
    baseline = next(
        r for r in outcome.folder.records()
        if r.kind == "generate" and r.doc_id == 3 and r.label == "autoregressive"
    )  # fmt: skip
    assert baseline.token_ids[2] == thirds[3] < twin
    assert record.first_difference == 2
    assert record.margin <= record.noise < 1e-3
    assert parity_of(outcome).model_dump() == {
        "compared": 5, "identical": 4, "numerical_ties": 1, "violations": 0,
    }  # fmt: skip
    assert outcome.exit_code == EXIT_DONE
    assert any("numerical tie" in note and "apart" in note for note in outcome.metrics.notes)


@pytest.mark.slow
def test_a_run_stopped_between_output_and_comparison_compares_when_it_goes_on(honest, spec, tmp_path):
    path = shutil.copytree(honest.folder.path, tmp_path / honest.folder.run_id)
    lines = (path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    first = next(place for place, line in enumerate(lines) if json.loads(line)["kind"] == "parity")
    (path / "samples.jsonl").write_bytes(b"".join(lines[:first]))
    outcome = go(spec, RunFolder.open(path))
    assert parity_of(outcome) == parity_of(honest)
    assert len((path / "samples.jsonl").read_bytes().splitlines()) == len(lines)


@pytest.mark.slow
def test_sampled_outputs_are_not_compared_token_by_token(spec):
    outcome = go(spec.model_copy(update={"temperature": 1.0, "limit": 2}))
    assert parity_of(outcome) is None
    assert all(record.kind != "parity" for record in outcome.folder.records())


@pytest.mark.slow
def test_outside_methods_are_compared_too(spec):
    strategies = (
        "autoregressive",
        "hf_prompt_lookup",
        "self_speculative:draft=static_exit,draft.exit_layer=2",
    )
    outcome = go(
        spec.model_copy(
            update={
                "strategies": tuple(map(parse_strategy, strategies)),
                "tasks": ("tiny_generate", "tiny_stop"),
                "baseline": "hf_generate",
            }
        )
    )
    assert outcome.exit_code == EXIT_DONE
    for strategy in outcome.metrics.strategies:
        assert strategy.parity.compared == 10
        assert strategy.parity.violations == 0
