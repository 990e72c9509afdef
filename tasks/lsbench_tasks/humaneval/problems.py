"""The problems of HumanEval, read from a local file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

VARIABLE = "LSBENCH_HUMANEVAL"
"""Environment variable with the path of the JSON Lines file."""

FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def load(**_: object) -> dict[str, Dataset]:
    """The one split ``test``, for lm-eval's ``custom_dataset``, which passes the task's metadata along.

    Raises:
        RuntimeError: the variable is unset, or the file lacks a field.
        FileNotFoundError: there is no such file.
    """
    from datasets import Dataset

    path = os.environ.get(VARIABLE)
    if not path:
        raise RuntimeError(
            f"{VARIABLE} is not set: it must name the JSON Lines file of HumanEval's problems "
            "(lsbench sets it; outside lsbench, set it yourself)."
        )
    with Path(path).open(encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines if line.strip()]
    for number, problem in enumerate(problems, start=1):
        missing = [field for field in FIELDS if field not in problem]
        if missing:
            raise RuntimeError(f"{path}: problem {number} lacks {', '.join(missing)}.")
    return {"test": Dataset.from_list([{field: p[field] for field in FIELDS} for p in problems])}
