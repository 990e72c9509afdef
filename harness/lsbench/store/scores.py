"""``scores.json``: what each document scored, so that runs can be compared document by document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import pydantic_core
from pydantic import Field, ValidationError

from lsbench.errors import DamagedResults
from lsbench.metrics import Measured
from lsbench.spec import Frozen
from lsbench.store.manifest import first_problem
from lsbench_tasks.texts import FORMULAS, Formula

if TYPE_CHECKING:
    from lsbench.store.run_folder import RunFolder

SCHEMA = 1
SCORES = "scores.json"


class Additive(Protocol):
    """A metric of a whole corpus that follows from sums over its documents."""

    @property
    def parts(self) -> Mapping[int, tuple[float, ...]]:
        """By document, what it adds to each sum."""
        ...

    @property
    def value(self) -> Callable[[Sequence[float]], float]:
        """From the sums to the metric."""
        ...

    @property
    def formula(self) -> Formula | None:
        """What ``value`` is called in a file; None where no file can hold it."""
        ...


class Scored(Protocol):
    """One task's scores under one strategy."""

    @property
    def n(self) -> int:
        """Documents scored."""
        ...

    @property
    def failed(self) -> int:
        """Documents left without an answer."""
        ...

    @property
    def metrics(self) -> Mapping[str, Measured]:
        """Each metric over all documents."""
        ...

    @property
    def per_doc(self) -> Mapping[str, Mapping[int, float]]:
        """Each metric for every document, where it is a mean of such values."""
        ...

    @property
    def weights(self) -> Mapping[str, Mapping[int, float]]:
        """For those of ``per_doc`` whose mean is weighted, each document's weight."""
        ...

    @property
    def totals(self) -> Mapping[str, Additive]:
        """Metrics that are no mean but follow from sums."""
        ...


class Directed(Scored, Protocol):
    """The same with which way is up."""

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """For each metric, whether more is better."""
        ...


class CorpusSums(Frozen):
    """A metric of a whole corpus, such that resampled documents give it again."""

    formula: Formula
    """Which of ``lsbench_tasks.texts.FORMULAS`` it follows by."""
    parts: dict[int, tuple[float, ...]]
    """By document, what it adds to each sum."""

    @property
    def value(self) -> Callable[[Sequence[float]], float]:
        """From the sums to the metric."""
        of_corpus = FORMULAS[self.formula]
        return lambda sums: of_corpus([sums])


class TaskValues(Frozen):
    """One task under one strategy."""

    n: int
    failed: int
    metrics: dict[str, Measured]
    higher_is_better: dict[str, bool]
    per_doc: dict[str, dict[int, float]]
    """Metric, document, value."""
    weights: dict[str, dict[int, float]]
    """Metric, document, weight, for those whose mean is weighted."""
    totals: dict[str, CorpusSums] = Field(default_factory=dict)
    """By metric, for those that are no mean; a file of before has none."""


class StoredScores(Frozen):
    """The whole of ``scores.json``."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    strategies: dict[str, dict[str, TaskValues]]
    """By label, the baseline's included, then task."""


def write_scores(folder: RunFolder, scored: Mapping[str, Mapping[str, Directed]]) -> None:
    """Replace ``scores.json``.

    Args:
        folder: held for writing.
        scored: by label, then task.
    """
    strategies = {
        label: {
            task: TaskValues(
                n=scores.n,
                failed=scores.failed,
                metrics=dict(scores.metrics),
                higher_is_better=dict(scores.higher_is_better),
                per_doc={name: dict(values) for name, values in scores.per_doc.items()},
                weights={name: dict(values) for name, values in scores.weights.items()},
                totals={
                    name: CorpusSums(formula=totals.formula, parts=dict(totals.parts))
                    for name, totals in scores.totals.items()
                    if totals.formula is not None
                },
            )
            for task, scores in tasks.items()
        }
        for label, tasks in scored.items()
    }
    fields = StoredScores(strategies=strategies).model_dump(by_alias=True)
    folder.write_text(SCORES, pydantic_core.to_json(fields, inf_nan_mode="strings").decode() + "\n")


def read_scores(folder: RunFolder) -> StoredScores | None:
    """Read ``scores.json``; None in folders of before, and where a run has not come that far.

    Raises:
        DamagedResults: it is not what lsbench writes.
    """
    path = folder.path / SCORES
    try:
        scores = StoredScores.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedResults(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValidationError as error:
        raise DamagedResults(
            f"{path} is damaged: {first_problem(error)}; `lsbench report {folder.reference} --rescore` "
            "makes it again."
        ) from error
    if scores.schema_ != SCHEMA:
        raise DamagedResults(f"{path} has schema {scores.schema_}, this lsbench reads {SCHEMA}.")
    return scores
