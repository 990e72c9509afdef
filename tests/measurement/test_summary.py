from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lsbench.measurement.summary import RunContext, context_of, summarise
from lsbench.metrics import Measured, Metrics, ModelInfo
from lsbench.spec import RunSpec, StrategyChoice
from lsbench.store.manifest import ModelFacts
from lsbench.store.placement import HostFacts, PlacementFacts, RankFacts
from lsbench.store.run_folder import RunFolder
from lsbench.store.scores import Additive

BASELINE = "autoregressive"
MODEL = ModelInfo(id="tiny", num_layers=4, dtype="float32", sha256="ab")
EXIT = StrategyChoice(name="static_exit", options={"exit_layer": 2})


class Scores:
    def __init__(self, metric: str, values: Sequence[float], failed: int = 0) -> None:
        self.n = len(values)
        self.failed = failed
        self.metrics = {metric: Measured(value=sum(values) / len(values), stderr=0.1)}
        self.weights: dict[str, dict[int, float]] = {}
        self.totals: dict[str, Additive] = {}
        self.per_doc = {metric: {doc: float(value) for doc, value in enumerate(values)}}


def context(**changes: object) -> RunContext:
    fields: dict[str, object] = {
        "run_id": "run", "status": "complete", "model": MODEL, "baseline": BASELINE, "strategies": (EXIT,),
    }  # fmt: skip
    return RunContext(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def records(make_record):
    """Twelve prompts; the strategy decodes twice as fast, alternating by a hundredth."""
    made = []
    for doc_id in range(12):
        decode_s = 0.3 * (1 + 0.01 * (doc_id % 3))
        made.append(make_record(BASELINE, doc_id, decode_s=decode_s, layers_run=(4.0,) * 4, peak_bytes=100))
        made.append(
            make_record(
                EXIT.label,
                doc_id,
                decode_s=decode_s / 2 * (1 + 0.01 * (doc_id % 2)),
                options=EXIT.options,
                layers_run=(4.0, 2.0, 2.0, 2.0),
                peak_bytes=120,
                kv_bytes=7,
            )
        )
        made.append(
            make_record(
                EXIT.label,
                doc_id,
                kind="fidelity",
                token_ids=None,
                ttft_s=None,
                decode_s=None,
                agreement=(True, doc_id % 2 == 0, True, True),
            )
        )
    return made


def test_whole_summary(records):
    scored = {
        BASELINE: {"humaneval": Scores("pass@1", [1] * 8 + [0] * 4)},
        EXIT.label: {"humaneval": Scores("pass@1", [1] * 4 + [0] * 8)},
    }
    metrics = summarise(context(notes=("said before",)), records, scored, {EXIT.label: False})
    assert Metrics.model_validate_json(metrics.model_dump_json(by_alias=True)) == metrics
    assert metrics.notes == ("said before",)
    baseline = metrics.baseline
    assert baseline.generated_tokens == 48
    assert baseline.tokens_per_second == pytest.approx(36 / (12 * 0.303))
    assert baseline.tasks["humaneval"]["pass@1"].value == pytest.approx(8 / 12)
    assert baseline.memory is not None
    assert baseline.memory.peak_bytes == 100
    assert baseline.noise is not None
    assert baseline.noise < 0.05
    (ours,) = metrics.strategies
    assert (ours.name, ours.options, ours.label, ours.lossless) == (
        "static_exit", {"exit_layer": 2}, "static_exit:exit_layer=2", False,
    )  # fmt: skip
    assert ours.speed is not None
    assert ours.speed.pairs == 12
    assert ours.speed.speedup is not None
    assert ours.speed.speedup.value == pytest.approx(2 / 1.005, rel=1e-3)
    assert ours.speed.speedup.verdict == "faster"
    assert ours.speed.end_to_end_speedup is not None
    assert 1 < ours.speed.end_to_end_speedup.value < ours.speed.speedup.value
    assert ours.depth is not None
    assert (ours.depth.mean_layers, ours.depth.histogram) == (2.0, (0, 0, 36, 0, 0))
    assert ours.fidelity is not None
    assert ours.fidelity.identical_outputs == 12
    assert ours.fidelity.token_agreement.value == pytest.approx(42 / 48)
    assert (ours.speculation, ours.parity, ours.ceiling) == (None, None, None)
    assert ours.memory is not None
    assert (ours.memory.peak_bytes, ours.memory.kv_bytes) == (120, 7)
    task = ours.tasks["humaneval"]
    assert (task.n, task.failed, task.affected_by_strategy, task.tells_apart) == (12, 0, True, True)
    assert task.difference["pass@1"].value == pytest.approx(-4 / 12)
    assert task.difference["pass@1"].p_value == pytest.approx(2 / 2**4)


def test_every_documented_key_is_there_even_when_nothing_was_run():
    metrics = json.loads(summarise(context(), [], {}, {}).model_dump_json(by_alias=True))
    assert metrics.keys() >= {"schema", "run_id", "status", "model", "baseline", "strategies"}
    assert metrics["baseline"].keys() >= {"strategy", "tokens_per_second", "ttft_s", "tpot_s", "tasks"}
    (ours,) = metrics["strategies"]
    assert ours.keys() >= {
        "name", "options", "lossless", "tasks", "speed", "depth", "fidelity", "speculation", "parity",
        "ceiling", "memory",
    }  # fmt: skip
    assert ours["speed"] is None
    assert ours["fidelity"] is None


def test_task_that_solves_nothing_is_said_to_tell_nothing(records):
    nothing = {"humaneval": Scores("pass@1", [0] * 12)}
    metrics = summarise(context(), records, {BASELINE: nothing, EXIT.label: nothing}, {})
    assert not metrics.strategies[0].tasks["humaneval"].tells_apart
    (note,) = metrics.notes
    assert note == (
        "humaneval cannot tell static_exit:exit_layer=2 from the baseline: both score 0 on all 12 "
        "documents; look at its fidelity instead."
    )


def test_lossless_strategy_cannot_affect_a_loglikelihood_task(make_record):
    records = []
    for doc_id in range(6):
        for label in (BASELINE, EXIT.label):
            records.append(make_record(label, doc_id, task="arc", kind="score", token_ids=None, logprob=-1.0))
            records.append(make_record(label, doc_id, task="humaneval"))
    both = {"arc": Scores("acc", [1, 0, 1, 0, 1, 1]), "humaneval": Scores("pass@1", [1, 0, 1, 0, 1, 1])}
    scored = {BASELINE: both, EXIT.label: both}
    lossless = summarise(context(), records, scored, {EXIT.label: True})
    assert not lossless.strategies[0].tasks["arc"].affected_by_strategy
    assert lossless.strategies[0].tasks["humaneval"].affected_by_strategy
    assert any("arc asks for log-likelihoods only" in note for note in lossless.notes)
    lossy = summarise(context(), records, scored, {EXIT.label: False})
    assert lossy.strategies[0].tasks["arc"].affected_by_strategy


def test_noise_and_load_are_said(make_record):
    records = [make_record(BASELINE, i, decode_s=0.3 if i % 2 else 0.4) for i in range(8)]
    metrics = summarise(context(strategies=(), load_average=1.6, cores=2), records, {}, {})
    noisy, busy = metrics.notes
    assert "too noisy" in noisy
    assert "28.6%" in noisy
    assert "load average 1.6 on 2 cores" in busy
    quiet = summarise(context(strategies=(), load_average=0.9, cores=2), records[::2], {}, {})
    assert quiet.notes == ()


def test_left_out_pairs_and_few_prompts_are_said(make_record):
    records = []
    for doc_id in range(6):
        records.append(make_record(BASELINE, doc_id, segment=0))
        records.append(
            make_record(EXIT.label, doc_id, segment=int(doc_id < 2), attempt=2 if doc_id == 2 else 1)
        )
    metrics = summarise(context(), records, {}, {})
    speed = metrics.strategies[0].speed
    assert speed is not None
    assert speed.pairs == 3
    assert speed.speedup is not None
    assert speed.speedup.ci95 is None
    again, left_out, few = metrics.notes
    assert again.startswith("1 generation was run again")
    assert "3 generations left out of the speedup" in left_out
    assert "2 timed in different processes because the run was resumed" in left_out
    assert "1 run again after a failed attempt" in left_out
    assert "3 prompts timed, too few for an interval" in few


def test_run_resumed_between_all_pairs_has_no_speedup(make_record):
    records = [make_record(BASELINE, 0), make_record(EXIT.label, 0, segment=1)]
    metrics = summarise(context(), records, {}, {})
    speed = metrics.strategies[0].speed
    assert speed is not None
    assert speed.speedup is None
    assert speed.tokens_per_second == pytest.approx(10)
    assert any("no speedup" in note for note in metrics.notes)


def test_failures_are_counted_and_enter_no_figure(records, make_record):
    failed = make_record(EXIT.label, 12, error="CUDA is\nout of memory", token_ids=None, decode_s=99.0)
    with_failure = summarise(context(), [*records, failed, make_record(BASELINE, 12)], {}, {})
    assert with_failure.strategies[0].speed == summarise(context(), records, {}, {}).strategies[0].speed
    assert (
        "static_exit:exit_layer=2: 1 of 25 requests failed, the first with: CUDA is out of memory"
    ) in with_failure.notes


def test_baseline_is_not_compared_with_itself(records):
    chosen = (StrategyChoice(name=BASELINE), EXIT)
    metrics = summarise(context(strategies=chosen), records, {}, {})
    assert [strategy.label for strategy in metrics.strategies] == [EXIT.label]
    assert any("is the baseline itself" in note for note in metrics.notes)


def test_context_comes_from_a_stored_run(tmp_path: Path):
    spec = RunSpec(strategies=(EXIT,), tasks=("humaneval",))
    with RunFolder.create(tmp_path, spec) as folder:
        with pytest.raises(ValueError, match="no model yet"):
            context_of(folder.manifest)
        model = ModelFacts(id="tiny", path=None, sha256="ab", num_layers=4, dtype="float32")
        folder.update_manifest(model=model, notes=("seen",), load_average=(1.5, 1, 1), status="complete")
        found = context_of(folder.manifest)
    assert found == context(
        run_id=folder.run_id, notes=("seen",), load_average=1.5, cores=folder.manifest.hardware.cores
    )


@pytest.mark.parametrize("which", [BASELINE, EXIT.label])
def test_times_of_what_ran_again_are_in_no_figure_of_speed(records, which):
    """The first two documents of one side took a hundred times as long after a crash."""
    plain = summarise(context(), records, {}, {})
    again = [
        record.model_copy(update={"attempt": 2, "ttft_s": 10.0, "decode_s": 30.0, "replica": 1})
        if record.label == which and record.doc_id < 2 and record.kind == "generate"
        else record
        for record in records
    ]
    metrics = summarise(context(), again, {}, {})
    ours, before = metrics.strategies[0].speed, plain.strategies[0].speed
    assert ours is not None
    assert before is not None
    assert ours.pairs == 10
    assert ours.speedup is not None
    assert ours.speedup.value == pytest.approx(before.speedup.value, rel=0.02)
    for figures, calm in ((ours, before), (metrics.baseline, plain.baseline)):
        assert figures.tokens_per_second == pytest.approx(calm.tokens_per_second, rel=0.02)
        assert figures.ttft_s == calm.ttft_s
        assert figures.tpot_s.p95 == pytest.approx(calm.tpot_s.p95, rel=0.02)
        assert figures.generated_tokens == calm.generated_tokens, "tokens count"
    assert metrics.baseline.noise < 0.05
    assert any("2 generations were run again after a failed attempt" in note for note in metrics.notes)
    assert any("2 generations left out of the speedup (2 timed in different" in n for n in metrics.notes)
    assert not any("run again" in note for note in plain.notes)


def test_what_failed_at_every_attempt_is_told_once(records):
    failed = [
        record.model_copy(update={"attempt": 3, "error": "the replica died"})
        if (record.label, record.doc_id, record.kind) == (EXIT.label, 0, "generate")
        else record
        for record in records
    ]
    notes = summarise(context(), failed, {}, {}).notes
    assert any("1 of 24 requests failed, the first with: the replica died" in note for note in notes)
    assert not any("run again" in note for note in notes)


def placed(shared: bool, hosts: tuple[str, ...] = ("one", "one"), gpu: str | None = None) -> PlacementFacts:
    return PlacementFacts(
        segment=0,
        backend="ray",
        tensor_parallel=1,
        replicas=2,
        threads_per_rank=1,
        shared_cores=shared,
        hosts=tuple(HostFacts(name=name, cores=2, gpus=0, memory_bytes=1) for name in sorted(set(hosts))),
        ranks=tuple(
            RankFacts(replica=replica, rank=0, host=host, threads=1, gpu=gpu)
            for replica, host in enumerate(hosts)
        ),
    )


@pytest.mark.parametrize(
    ("placements", "told"),
    [
        ((), False),
        ((placed(True, ("one", "two")),), True),
        ((placed(False, ("one", "two")),), False),
        ((placed(False, ("one", "one")),), True),
        ((placed(False, ("one", "one"), gpu="H100"),), False),
        ((placed(False, ("one", "one")), placed(False, ("one", "two"))), True),
    ],
)
def test_replicas_that_shared_cores_leave_only_ratios(tmp_path, records, placements, told):
    with RunFolder.create(tmp_path, RunSpec(strategies=(EXIT,), tasks=("humaneval",))) as folder:
        model = ModelFacts(id="tiny", path=None, sha256="ab", num_layers=4, dtype="float32")
        manifest = folder.update_manifest(model=model, placements=placements)
        assert RunFolder.open(folder.path).manifest == manifest
    notes = summarise(context_of(manifest), records, {}, {}).notes
    said = [note for note in notes if "Speed rests on ratios only" in note]
    assert bool(said) == told
    assert not told or said[0].startswith("2 processes (2 replicas of 1 rank) shared cores or memory")
