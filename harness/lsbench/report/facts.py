"""What a report says about the run itself: asked for what, on which machine, with which versions."""

from __future__ import annotations

from dataclasses import dataclass

Named = tuple[tuple[str, str], ...]
"""Names with their values, in the order they are shown."""


@dataclass(frozen=True)
class RunFacts:
    """The part of a manifest that reports show, already as text."""

    started: str | None = None
    """When the run began, as ISO 8601 text."""
    settings: Named = ()
    """What was asked: tasks, limit, seed, threads, ..."""
    machine: Named = ()
    """What it ran on."""
    versions: Named = ()
    """Packages that could change the figures."""
    notes: tuple[str, ...] = ()
    """What the run itself noted, besides ``Metrics.notes``."""
    manifest: str = ""
    """The whole manifest as indented JSON, for whoever wants to run it again."""
