"""Stored records to scores, by lm-eval's own evaluator; no model, no weights, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from lsbench.errors import BadInput, ReplayMiss
from lsbench.evaluation.isolation import isolated
from lsbench.evaluation.requests import document_of, task_instances, task_metrics
from lsbench.evaluation.tasks import data_environment, load_tasks
from lsbench.evaluation.totals import Totals, finite, stderr_of, totals_of
from lsbench.metrics import Measured
from lsbench.records import SampleRecord
from lsbench.spec import RunSpec

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import Task
    from transformers import PreTrainedTokenizerBase

    from lsbench.evaluation.replay import Place
    from lsbench.evaluation.tokens import RequestEncoder

BOOTSTRAP_DRAWS = 1000
"""For the few metrics whose standard error lm-eval bootstraps: within about 2 % of its own 100 000."""


class Verdict(Protocol):
    """What became of one program."""

    @property
    def passed(self) -> bool:
        """Whether it ended well, its test included."""
        ...


class ProgramRunner(Protocol):
    """Runs generated programs confined, as ``lsbench.evaluation.sandbox.Sandbox`` does."""

    def run_many(self, programs: list[tuple[str, str]], /) -> Sequence[Verdict]:
        """Run pairs of program and test; one verdict each, in order."""
        ...


@dataclass(frozen=True)
class ScoredTask:
    """One task's scores under one strategy."""

    name: str
    n: int
    """Documents scored."""
    failed: int
    """Documents left out because a request of theirs failed or has no record."""
    metrics: dict[str, Measured]
    """By metric; ``metric,filter`` only where two filters of the task give the same metric."""
    higher_is_better: dict[str, bool]
    per_doc: dict[str, dict[int, float]]
    """Metric, document, value: for the metrics that are a mean of their documents' values."""
    weights: dict[str, dict[int, float]]
    """Metric, document, weight: for those of ``per_doc`` whose mean is weighted (``bits_per_byte`` by
    bytes): the metric is the sum of weight times value, divided by the sum of weights."""
    totals: dict[str, Totals] = field(default_factory=dict)
    """By metric, for those that are no mean but follow from sums."""


def score_records(
    spec: RunSpec,
    records: Sequence[SampleRecord],
    tokenizer: PreTrainedTokenizerBase | None,
    sandbox: ProgramRunner | None,
) -> dict[str, ScoredTask]:
    """Score the records of one strategy through lm-eval's evaluator.

    Its tasks build their requests anew, the records answer them, and each answer is checked against
    the hash of lm-eval's own arguments.

    Args:
        spec: what the run was asked; its tasks are scored, each once.
        records: of one strategy; kinds other than ``generate`` and ``score`` are passed over.
        tokenizer: the model's; needed only for a run with ``apply_chat_template``.
        sandbox: runs generated programs; needed only by tasks that have any.

    Raises:
        ReplayMiss: a record answers no request of the tasks, or another than the one that was made.
        BadInput: the records are of several strategies, or something that is needed was not given.
        Unavailable: a task's data cannot be fetched.
    """
    from lsbench.evaluation.tokens import RequestEncoder

    by_task = _by_task(records)
    # Rolling windows are not made here, so the context's length does not matter.
    encoder = RequestEncoder(tokenizer, 1) if tokenizer is not None else None
    environment = {**data_environment(spec), "DISABLE_MULTIPROC": "1"}
    with isolated(environment), _programs_in(sandbox):
        tasks = load_tasks(spec)
        for name in by_task:
            if name not in tasks:
                raise ReplayMiss(f"There are records of task {name!r}, but the run has no such task.")
        return {
            name: _score(name, task, spec, by_task.get(name, {}), encoder, sandbox)
            for name, task in tasks.items()
        }


def _score(
    name: str,
    task: Task,
    spec: RunSpec,
    records: Mapping[Place, SampleRecord],
    encoder: RequestEncoder | None,
    sandbox: ProgramRunner | None,
) -> ScoredTask:
    from lm_eval.evaluator import evaluate

    from lsbench.evaluation.replay import ReplayModel

    if getattr(task, "UNSAFE_CODE", False) and sandbox is None:
        raise BadInput(f"Task {name!r} runs generated programs, and no sandbox was given to run them in.")
    instances = task_instances(task, spec, encoder)
    _check_expected(name, instances, records)
    documents = sorted({document_of(instance) for instance in instances})
    unanswered = {
        document_of(i) for i in instances for place in _places(i) if not _answered(records.get(place))
    }
    kept = [document for document in documents if document not in unanswered]
    if not kept:
        return ScoredTask(name, 0, len(documents), {}, {}, {}, {})
    _select(task, instances, kept)
    results: Any = evaluate(
        ReplayModel(name, records, kept),
        {"tasks": {name: task}},
        # A range is searched at once where lm-eval would walk a list for every document.
        samples={name: cast("list[int]", range(len(kept))) if kept[-1] == len(kept) - 1 else kept},
        bootstrap_iters=BOOTSTRAP_DRAWS,
        # Programs run in our sandbox alone: tasks that would run them elsewhere were refused.
        confirm_run_unsafe_code=True,
    )
    return _read_results(name, task, len(kept), len(documents) - len(kept), results)


