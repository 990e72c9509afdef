"""What a search's folder holds, read once for all that is shown of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lsbench.spec import StrategyChoice
from lsbench.tuning.pareto import front, trial_front
from lsbench.tuning.result import TuneResult, read_result
from lsbench.tuning.trials import TRIALS, Trial, TrialsFile, TuneManifest, read_manifest

_OPTION_OF_KEY = re.compile(r"[@?:]")
"""What may follow an option's name in a coordinate's key: whose it is, whether it is given, a part of it."""


@dataclass(frozen=True)
class StoredTune:
    """A search.

    Attributes:
        folder: where it is.
        manifest: what was asked.
        trials: every finished one, in the order in which they finished.
        result: None while the search has not concluded.
    """

    folder: Path
    manifest: TuneManifest
    trials: tuple[Trial, ...]
    result: TuneResult | None

    @classmethod
    def open(cls, folder: Path) -> StoredTune:
        """Read a folder.

        Raises:
            BadInput: it is no folder of a search.
            DamagedResults: a file in it cannot be trusted.
        """
        manifest = read_manifest(folder)
        return cls(folder, manifest, TrialsFile(folder / TRIALS).read().trials, read_result(folder))

    @property
    def reference(self) -> str:
        """How a command names it: its id where results usually are, its path elsewhere."""
        return self.folder.name if self.folder.parent == Path("results") else str(self.folder)

    @property
    def tuning(self) -> list[Trial]:
        """What the search tried."""
        return [trial for trial in self.trials if trial.documents == "tuning"]

    @property
    def final(self) -> list[Trial]:
        """What was timed on documents that the search never saw."""
        return [trial for trial in self.trials if trial.documents == "final"]


def speed_of(trial: Trial) -> float | None:
    """Measured where it was timed, else predicted; None for one that failed."""
    if trial.status != "ok":
        return None
    return trial.predicted_speedup if trial.speedup is None else trial.speedup


def best_first(trials: list[Trial]) -> list[Trial]:
    """Those that went well, by what the searcher was told of them where it was told of all, else by speed."""
    known = [trial for trial in trials if speed_of(trial) is not None]
    told = all(trial.objective is not None for trial in known)

    def worth(trial: Trial) -> float:
        value = trial.objective if told else speed_of(trial)
        assert value is not None
        return -value

    return sorted(known, key=worth)


def speed_front(trials: list[Trial]) -> tuple[list[Trial], bool]:
    """The front of speed against quality, fastest first, and whether its speeds were measured.

    Predictions count only where nothing was timed: both together would compare guesses with facts.
    """
    measured = trial_front(trials)
    if measured:
        return measured, True
    placed = [
        (trial, (trial.predicted_speedup, trial.quality))
        for trial in trials
        if trial.status == "ok" and trial.predicted_speedup is not None and trial.quality is not None
    ]
    return [placed[place][0] for place in front([point for _, point in placed])], False


def option_text(trial: Trial) -> str:
    """Its options as ``--strategy`` takes them, less what the search was told to fix; ``as it is`` for none.

    A coordinate's key begins with the option that it decides, so that a point tells what was searched. The
    default may lie outside the space; then all is told.
    """
    searched = {_OPTION_OF_KEY.split(key)[0] for key in trial.point}
    options = {name: value for name, value in trial.options.items() if name in searched or not searched}
    return StrategyChoice(name="", options=options).label.removeprefix(":") or "as it is"
