"""Predicted speedups: the arithmetic of the ceiling, with everything in that can be told beforehand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lsbench.execution.worker import Contender, Worker
from lsbench.measurement.ceiling import ceiling, work_of
from lsbench.spec import parse_strategy
from lsbench.strategy.registry import resolve
from lsbench.tuning.judge import Judge, Judgement
from lsbench.tuning.predict import Prediction, predict
from support.judging import COSTS, Bench, llama_bench
from support.models import single_thread
from support.tokenizer import byte_level_tokenizer

LAYERS = 6
STEP_S = 0.5e-3 + 3e-3 * 1.02 + 6 * 1e-3 * 1.02


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def bench() -> Bench:
    return llama_bench()


def predicted(bench: Bench, text: str) -> tuple[Judgement, Prediction]:
    found = Judge(bench.references, COSTS).judge(bench.strategy(text))
    assert isinstance(found, Judgement)
    return found, predict(found, COSTS, LAYERS)


def test_the_full_model_is_as_fast_as_itself(bench: Bench) -> None:
    assert predicted(bench, "autoregressive")[1].speedup == pytest.approx(1)


def test_an_exit_saves_its_layers_and_nothing_else(bench: Bench) -> None:
    found = predicted(bench, "static_exit:exit_layer=2,kv_fill=mask")[1]
    assert found.baseline_seconds_per_token == pytest.approx(STEP_S)
    assert found.seconds_per_token == pytest.approx(STEP_S - 4 * 1.02e-3)


def test_a_fill_is_paid_for(bench: Bench) -> None:
    found = predicted(bench, "static_exit:exit_layer=2,kv_fill=propagate")[1]
    assert found.seconds_per_token == pytest.approx(STEP_S - 4 * 1.02e-3 + 4 * 0.05e-3)


def test_looks_are_paid_for_with_their_heads(bench: Bench) -> None:
    judgement, found = predicted(
        bench, "dynamic_exit:threshold=1,confidence=softmax_margin,candidate_layers=[2,3]"
    )
    assert judgement.effort.checks == judgement.effort.spare_heads == 2 * judgement.tokens
    assert found.seconds_per_token == pytest.approx(STEP_S + 2 * (3e-3 * 1.02 + 0.1e-3))


def test_sublayers_count_by_the_seconds_they_take(bench: Bench) -> None:
    attention = predicted(bench, "dynamic_skip:skip_set=[5.attention],thresholds=[2],kv_fill=mask")[1]
    mlp = predicted(bench, "dynamic_skip:skip_set=[5.mlp],thresholds=[2]")[1]
    assert attention.seconds_per_token == pytest.approx(STEP_S - 0.22e-3)
    assert mlp.seconds_per_token == pytest.approx(STEP_S - 0.8e-3)


@pytest.mark.parametrize(
    "options",
    [
        "3,num_speculations=4",
        *(pytest.param(o, marks=pytest.mark.slow) for o in ("5,num_speculations=2", "1,num_speculations=6")),
    ],
)
def test_a_speculation_costs_what_the_ceiling_of_its_own_run_says(bench: Bench, options: str) -> None:
    text = f"self_speculative:draft=static_exit,draft.exit_layer={options}"
    choices = [parse_strategy(each) for each in ("autoregressive", text)]
    baseline, contender = (Contender(choice, resolve(choice)) for choice in choices)
    tokenizer = byte_level_tokenizer()
    worker = Worker(bench.stack, tokenizer, baseline, (contender,))
    worker.prepare()
    records = [
        record
        for turn in worker.turns([each.request for each in bench.references.references])
        for record in worker.run(turn, frozenset(), {})
        if record.kind == "generate"
    ]
    ours = [record for record in records if record.label == contender.label]
    theirs = [record for record in records if record.label == baseline.label]
    judgement, found = predicted(bench, text)
    work = work_of(ours, LAYERS)
    assert work is not None
    assert found.work.tokens == pytest.approx(work.tokens)
    assert found.work.drafted == pytest.approx(work.drafted)
    assert found.work.draft_layers == pytest.approx(work.draft_layers)
    assert found.work.resumed_layers == pytest.approx(work.resumed_layers)
    best = ceiling(ours, theirs, COSTS, LAYERS, 1.0)
    assert best is not None
    # An exit neither looks nor fills.
    assert found.speedup == pytest.approx(best.speedup)
    assert judgement.acceptance_rate == pytest.approx(
        sum(record.accepted or 0 for record in ours) / sum(record.drafted or 0 for record in ours)
    )


def test_with_half_a_head_a_draft_costs_less(bench: Bench) -> None:
    text = "self_speculative:draft=static_exit,draft.exit_layer=3,num_speculations=3"
    whole, trimmed = (predicted(bench, each)[1].work for each in (text, f"{text},draft.vocab=100"))
    assert (whole.draft_head, trimmed.draft_head) == (1.0, pytest.approx(100 / 350))
