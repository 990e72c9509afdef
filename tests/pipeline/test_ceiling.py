"""Ceilings of a whole run, on a model whose parts take exactly as long as they are told to."""

import json
from functools import partial

import pytest

from lsbench import pipeline
from lsbench.engine.block import Block
from lsbench.engine.clock import Clock
from lsbench.engine.stack import DecoderStack
from lsbench.execution import rounds
from lsbench.records import Bandwidth
from lsbench.report.live import LiveView
from lsbench.store.run_folder import RunFolder
from support.runs import go

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

L = 4
ATTENTION, MLP, HEAD, EMBEDDING = (
    lambda n: 3000 + 500 * n,
    lambda n: 9000 + 1000 * n,
    lambda n: 20000 + 5000 * n,
    lambda n: 700,
)


@pytest.fixture
def virtual_time(monkeypatch):
    now = [0]

    def takes(owner, name, nanoseconds):
        real = getattr(owner, name)

        def slow(self, first, *rest):
            now[0] += nanoseconds(first.shape[0])
            return real(self, first, *rest)

        monkeypatch.setattr(owner, name, slow)

    takes(Block, "project", ATTENTION)
    takes(Block, "project_kv", ATTENTION)
    takes(Block, "run_mlp", MLP)
    takes(DecoderStack, "head", HEAD)
    takes(DecoderStack, "embed", EMBEDDING)
    monkeypatch.setattr(Clock, "now_ns", lambda self: now[0])


@pytest.fixture
def spec_for(spec_for):
    return partial(spec_for, tasks=("tiny_stop", "tiny_generate"), dtype="float64")


def step_ns(layers, n=1):
    return layers * (ATTENTION(n) + MLP(n)) + HEAD(n) + EMBEDDING(n)


@pytest.mark.usefixtures("virtual_time")
def test_a_strategy_that_does_less_work_and_nothing_else_reaches_its_ceiling(spec_for):
    exits = [f"static_exit:exit_layer={layers},kv_fill=mask" for layers in (2, 3)]
    outcome = go(spec_for(*exits, tasks=("tiny_generate",)))
    for strategy, layers in zip(outcome.metrics.strategies, (2, 3), strict=True):
        best = step_ns(L) / step_ns(layers)
        assert strategy.ceiling.speedup == pytest.approx(best)
        assert strategy.speed.speedup.value == pytest.approx(best)
        assert strategy.ceiling.achieved_fraction == pytest.approx(1)
        shares = strategy.time_shares
        assert shares.layers == pytest.approx(layers * (ATTENTION(1) + MLP(1)) / step_ns(layers))
        assert (shares.head, shares.other) == pytest.approx((HEAD(1) / step_ns(layers), 0), abs=1e-9)
    assert outcome.metrics.baseline.time_shares.other == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("virtual_time")
def test_drafting_reaches_its_ceiling_too(spec_for):
    drafts = [f"self_speculative:draft=static_exit,draft.exit_layer={e},num_speculations=3" for e in (2, 3)]
    outcome = go(spec_for(*drafts, tasks=("tiny_generate",)))
    for strategy in outcome.metrics.strategies:
        assert strategy.speculation.drafted > strategy.speculation.accepted > 0
        assert strategy.speed.speedup.value == pytest.approx(strategy.ceiling.speedup, rel=0.01)
        assert strategy.time_shares.other == pytest.approx(0, abs=0.01)
        assert min(strategy.time_shares.draft_layers, strategy.time_shares.layers) > 0.1
    records = [r for r in outcome.folder.records() if r.drafted is not None]
    assert records
    for record in records:
        exit_layer = record.options["draft.exit_layer"]
        assert record.draft_layers == exit_layer * record.drafted
        rows = record.drafted + record.verify_passes
        assert record.verify_layers == rows * L - record.drafted * exit_layer
    assert [cost.width for cost in outcome.folder.manifest.costs] == [1, 2, 3, 5, 9, 17]


