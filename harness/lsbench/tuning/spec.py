"""What was asked of ``lsbench tune``: fully resolved, as its manifest records it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from lsbench.errors import BadInput
from lsbench.spec import Frozen, RunSpec, StrategyChoice


class TuneSpec(Frozen):
    """One ``lsbench tune``."""

    run: RunSpec
    """Model, tasks, sampling and machine of every trial; its one strategy holds the options that are fixed.
    ``limit`` is how many documents of each task a trial runs."""
    trials: Annotated[int, Field(ge=1)] = 50
    time_budget_s: Annotated[float, Field(gt=0)] | None = None
    """None lets the number of trials end the search."""
    objective: Literal["speedup", "tpot"] = "speedup"
    """``speedup`` is made large, ``tpot`` (seconds per token) small."""
    min_quality: Annotated[float, Field(ge=0, le=1)] | None = None
    """The floor that the lower bound of a winner's quality must reach."""
    quality: Annotated[str, Field(min_length=1)] = "agreement"
    """What the floor is of: agreement with the full model, token by token, or a metric of the tasks, as a
    share of what the baseline scores."""
    search: Literal["hyperopt", "random", "grid"] = "hyperopt"
    space: dict[str, JsonValue] = Field(default_factory=dict)
    """Where to look, by option, as ``narrowing.read_mapping`` takes it; empty is where the strategy says."""
    grid_points: Annotated[int, Field(ge=1)] = 5
    """Values of each range of numbers in a grid."""
    skip_sets: Literal["choices", "ladder", "off"] = "off"
    """How skip sets are searched, where the strategy takes one."""
    concurrency: Annotated[int, Field(ge=1)] | None = None
    """Trials at once; None is one on each device."""
    timed: Annotated[int, Field(ge=1)] = 5
    """How many of the settings that are predicted to be best are timed, where settings can be predicted."""
    trial_timeout_s: Annotated[float, Field(gt=0)] | None = None
    final_limit: Annotated[int, Field(ge=1)] | None = None
    """Documents of each task to judge on; None is all that the search does not see."""
    risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The loss that a calibrated threshold is held to; None calibrates none."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The chance that calibrating may be wrong."""
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_strategy(self) -> Self:
        if len(self.run.strategies) != 1:
            raise ValueError("a search is of one strategy")
        return self

    @property
    def strategy(self) -> StrategyChoice:
        """What is tuned, with the options that are fixed."""
        return self.run.strategies[0]

    def with_fixed(self, fixed: dict[str, JsonValue]) -> StrategyChoice:
        """The strategy with more options fixed.

        Raises:
            BadInput: one is given to the strategy and fixed to something else.
        """
        own = self.strategy.options
        for name, value in fixed.items():
            if name in own and own[name] != value:
                raise BadInput(f"Option {name!r} is given as {own[name]} and fixed to {value}; give it once")
        return StrategyChoice(name=self.strategy.name, options={**own, **fixed})
