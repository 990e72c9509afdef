"""lm-eval running a model itself, from its own front door, to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from lsbench.records import SampleRecord
from lsbench.spec import RunSpec


def results_of(model: Any, spec: RunSpec, monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    """What lm-eval reports of one of its own models under the run's tasks."""
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    from lsbench.evaluation.isolation import isolated

    # Describing the machine takes lm-eval two seconds, and nothing here reads it.
    monkeypatch.setattr(evaluator, "add_env_info", lambda results: None)
    with isolated({"DISABLE_MULTIPROC": "1"}):
        results = evaluator.simple_evaluate(
            model=model,
            tasks=list(spec.tasks),
            task_manager=TaskManager(include_path=spec.include_path, include_defaults=False),
            num_fewshot=spec.num_fewshot,
            limit=spec.limit,
            apply_chat_template=spec.apply_chat_template,
            **options,
        )
    assert results is not None
    return dict(results)


def assert_same_answers(records: Iterable[SampleRecord], results: dict[str, Any]) -> None:
    """The records answer what lm-eval asked, all of it, and as its model does."""
    expected = {
        (task, sample["doc_id"], idx): response[0]
        for task, samples in results["samples"].items()
        for sample in samples
        for idx, response in enumerate(sample["resps"])
    }
    records = list(records)
    assert {(r.task, r.doc_id, r.idx) for r in records} == set(expected)
    for record in records:
        wanted = expected[record.task, record.doc_id, record.idx]
        if record.kind == "generate":
            assert record.text == wanted
        elif isinstance(wanted, tuple):
            assert record.logprob == pytest.approx(wanted[0], abs=1e-4)
            assert record.is_greedy == wanted[1]
        else:
            assert record.logprob == pytest.approx(wanted, abs=1e-4)