@pytest.mark.usefixtures("virtual_time")
def test_checks_and_filling_are_what_is_missing_from_the_ceiling(spec_for):
    outcome = go(
        spec_for(
            "static_exit:exit_layer=2,kv_fill=propagate",
            "dynamic_exit:threshold=0.6,min_layer=1,kv_fill=mask",
            tasks=("tiny_generate",),
        )
    )
    filling, checking = (strategy.ceiling for strategy in outcome.metrics.strategies)
    filled = (L - 2) * ATTENTION(1)
    assert filling.achieved_fraction < 0.9
    assert filling.remainder.model_dump() == pytest.approx(
        {"checks": 0, "kv_fill": filled / (step_ns(2) + filled), "sampling": 0, "other": 0}, abs=1e-6
    )
    assert checking.achieved_fraction < 0.9
    assert checking.remainder.model_dump() == pytest.approx(
        {"checks": 1 - checking.achieved_fraction, "kv_fill": 0, "sampling": 0, "other": 0}, abs=1e-6
    )
    report = (outcome.folder.path / "report.md").read_text()
    assert f"KV fill {filling.remainder.kv_fill:.0%}, Python and other" in report
    assert "where the rest went" in (outcome.folder.path / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("virtual_time")
def test_what_older_positions_run_later_is_counted_as_filling(spec_for):
    outcome = go(spec_for("dynamic_exit:threshold=0.15,min_layer=1", tasks=("tiny_generate",)))
    rest = outcome.metrics.strategies[0].ceiling.remainder
    assert [cost.width for cost in outcome.folder.manifest.costs] == [1, 2, 3, 5, 9]
    assert rest.kv_fill > 0.02
    assert rest.checks > 0.02
    assert rest.other == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_drawing_drafts_is_told_where_the_run_samples(spec_for, monkeypatch):
    monkeypatch.setattr(rounds, "_MOST_ROUNDS", 40)  # as many as runs make: small things are told apart
    draft = "self_speculative:draft=static_exit,draft.exit_layer=2,num_speculations=3"
    given = {"tasks": ("tiny_generate",), "limit": 2}
    sampled = go(spec_for(draft, temperature=1.0, top_p=0.9, **given)).metrics.strategies[0].ceiling
    greedy = go(spec_for(draft, **given)).metrics.strategies[0].ceiling
    assert greedy.remainder.sampling < sampled.remainder.sampling / 3
    assert sampled.remainder.sampling > 0.02
    for found in (sampled, greedy):
        assert found.achieved_fraction + sum(found.remainder.model_dump().values()) == pytest.approx(1)


def test_costs_are_measured_once_a_run_and_scoring_again_reads_them(spec_for):
    spec = spec_for("static_exit:exit_layer=2", limit=2)
    outcome = go(spec)
    manifest = json.loads((outcome.folder.path / "manifest.json").read_text())
    (cost,) = manifest["costs"]
    assert cost["width"] == 1
    assert cost["context"] > 1
    assert manifest["bandwidth"] is None  # caches hold so small a model
    assert outcome.metrics.baseline.bandwidth_fraction is None
    found = outcome.metrics.strategies[0].ceiling
    assert found.speedup > 1
    again = pipeline.rescore(RunFolder.open(outcome.folder.path), LiveView(quiet=True))
    assert again.metrics.strategies[0].ceiling == found
    resumed = go(spec, RunFolder.open(outcome.folder.path))
    assert resumed.folder.manifest.costs == outcome.folder.manifest.costs
    assert resumed.metrics.strategies[0].ceiling == found
    report = (outcome.folder.path / "report.md").read_text()
    assert "best speedup possible" in report
    assert "of what memory allows" not in report
    assert "best speedup possible" in (outcome.folder.path / "report.html").read_text()


def test_what_memory_allows_is_measured_with_the_costs_and_shown(spec_for, monkeypatch):
    gives = Bandwidth(bytes_per_second=2e9, reader="sum", threads=1)
    monkeypatch.setattr("lsbench.execution.worker.bandwidth_behind", lambda stack: gives)
    outcome = go(spec_for("static_exit:exit_layer=2", tasks=("tiny_generate",), limit=2))
    (cost,) = outcome.folder.manifest.costs
    assert outcome.folder.manifest.bandwidth == gives
    step_s = L * cost.layer_s + cost.head_s + cost.fixed_s
    share = (L * cost.layer_bytes + cost.head_bytes) / 2e9 / step_s
    assert outcome.metrics.baseline.bandwidth_fraction == pytest.approx(share)
    assert outcome.metrics.strategies[0].ceiling.bandwidth_fraction > 0
    for name in ("report.md", "report.html"):
        report = (outcome.folder.path / name).read_text()
        assert "of what memory allows" in report
        assert "2.00 GB/s" in report
    again = pipeline.rescore(RunFolder.open(outcome.folder.path), LiveView(quiet=True))
    assert again.metrics.baseline == outcome.metrics.baseline


def test_without_generation_nothing_is_measured(spec_for):
    outcome = go(spec_for("static_exit:exit_layer=2", tasks=("tiny_choice",), limit=1))
    assert outcome.folder.manifest.costs == ()
    assert outcome.metrics.strategies[0].ceiling is None


@pytest.mark.slow
def test_outside_methods_have_no_ceiling_nor_has_anyone_against_an_outside_baseline(spec_for):
    ours = go(spec_for("hf_prompt_lookup", limit=2))
    assert ours.metrics.strategies[0].ceiling is None
    theirs = go(spec_for("static_exit:exit_layer=2", baseline="hf_generate", limit=2))
    assert theirs.metrics.strategies[0].speed.speedup is not None
    assert theirs.metrics.strategies[0].ceiling is None