def _read_results(name: str, task: Task, n: int, failed: int, results: Mapping[str, Any]) -> ScoredTask:
    """From lm-eval's results of one task to ours; metrics without a finite value are left out."""
    values = _values(results["samples"][name])
    reported = _metric_names(values)
    better, aggregations = task_metrics(task)
    totals = results["results"][name]
    scored = ScoredTask(name, n, failed, {}, {}, {}, {})
    for (metric, chain), items in values.items():
        value, stderr = finite(totals[f"{metric},{chain}"]), finite(totals[f"{metric}_stderr,{chain}"])
        if value is None:
            continue
        label = reported[metric, chain]
        parts, weights = _mean_of(items, value, aggregations.get(metric))
        if parts:
            scored.per_doc[label] = parts
        if weights:
            scored.weights[label] = weights
            stderr = ratio_stderr(list(parts.values()), list(weights.values()))
        sums = None if parts else totals_of(items, value, aggregations.get(metric))
        if sums is not None:
            scored.totals[label] = sums
            stderr = stderr_of(sums, BOOTSTRAP_DRAWS) if stderr is None else stderr
        scored.metrics[label] = Measured(value=value, stderr=stderr)
        scored.higher_is_better[label] = better.get(metric, True)
    return scored


def ratio_stderr(values: Sequence[float], weights: Sequence[float]) -> float | None:
    """Standard error of a weighted mean whose weights vary by document, by linearisation.

    lm-eval gives none for such metrics. The mean is a ratio of totals, for which see Cochran, Sampling
    Techniques (1977), section 2.11, without the finite population correction.

    Returns:
        None for fewer than two documents.
    """
    n, total = len(values), sum(weights)
    if n < 2 or total == 0:
        return None
    mean = sum(v * w for v, w in zip(values, weights, strict=True)) / total
    squares = sum((w * (v - mean)) ** 2 for v, w in zip(values, weights, strict=True))
    return math.sqrt(squares * n / (n - 1)) / total


def _by_task(records: Iterable[SampleRecord]) -> dict[str, dict[Place, SampleRecord]]:
    """Records by task and place; of several attempts at one place, one that succeeded."""
    kept: dict[str, dict[Place, SampleRecord]] = {}
    labels: set[str] = set()
    for record in records:
        if record.kind not in ("generate", "score"):
            continue
        labels.add(record.label)
        places = kept.setdefault(record.task, {})
        place = (record.doc_id, record.idx, record.repeat)
        if record.error is None or place not in places:
            places[place] = record
    if len(labels) > 1:
        raise BadInput(
            f"Records of one strategy are scored at a time; these are of {', '.join(sorted(labels))}."
        )
    return kept


def _check_expected(name: str, instances: Sequence[Instance], records: Mapping[Place, SampleRecord]) -> None:
    expected = {place for instance in instances for place in _places(instance)}
    for document, idx, repeat in records:
        if (document, idx, repeat) not in expected:
            raise ReplayMiss(
                f"Task {name!r} has a record for document {document}, request {idx}, repeat {repeat}, but it "
                "makes no such request; the task, its data or lm-eval has changed since the run."
            )


def _places(instance: Instance) -> list[Place]:
    repeats = (instance.repeats or 1) if instance.request_type == "generate_until" else 1
    return [(document_of(instance), instance.idx, repeat) for repeat in range(repeats)]


def _answered(record: SampleRecord | None) -> bool:
    return record is not None and record.error is None


def _select(task: Task, instances: Sequence[Instance], documents: Sequence[int]) -> None:
    """Have the evaluator see these documents' instances, numbered from 0 as it expects of a selection.

    Letting lm-eval build them for the selection alone would draw other few-shot examples, since its
    sampler moves on with every document it builds.
    """
    number = {document: position for position, document in enumerate(documents)}
    kept = [instance for instance in instances if instance.doc_id in number]
    for instance in kept:
        instance.doc_id = number[document_of(instance)]
    task._instances = kept
    task.build_all_requests = lambda **_: None


def _values(samples: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, Any]]:
    """Metric and filter, then document: what the task made of that document."""
    values: dict[tuple[str, str], dict[int, Any]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            values.setdefault((metric, sample["filter"]), {})[sample["doc_id"]] = sample[metric]
    return values


def _metric_names(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    keys = list(keys)
    metrics = [metric for metric, _ in keys]
    return {
        (metric, chain): metric if metrics.count(metric) == 1 else f"{metric},{chain}"
        for metric, chain in keys
    }


def _mean_of(
    items: Mapping[int, Any], reported: float, aggregate: Callable[[list[Any]], float] | None
) -> tuple[dict[int, float], dict[int, float]]:
    """Each document's value, and its weight where they differ; empty unless their mean is ``reported``."""
    values = {document: finite(item) for document, item in items.items()}
    weights: dict[int, float] = {}
    if aggregate is not None and all(_is_pair(item) for item in items.values()):
        values = {document: finite(aggregate([item])) for document, item in items.items()}
        weights = {document: float(item[1]) for document, item in items.items()}
    known = {document: value for document, value in values.items() if value is not None}
    total = math.fsum(weights.values()) if weights else len(known)
    if len(known) < len(items) or total == 0:
        return {}, {}
    mean = math.fsum(value * weights.get(document, 1.0) for document, value in known.items()) / total
    return (known, weights) if math.isclose(mean, reported, rel_tol=1e-9, abs_tol=1e-12) else ({}, {})


def _is_pair(item: Any) -> bool:
    """Whether a document's value is a sum and its weight, as lm-eval's per-byte and per-word metrics have."""
    return (
        isinstance(item, tuple) and len(item) == 2 and finite(item[0]) is not None and bool(finite(item[1]))
    )


@contextmanager
def _programs_in(sandbox: ProgramRunner | None) -> Iterator[None]:
    """Have task metrics run their programs in the sandbox, if there is one."""
    from lsbench_tasks.execution import installed

    if sandbox is None:
        yield
        return
    with installed(lambda programs: [outcome.passed for outcome in sandbox.run_many(list(programs))]):
        yield
