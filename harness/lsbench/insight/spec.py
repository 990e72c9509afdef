"""What was asked of ``lsbench inspect``."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from lsbench.spec import Frozen, RunSpec

DEFAULT_LIMIT = 5
"""Documents of each task."""
DEFAULT_NEW_TOKENS = 48


class InspectSpec(Frozen):
    """Either prompts or tasks, and the model."""

    run: RunSpec
    """Model, tasks, limits and seed; it names no strategy."""
    prompts: tuple[str, ...] = ()
    """Texts to continue, where no task was named."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.prompts) == bool(self.run.tasks):
            raise ValueError("give either prompts or tasks")
        return self
