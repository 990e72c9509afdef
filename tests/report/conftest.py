"""Made metrics and records: every kind of outcome a report must be able to tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lsbench.metrics import (
    Agreement,
    BaselineMetrics,
    Certificate,
    Depth,
    Difference,
    DistributionTest,
    EndToEndSpeedup,
    Fidelity,
    Measured,
    Memory,
    Metrics,
    ModelInfo,
    Percentiles,
    Speed,
    Speedup,
    StrategyMetrics,
    TaskScores,
)
from lsbench.records import SampleRecord

BITS = TaskScores(
    n=8,
    failed=0,
    affected_by_strategy=True,
    tells_apart=True,
    metrics={"bits_per_byte": Measured(value=0.701, stderr=0.03)},
    difference={"bits_per_byte": Difference(value=0.089, ci95=(0.07, 0.108))},
)
BLIND = TaskScores(
    n=8,
    failed=0,
    affected_by_strategy=True,
    tells_apart=False,
    metrics={"pass@1": Measured(value=0, stderr=0)},
    difference={"pass@1": Difference(value=0, ci95=(0, 0), p_value=1)},
)
BASELINE = BaselineMetrics(
    strategy="autoregressive",
    tokens_per_second=25.13,
    ttft_s=Percentiles(p50=0.1214, p95=0.31),
    tpot_s=Percentiles(p50=0.0398, p95=0.0421),
    generated_tokens=2048,
    tasks={
        "humaneval": {"pass@1": Measured(value=0, stderr=0)},
        "humaneval_bpb": {"bits_per_byte": Measured(value=0.612, stderr=0.02)},
    },
    noise=0.01,
    memory=Memory(peak_bytes=1_300_000_000, kv_bytes=23_000_000),
)
SLOWER = StrategyMetrics(
    name="dynamic_skip",
    options={},
    label="dynamic_skip",
    lossless=False,
    tasks={"humaneval": BLIND, "humaneval_bpb": BITS},
    speed=Speed(
        speedup=Speedup(value=0.931, ci95=(0.912, 0.949), verdict="slower"),
        end_to_end_speedup=EndToEndSpeedup(value=0.941, ci95=(0.92, 0.96)),
        tokens_per_second=23.37,
        ttft_s=Percentiles(p50=0.122, p95=0.32),
        tpot_s=Percentiles(p50=0.0428, p95=0.0451),
        generated_tokens=2011,
        pairs=8,
    ),
    depth=Depth(mean_layers=24.31, histogram=(*[0] * 20, 5, 10, 200, 340, 500, 300, 200, 100, 0, 0, 20)),
    fidelity=Fidelity(
        identical_outputs=1,
        common_prefix_fraction=0.12,
        token_agreement=Agreement(value=0.71, ci95=(0.69, 0.73)),
        compared=8,
    ),
    speculation=None,
    parity=None,
    ceiling=None,
    memory=Memory(peak_bytes=1_310_000_000, kv_bytes=23_000_000),
)
SCORES_ONLY = SLOWER.model_copy(
    update={
        "name": "static_exit",
        "options": {"exit_layer": 20},
        "label": "static_exit:exit_layer=20",
        "tasks": {"humaneval_bpb": BITS},
        "speed": None,
        "depth": None,
        "fidelity": None,
        "memory": None,
    }
)


@pytest.fixture
def certified(slower) -> Callable[[float], StrategyMetrics]:
    """A strategy that samples and claims to be lossless, by the p-value of its certificate."""

    def make(p_value: float) -> StrategyMetrics:
        fields = {"cells": 10, "statistic": 20.0, "degrees_of_freedom": 9, "p_value": p_value / 2}
        outputs = DistributionTest(tokens=1000, corrected_p_value=p_value, detectable_shift=0.102, **fields)
        certificate = Certificate(
            refuted=p_value < 0.0005,
            p_value=p_value,
            tests=2,
            outputs=outputs,
            draws=outputs.model_copy(update={"tokens": 234, "detectable_shift": 0.2}),
            drawn=384,
            spots=3,
        )
        return slower.model_copy(update={"lossless": True, "certificate": certificate})

    return make


@pytest.fixture
def slower() -> StrategyMetrics:
    """A strategy that is slower, on a task that cannot tell and one that can."""
    return SLOWER


@pytest.fixture
def scores_only() -> StrategyMetrics:
    """A strategy of which only log-likelihoods are known."""
    return SCORES_ONLY


@pytest.fixture
def with_speedup() -> Callable[..., StrategyMetrics]:
    """Make the strategy with another speedup (None for one that was not compared)."""

    def make(speedup: Speedup | None, pairs: int = 30) -> StrategyMetrics:
        assert SLOWER.speed is not None
        speed = SLOWER.speed.model_copy(update={"speedup": speedup, "pairs": pairs})
        return SLOWER.model_copy(update={"speed": speed})

    return make


@pytest.fixture
def with_scores() -> Callable[[TaskScores], StrategyMetrics]:
    """Make the strategy with ``humaneval`` alone, scored so."""
    return lambda scores: SLOWER.model_copy(update={"tasks": {"humaneval": scores}})


@pytest.fixture
def metrics_of() -> Callable[..., Metrics]:
    """Make a run's metrics of strategies, with changes to the baseline's."""

    def make(*strategies: StrategyMetrics, notes=(), status="complete", **baseline) -> Metrics:
        return Metrics(
            run_id="20260101-1200-abc",
            status=status,
            model=ModelInfo(id="smollm2-135m-instruct", num_layers=30, dtype="float32", sha256="b" * 64),
            baseline=BASELINE.model_copy(update=baseline),
            strategies=strategies,
            notes=notes,
        )

    return make


@pytest.fixture
def record_of() -> Callable[..., SampleRecord]:
    """Make a finished generation."""

    def make(label: str, text: str, /, doc_id: int = 0, **more) -> SampleRecord:
        fields = {
            "strategy": label.partition(":")[0],
            "options": {},
            "label": label,
            "task": "humaneval",
            "doc_id": doc_id,
            "kind": "generate",
            "arguments_sha256": "0" * 64,
            "prompt": "def f():\n",
            "prompt_tokens": 5,
            "token_ids": tuple(ord(char) for char in text),
            "text": text,
            "stop_reason": "stop_string",
            "ttft_s": 0.1,
            "decode_s": 2.5,
            "layers_run": (30.0, *(24.0 for _ in text[1:])),
        }
        return SampleRecord(**(fields | more))

    return make
