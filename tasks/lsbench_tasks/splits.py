"""Where the documents of a task come from: a local copy that the user names, or the hub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset


class UnusableCopy(RuntimeError):
    """A local copy of a data set is not there, or not as a task reads it."""


_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


def load_splits(
    hub: str, config: str | None, variable: str, columns: tuple[str, ...], wanted: tuple[str, ...]
) -> dict[str, Dataset]:
    """The splits of a data set, with the columns that a task reads.

    Args:
        hub: its name on the Hugging Face hub.
        config: which of its configurations; None where it has one alone.
        variable: environment variable with the path of a local copy: a folder that ``datasets`` reads
            (``test.jsonl``, ``train-00000-of-00001.parquet``, ...), or one file, which is the split ``test``.
        columns: that every split must have.
        wanted: splits to give. ``test`` must be there; another that is not is given without documents.

    Raises:
        UnusableCopy: the copy is not there or lacks the split ``test`` or a column.
        ConnectionError: the hub cannot be reached, and the data set is not in its cache.
    """
    from datasets import Dataset

    found, where = _load(hub, config, variable)
    if "test" not in found:
        raise UnusableCopy(f"{where} has no split 'test'; it has {', '.join(map(str, found)) or 'none'}")
    splits = {name: found[name] for name in wanted if name in found}
    for name, split in splits.items():
        missing = [column for column in columns if column not in split.column_names]
        if missing:
            raise UnusableCopy(
                f"{where}: split {name!r} has no column {missing[0]!r}; "
                f"it has {', '.join(split.column_names)}"
            )
    empty = Dataset.from_dict({column: [] for column in columns})
    return {name: splits[name].select_columns(list(columns)) if name in splits else empty for name in wanted}


def _load(hub: str, config: str | None, variable: str) -> tuple[dict[str, Dataset], str]:
    """Every split, and where they are from, in words."""
    import datasets

    named = os.environ.get(variable)
    if not named:
        try:
            found = datasets.load_dataset(hub, config)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"{hub} is not in the cache of 'datasets'; set {variable} to a folder or file with its "
                f"documents: {' '.join(str(error).split())[:120]}"
            ) from error
        return _named(found), f"{hub} on the hub"
    path = Path(named).expanduser()
    where = f"{variable}={named}"
    if path.is_dir():
        found = datasets.load_dataset(str(path))
    elif not path.exists():
        raise UnusableCopy(f"{where}: there is no such folder or file")
    elif path.suffix not in _READERS:
        raise UnusableCopy(f"{where}: give a folder, or a file that ends in {', '.join(_READERS)}")
    else:
        found = datasets.load_dataset(_READERS[path.suffix], data_files={"test": str(path)})
    return _named(found), where


def _named(found: Mapping[Any, Dataset]) -> dict[str, Dataset]:
    return {str(name): split for name, split in found.items()}
