"""What a process needs to know to run requests: said once by who drives the run, read by every rank."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from lsbench.errors import CannotRun
from lsbench.execution.worker import Contender, Worker
from lsbench.spec import Frozen, RunSpec, StrategyChoice
from lsbench.strategy.registry import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack
    from lsbench.store.manifest import ModelFacts


_OF_THE_HOST = "LSBENCH_CACHE"


class Setup(Frozen):
    """The model, who decodes with it, and how much at once; it crosses processes and hosts."""

    model: str
    """As the user named it: how a host without the driver's folder finds it."""
    revision: str | None = None
    path: str
    """The transformers folder that the driver reads."""
    sha256: str
    """Of the weights there."""
    dtype: str
    """Resolved; a torch dtype by name, or ``int8wo``."""
    device: str
    """Resolved: ``cpu`` or ``cuda``."""
    threads: int | None = None
    """Of torch's CPU operators in one rank; None leaves torch's own choice."""
    baseline: StrategyChoice
    others: tuple[StrategyChoice, ...]
    segment: int = 0
    batch_size: int = 1
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables of lsbench's own that choose how things are computed."""

    @classmethod
    def of(
        cls,
        spec: RunSpec,
        choices: Sequence[StrategyChoice],
        model: ModelFacts,
        device: str,
        threads: int | None,
        segment: int,
    ) -> Setup:
        """What a run's own process found out.

        Args:
            spec: what was asked.
            choices: the baseline, then the others.
            model: as it was found, in the dtype that it is run in.
            device: resolved.
            threads: of each rank.
            segment: which process of the run this is.
        """
        return cls(
            model=spec.model,
            revision=spec.revision,
            path=str(Path(model.path or "").absolute()),
            sha256=model.sha256,
            dtype=model.dtype,
            device=device,
            threads=threads,
            baseline=choices[0],
            others=tuple(choices[1:]),
            segment=segment,
            batch_size=spec.batch_size,
            environment={name: os.environ[name] for name in sorted(os.environ) if _chooses(name)},
        )

    @property
    def choices(self) -> tuple[StrategyChoice, ...]:
        """The baseline, then the others in the order they were asked for."""
        return (self.baseline, *self.others)

    def without(self, labels: Collection[str]) -> Setup:
        """The same, some strategies left out."""
        return self.model_copy(
            update={"others": tuple(choice for choice in self.others if choice.label not in labels)}
        )

    def contenders(self) -> tuple[Contender, ...]:
        """Those choices, found by the entry points of this process.

        Raises:
            BadInput: a strategy is not installed here, or is of another version.
        """
        return tuple(Contender(choice, resolve(choice)) for choice in self.choices)

    def worker(
        self,
        stack: DecoderStack,
        tokenizer: PreTrainedTokenizerBase,
        contenders: tuple[Contender, ...],
        replica: int = 0,
    ) -> Worker:
        """Who runs requests with this stack; ``Worker`` says what the arguments are."""
        first, *rest = contenders
        return Worker(stack, tokenizer, first, rest, self.segment, self.batch_size, replica)

    @property
    def folder(self) -> Path:
        """Where the driver reads the model."""
        return Path(self.path)

    def set_environment(self) -> None:
        """Choose as the driver's process does; this process's own choices are forgotten."""
        for name in filter(_chooses, list(os.environ)):
            del os.environ[name]
        os.environ.update(self.environment)


def _chooses(name: str) -> bool:
    return name.startswith("LSBENCH_") and name != _OF_THE_HOST


def check_left(labels: Collection[str], unavailable: Mapping[str, str]) -> None:
    """Refuse a run of which nothing is left but the baseline.

    Args:
        labels: of those beside it.
        unavailable: by label, why it cannot run.

    Raises:
        CannotRun: none of those that were asked for can.
    """
    if unavailable and unavailable.keys() >= set(labels):
        raise CannotRun(
            "Nothing is left to compare with the baseline. "
            + " ".join(f"{label} cannot run here: {_sentence(why)}" for label, why in unavailable.items())
        )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
