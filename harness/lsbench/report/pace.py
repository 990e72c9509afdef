"""How far a run has come and when it will end: what the progress view shows, without showing it."""

from __future__ import annotations

from dataclasses import dataclass, field

from lsbench.report import figures
from lsbench.report.plain import one_line


@dataclass
class StrategyPace:
    """What is known of one strategy so far."""

    done: int = 0
    failed: int = 0
    tokens_per_second: float | None = None
    """Of its latest request that generated."""
    layers: float | None = None
    """Layers per token of its latest request that can tell."""
    speedup: float | None = None
    """Over everything timed so far; no verdict, only a direction."""


@dataclass
class ReplicaPace:
    """What one copy of the model is doing."""

    state: str
    ranks: int
    sample: str = ""
    """The request in hand; empty for none."""
    tokens_per_second: float | None = None
    """Of its latest request that generated."""


_AT_WORK = frozenset({"idle", "running"})


def remarkable(before: str | None, now: str) -> bool:
    """Whether a copy of the model that goes from one state to another is news."""
    return before != now and not {before, now} <= _AT_WORK


@dataclass
class Preparing:
    """What is going on besides what is counted: downloading, loading, warming up."""

    stage: str = ""
    """Empty while something is counted."""
    stage_done: int = 0
    stage_total: int | None = None


@dataclass
class RunPace(Preparing):
    """Counts and times of a run in progress."""

    total: int | None = None
    """Requests of the whole run, over all strategies; None before they are known."""
    done: int = 0
    already: int = 0
    """Of ``done``, what an earlier process of this run had finished."""
    started_at: float = 0.0
    """Seconds on the view's clock when the first request of this process could begin."""
    latest: str = ""
    strategies: dict[str, StrategyPace] = field(default_factory=dict)
    replicas: dict[int, ReplicaPace] = field(default_factory=dict)
    """By their number."""

    @property
    def distributed(self) -> bool:
        """Whether more than one process runs the model."""
        return sum(replica.ranks for replica in self.replicas.values()) > 1

    def remaining_s(self, now: float) -> float | None:
        """Seconds left at this process's pace; None before its first request is done."""
        here = self.done - self.already
        if self.total is None or here <= 0:
            return None
        return max(0.0, (now - self.started_at) / here * (self.total - self.done))

    def headline(self, now: float) -> str:
        """One line: how far, and how long still."""
        if self.total is None or self.stage:
            return self._preparing()
        share = figures.share(self.done / self.total) if self.total else "100%"
        remaining = self.remaining_s(now)
        if self.done >= self.total:
            left = f"in {figures.duration(now - self.started_at)}"
        else:
            left = "time left not known yet" if remaining is None else f"{figures.duration(remaining)} left"
        return f"request {self.done} of {self.total} ({share}), {left}"

    def standings(self) -> str:
        """Each strategy's running speedup and depth on one line; empty before there are any."""
        parts = []
        for label, pace in self.strategies.items():
            if pace.speedup is None:
                continue
            depth = "" if pace.layers is None else f", {figures.significant(pace.layers)} layers per token"
            parts.append(f"{one_line(label)} {figures.ratio(pace.speedup)} so far{depth}")
        return "; ".join(parts)

    def strength(self) -> str:
        """How many copies of the model are at work; empty where there is one process."""
        if not self.distributed:
            return ""
        at_work = sum(replica.state in _AT_WORK for replica in self.replicas.values())
        others = ", ".join(
            f"replica {index} {one_line(replica.state)}"
            for index, replica in sorted(self.replicas.items())
            if replica.state not in _AT_WORK
        )
        return f"{at_work} of {len(self.replicas)} replicas at work" + (f" ({others})" if others else "")

    def _preparing(self) -> str:
        if not self.stage_total:
            return self.stage
        return f"{self.stage}: {figures.share(min(1.0, self.stage_done / self.stage_total))}"
