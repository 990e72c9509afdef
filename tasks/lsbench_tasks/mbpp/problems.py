"""The problems of MBPP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lsbench_tasks.splits import load_splits

if TYPE_CHECKING:
    from datasets import Dataset

HUB = ("google-research-datasets/mbpp", "full")
"""Its name on the hub, and the configuration with all problems."""
VARIABLE = "LSBENCH_MBPP"
"""Environment variable with the path of a local copy (see ``lsbench_tasks.splits``)."""
COLUMNS = ("task_id", "text", "code", "test_list", "test_setup_code")
SHOWN_FIRST = (2, 3, 4)
"""The examples of the paper's prompt, in its order; lm-eval's built-in task shows these three."""


def load(**_: object) -> dict[str, Dataset]:
    """Splits ``test`` and ``prompt``, for lm-eval's ``custom_dataset``, which passes the metadata.

    Raises:
        UnusableCopy: the local copy cannot be used as it is.
        ConnectionError: there is none, and the hub cannot be reached.
    """
    return load_splits(*HUB, VARIABLE, COLUMNS, ("test", "prompt"))


def examples(problems: Dataset) -> list[dict[str, Any]]:
    """The problems of the split ``prompt`` in the order that they are shown in."""

    def place(problem: Mapping[str, Any]) -> tuple[int, int]:
        number = problem["task_id"]
        return (SHOWN_FIRST.index(number) if number in SHOWN_FIRST else len(SHOWN_FIRST), number)

    return sorted((dict(problem) for problem in problems), key=place)
