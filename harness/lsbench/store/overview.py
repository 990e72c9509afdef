"""What a listing tells of each run and search beyond its manifest, read without checking it all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsbench.store.run_folder import METRICS


@dataclass(frozen=True)
class StrategyOutcome:
    """How fast one strategy was; None where a run has not come that far, or its metrics cannot be read."""

    label: str
    speedup: float | None = None
    ci95: tuple[float, float] | None = None
    verdict: str | None = None


def strategy_outcomes(folder: Path, labels: Sequence[str]) -> tuple[StrategyOutcome, ...]:
    """The speedups of a run's strategies, in the order they were asked for.

    ``metrics.json`` is not held to its schema here: hundreds of runs are listed in a second, and one that is
    damaged is told of by whatever reads it in earnest.

    Args:
        folder: the run's.
        labels: as its manifest has them.
    """
    found = _speedups(folder / METRICS)
    return tuple(found.get(label, StrategyOutcome(label)) for label in labels)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder and the folders in it; what vanishes meanwhile is not counted."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total


def _speedups(path: Path) -> dict[str, StrategyOutcome]:
    try:
        strategies: list[dict[str, Any]] = json.loads(path.read_bytes())["strategies"]
        return {each["label"]: _outcome(each) for each in strategies}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _outcome(strategy: dict[str, Any]) -> StrategyOutcome:
    speedup = (strategy["speed"] or {}).get("speedup")
    if speedup is None:
        return StrategyOutcome(strategy["label"])
    interval = speedup["ci95"]
    return StrategyOutcome(
        strategy["label"],
        float(speedup["value"]),
        None if interval is None else (float(interval[0]), float(interval[1])),
        None if interval is None else speedup["verdict"],
    )
