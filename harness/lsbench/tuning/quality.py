"""What a quality floor is held against: agreement with the full model token by token, or a task's own metric.

A task's metric is scored from the very texts that were timed, as a run scores them, and told as a share of
what the baseline scores on the same documents.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.errors import BadInput, unknown
from lsbench.measurement.fidelity import token_agreement
from lsbench.measurement.quality import task_scores
from lsbench.measurement.retained import retained
from lsbench.metrics import Agreement
from lsbench.records import SampleRecord
from lsbench.spec import RunSpec
from lsbench.tuning.result import FinalScores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.evaluation.requests import TaskInfo
    from lsbench.evaluation.sandbox import Sandbox

AGREEMENT = "agreement"
TOKEN_AGREEMENT = "token_agreement"


@dataclass(frozen=True)
class Quality:
    """How good what was timed is.

    Attributes:
        name: ``token_agreement``, or the metric.
        value: 1 is as good as the full model.
        bound: the lower end of its 95 % interval; None with too few prompts for one.
        decisive: whether the search itself is to go by the bound. A task's metric on a few tuning documents
            has a bound that says no more than that they are few.
    """

    name: str
    value: float
    bound: float | None
    decisive: bool = True


Assess = Callable[[Sequence[SampleRecord], str], Quality | None]
"""The quality of one strategy, by its label, from the records of it and the baseline."""


def agreement(records: Sequence[SampleRecord], label: str) -> Quality | None:
    """The share of the full model's tokens that the strategy would have chosen too."""
    found = token_agreement(records, label)
    return None if found is None else _of(found, TOKEN_AGREEMENT)


def check_metric(metric: str, tasks: Collection[TaskInfo]) -> None:
    """Refuse a metric that the tasks cannot be held to.

    Raises:
        BadInput: a task that generates has no such metric, or less of it is better.
    """
    for task in tasks:
        if metric not in task.metrics:
            raise unknown(f"--quality of task {task.name!r}:", metric, [AGREEMENT, *task.metrics])
        if not task.higher_is_better.get(metric, True):
            raise BadInput(
                f"--quality {metric}: less of it is better, and a floor holds what is to be high; "
                f"name another metric of task {task.name!r}, or {AGREEMENT}"
            )


class TaskJudge:
    """Scores records as a run does. Any thread may ask.

    Args:
        run: what was asked; which of its documents were run, the records say.
        tokenizer: the model's, for chat templates.
        sandbox: for tasks that run generated programs.
    """

    def __init__(
        self, run: RunSpec, tokenizer: PreTrainedTokenizerBase | None, sandbox: Sandbox | None
    ) -> None:
        self._run = run.model_copy(update={"limit": None})
        self._tokenizer, self._sandbox = tokenizer, sandbox
        # lm-eval is run with an environment of its own, which is the whole process's.
        self._one_at_a_time = threading.Lock()

    def scores(self, records: Sequence[SampleRecord], labels: Sequence[str]) -> FinalScores:
        """What the tasks say of some strategies, beside the run's baseline.

        Raises:
            LsbenchError: the tasks cannot score them: their data is gone, say.
        """
        from lsbench.evaluation.scores import score_records

        asked: dict[str, set[int]] = {}
        for record in records:
            if record.kind == "generate":
                asked.setdefault(record.task, set()).add(record.doc_id)
        run = self._run.model_copy(update={"tasks": tuple(t for t in self._run.tasks if t in asked)})
        with self._one_at_a_time:
            scored = {
                label: score_records(
                    run, [each for each in records if each.label == label], self._tokenizer, self._sandbox
                )
                for label in dict.fromkeys((self._run.baseline, *labels))
            }
        theirs = scored[self._run.baseline]
        compared = {
            label: {
                task: task_scores(found, theirs.get(task), affected=True).model_copy(
                    update={"failed": len(asked[task]) - found.n}
                )
                for task, found in scored[label].items()
            }
            for label in labels
        }
        return FinalScores(
            baseline={t: dict(found.metrics) for t, found in theirs.items()}, strategies=compared
        )

    def kept(self, metric: str) -> Assess:
        """How much of the baseline's score is kept: of the task, and the filter, where the least is.

        Args:
            metric: as the tasks declare it.
        """

        def assess(records: Sequence[SampleRecord], label: str) -> Quality | None:
            found = self.scores(records, [label])
            parts: list[Agreement] = []
            for task, scores in found.strategies[label].items():
                for name in scores.metrics:
                    if name.split(",")[0] != metric:
                        continue
                    baseline = found.baseline.get(task, {}).get(name)
                    part = None if baseline is None else retained(name, scores, baseline.value)
                    if part is None:
                        return None
                    parts.append(part)
            if not parts:
                return None
            bounds = [part.ci95[0] for part in parts if part.ci95 is not None]
            return Quality(
                metric,
                min(part.value for part in parts),
                min(bounds) if len(bounds) == len(parts) else None,
                decisive=False,
            )

        return assess


def _of(found: Agreement, name: str) -> Quality:
    return Quality(name, found.value, None if found.ci95 is None else found.ci95[0])
