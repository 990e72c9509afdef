"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "limited", "missing"]
"""``missing``: `make run` fails; ``limited``: it works, but something else will not, or not as well."""


@dataclass(frozen=True)
class Finding:
    """One line of the checklist.

    Attributes:
        name: what was looked at.
        status: how it is.
        detail: what was found, in a few words.
        advice: what to do about it; None where nothing need be done.
    """

    name: str
    status: Status
    detail: str
    advice: str | None = None
