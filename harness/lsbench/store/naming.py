"""What a run's folder is called: sorted by time, and readable."""

from __future__ import annotations

import re
import secrets
import tempfile
from datetime import datetime
from pathlib import Path

from lsbench.errors import BadInput
from lsbench.spec import RunSpec


def new_folder(output: Path, spec: RunSpec, now: datetime) -> Path:
    """Make ``YYYYMMDD-HHMMSS-<task>-<strategy>-<four hex digits>`` under ``output``, never one that exists.

    Of several tasks or strategies the first is named, and how many more there are (``humaneval+1``).

    Raises:
        OSError: the folder cannot be made.
    """
    output.mkdir(parents=True, exist_ok=True)
    about = f"{_name(list(spec.tasks))}-{_name([choice.name for choice in spec.strategies])}"
    while True:
        path = output / f"{now:%Y%m%d-%H%M%S}-{about}-{secrets.token_hex(2)}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path


def ensure_writable(output: Path) -> None:
    """Make sure that a run's folder can be made under ``output``, before anything slow begins.

    Raises:
        BadInput: it cannot.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output, prefix=".writable-"):
            pass
    except OSError as error:
        raise BadInput(
            f"Cannot write results to {output}: {error.strerror or error}; choose a folder that can be "
            "written to with --output DIR."
        ) from error


def _name(names: list[str]) -> str:
    first = re.sub(r"[^A-Za-z0-9_.]+", "_", names[0])[:40] if names else "none"
    return first if len(names) < 2 else f"{first}+{len(names) - 1}"
