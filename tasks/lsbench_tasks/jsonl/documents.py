"""The lines of a user's file as lm-eval's documents."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsbench_tasks.jsonl.lines import PROMPT, REFERENCE, Line, divided

if TYPE_CHECKING:
    from datasets import Dataset

VARIABLE = "LSBENCH_DATA"
"""Environment variable with the path of the file; the next four say how to read it."""
PROMPT_VARIABLE = "LSBENCH_DATA_PROMPT"
REFERENCE_VARIABLE = "LSBENCH_DATA_REFERENCE"
EXAMPLES_VARIABLE = "LSBENCH_DATA_EXAMPLES"
"""How many examples are wanted."""
FEWSHOT_VARIABLE = "LSBENCH_DATA_FEWSHOT"
"""The file they are from; unset or empty for the first lines of the file itself."""


def load(**_: object) -> dict[str, Dataset]:
    """Splits ``test`` and ``train`` (the examples), for lm-eval's ``custom_dataset``.

    Raises:
        RuntimeError: the variable is unset.
        BadLines: the file cannot be used.
        OSError: it cannot be read.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        raise RuntimeError(
            f"{VARIABLE} is not set: it must name a JSON Lines file (lsbench sets it by --data; outside "
            "lsbench, set it yourself)."
        )
    fewshot = os.environ.get(FEWSHOT_VARIABLE)
    lines, shown = divided(
        Path(path).expanduser(),
        os.environ.get(PROMPT_VARIABLE) or PROMPT,
        os.environ.get(REFERENCE_VARIABLE) or REFERENCE,
        int(os.environ.get(EXAMPLES_VARIABLE) or 0),
        Path(fewshot).expanduser() if fewshot else None,
    )
    return {"test": _documents(lines), "train": _documents(shown)}


def _documents(lines: Sequence[Line]) -> Dataset:
    from datasets import Dataset, Features, List, Value

    text = Value("string")
    features = Features({"line": Value("int64"), "prompt": text, "reference": text, "references": List(text)})
    columns = {
        "line": [line.number for line in lines],
        "prompt": [line.prompt for line in lines],
        "reference": [line.references[0] if line.references else "" for line in lines],
        "references": [list(line.references) for line in lines],
    }
    return Dataset.from_dict(columns, features=features)
