"""The articles of XSum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsbench_tasks.articles import as_documents
from lsbench_tasks.splits import load_splits

if TYPE_CHECKING:
    from datasets import Dataset

HUB = ("EdinburghNLP/xsum", None)
"""Its name on the hub, where it has one configuration alone."""
VARIABLE = "LSBENCH_XSUM"
"""Environment variable with the path of a local copy (see ``lsbench_tasks.splits``)."""
COLUMNS = ("document", "summary")


def load(**_: object) -> dict[str, Dataset]:
    """Splits ``test`` and ``train``, for lm-eval's ``custom_dataset``, which passes the task's metadata.

    Raises:
        UnusableCopy: the local copy cannot be used as it is.
        ConnectionError: there is none, and the hub cannot be reached.
    """
    return as_documents(load_splits(*HUB, VARIABLE, COLUMNS, ("test", "train")), *COLUMNS)
