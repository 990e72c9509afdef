"""What the kit found: one result a check, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["held", "failed", "not applicable"]


class Failed(Exception):
    """A claim does not hold; the text says in one line what was seen."""


class NotApplicable(Exception):
    """There is nothing to check; the text says why."""


@dataclass(frozen=True)
class CheckResult:
    """One check.

    Attributes:
        name: of the check.
        claim: what it checks, in a sentence.
        status: how it went.
        detail: one line: what was seen where it failed, what it rests on where it held.
        seconds: it took.
    """

    name: str
    claim: str
    status: Status
    detail: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """All checks of one strategy. As text, it is a checklist."""

    strategy: str
    model: str
    results: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def __str__(self) -> str:
        words = {"held": "held  ", "failed": "FAILED", "not applicable": "  -   "}
        lines = [f"{words[result.status]} {result.name}: {result.detail}" for result in self.results]
        return "\n".join([f"{self.strategy} on {self.model}", *lines])
