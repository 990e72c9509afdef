"""How far a search has come and when it will end: what its progress view shows, without showing it."""

from __future__ import annotations

from dataclasses import dataclass, field

from lsbench.report import figures
from lsbench.report.pace import Preparing
from lsbench.report.plain import one_line
from lsbench.report.tune_folder import option_text, speed_front
from lsbench.report.tune_words import speed_text
from lsbench.tuning.trials import Trial, TrialKey

_PHASES = {
    ("predicted", "tuning"): "predicting",
    ("timed", "tuning"): "timing",
    ("timed", "final"): "judging on prompts that the search never saw",
}


@dataclass
class TunePace(Preparing):
    """Counts, times and what was found of a search in progress."""

    kind: str = "predicted"
    documents: str = "tuning"
    total: int | None = None
    """Trials of this phase at most; None where that is not known."""
    phase_at: float = 0.0
    """Seconds on the view's clock when its first trial here could begin."""
    phase_already: int = 0
    """How many of its trials earlier processes had finished."""
    budget_s: float | None = None
    spent_s: float = 0.0
    began_at: float = 0.0
    trials: list[Trial] = field(default_factory=list)
    running: dict[TrialKey, str] = field(default_factory=dict)
    """Labels of what is being tried."""
    best: Trial | None = None
    words: str = ""
    """The result, once there is one."""

    @property
    def done(self) -> int:
        """Finished trials of this phase."""
        return sum(trial.kind == self.kind and trial.documents == self.documents for trial in self.trials)

    def consider(self, trial: Trial) -> None:
        """Take a finished trial for the best so far, where it is: what was timed goes before predictions."""
        if trial.documents != "tuning" or trial.status != "ok" or trial.objective is None:
            return
        best = self.best
        if best is None or best.objective is None:
            self.best = trial
        elif trial.kind == best.kind and trial.objective <= best.objective:
            return
        elif (best.kind, trial.kind) != ("timed", "predicted"):
            self.best = trial

    def budget_left_s(self, now: float) -> float | None:
        """Of the time budget; None where there is none."""
        return (
            None if self.budget_s is None else max(0.0, self.budget_s - self.spent_s - (now - self.began_at))
        )

    def remaining_s(self, now: float) -> float | None:
        """Until this phase ends, at the pace of its trials here, or by the time budget if that ends first."""
        here, pace = self.done - self.phase_already, None
        if self.total is not None and here > 0:
            pace = max(0.0, (now - self.phase_at) / here * (self.total - self.done))
        budget = self.budget_left_s(now) if self.documents == "tuning" else None
        known = [seconds for seconds in (pace, budget) if seconds is not None]
        return min(known, default=None)

    def headline(self, now: float) -> str:
        """One line: what is being done, how far it is, and how long still."""
        if self.words:
            return self.words
        if self.stage:
            if not self.stage_total:
                return self.stage
            return f"{self.stage}: {figures.share(min(1.0, self.stage_done / self.stage_total))}"
        if self.total is None and not self.trials and not self.running:
            return ""
        of = "" if self.total is None else f" of {self.total}"
        remaining = self.remaining_s(now)
        left = "time left not known yet" if remaining is None else f"{figures.duration(remaining)} left"
        phase = _PHASES.get((self.kind, self.documents), self.kind)
        return f"{phase}: trial {self.done}{of}, {left}"

    def best_line(self) -> str:
        """The best so far; empty before there is one."""
        if self.best is None:
            return ""
        return f"best so far {speed_text(self.best)}{_quality(self.best)}: {one_line(option_text(self.best))}"

    def trial_line(self, trial: Trial) -> str:
        """What came of one, and the best so far."""
        kind = "final" if trial.documents == "final" else trial.kind
        line = f"{kind} trial {trial.number}: {outcome_text(trial)}; {one_line(option_text(trial))}"
        if self.best is None or trial.documents == "final":
            return line
        return f"{line} (best so far {speed_text(self.best)})"

    def front(self) -> tuple[list[Trial], bool]:
        """The front of speed against quality, and whether its speeds were measured."""
        return speed_front([trial for trial in self.trials if trial.documents == "tuning"])


def outcome_text(trial: Trial) -> str:
    """Speed and quality, or why there is none."""
    if trial.status != "ok":
        reason = f": {one_line(trial.reason)}" if trial.reason else ""
        return f"{trial.status.replace('_', ' ')}{reason}"
    return f"{speed_text(trial)}{_quality(trial)}"


def _quality(trial: Trial) -> str:
    if trial.quality is None:
        return ""
    name = one_line(trial.quality_name or "quality").replace("_", " ")
    return f", {name} {trial.quality:.3f}"
