"""Which documents a search may see, and which it is judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import model_validator

from lsbench.errors import BadInput
from lsbench.spec import Frozen

MIN_FINAL = 5
"""With fewer final documents there is no interval (``measurement.statistics.MIN_PROMPTS``), so no result."""


class Split(Frozen):
    """Disjoint documents of each task, by their index in its evaluation split, ascending."""

    method: Literal["seeded", "tasks"] = "seeded"
    """``seeded``: drawn from one task's documents; ``tasks``: tuning and final tasks are different ones."""
    seed: int
    tuning: dict[str, tuple[int, ...]]
    final: dict[str, tuple[int, ...]]

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        for task, documents in self.tuning.items():
            shared = sorted(set(documents) & set(self.final.get(task, ())))
            if shared:
                raise ValueError(f"document {shared[0]} of {task} is both a tuning and a final one")
        return self

    @property
    def tuning_documents(self) -> int:
        """How many there are to tune on, over all tasks."""
        return sum(map(len, self.tuning.values()))

    @property
    def final_documents(self) -> int:
        """How many there are to judge on, over all tasks."""
        return sum(map(len, self.final.values()))


def split_documents(
    documents: Mapping[str, Sequence[int]], tuning: int, final: int | None = None, seed: int = 0
) -> Split:
    """Divide each task's documents by a seeded order.

    A document's place in the order depends on the seed, its task and its index, nothing else. The final ones
    are the first, the tuning ones the last: tuning on more leaves the final ones as they were while there is
    room for both.

    Args:
        documents: of each task.
        tuning: how many of each task to tune on.
        final: how many of each task to judge on; None is all that remain.
        seed: another one gives another split.

    Raises:
        BadInput: a task has too few documents, and how many it needs.
    """
    least = MIN_FINAL if final is None else final
    if tuning < 1 or least < 1:
        raise BadInput(f"A search needs documents to tune on and to judge on, not {tuning} and {least}")
    for task, ids in documents.items():
        if len(set(ids)) < tuning + least:
            raise BadInput(
                f"Task {task!r} has {len(set(ids))} documents, but {tuning + least} are needed: {tuning} to "
                f"tune on and {least} that the search never sees. Give a smaller --limit, or a larger task"
            )
    ordered = {task: _ordered(task, ids, seed) for task, ids in documents.items()}
    return Split(
        seed=seed,
        tuning={task: tuple(sorted(ids[len(ids) - tuning :])) for task, ids in ordered.items()},
        final={task: tuple(sorted(ids[: len(ids) - tuning][:final])) for task, ids in ordered.items()},
    )


def split_by_tasks(
    tuning: Mapping[str, Sequence[int]], final: Mapping[str, Sequence[int]], seed: int = 0
) -> Split:
    """Tune on the documents of some tasks and judge on those of others.

    Raises:
        BadInput: a task is on both sides, or one side has too few documents.
    """
    both = sorted(tuning.keys() & final.keys())
    if both:
        raise BadInput(f"Task {both[0]!r} is both tuned and judged on; name different tasks, or one for both")
    split = Split(
        method="tasks",
        seed=seed,
        tuning={task: tuple(sorted(set(ids))) for task, ids in tuning.items()},
        final={task: tuple(sorted(set(ids))) for task, ids in final.items()},
    )
    if split.tuning_documents < 1 or split.final_documents < MIN_FINAL:
        raise BadInput(
            f"There are {split.tuning_documents} documents to tune on and {split.final_documents} to judge "
            f"on; 1 and {MIN_FINAL} are needed"
        )
    return split


def _ordered(task: str, documents: Sequence[int], seed: int) -> list[int]:
    def place(document: int) -> bytes:
        return hashlib.sha256(f"{seed}|{task}|{document}".encode()).digest()

    return sorted(set(documents), key=place)
