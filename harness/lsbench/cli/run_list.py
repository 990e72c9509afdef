"""``lsbench ls runs``: every run and search with what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lsbench.store.overview import StrategyOutcome, folder_bytes, strategy_outcomes

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Listed:
    """One run or search."""

    kind: Literal["run", "search"]
    id: str
    path: Path
    created: datetime | None
    status: str
    model: str | None
    tasks: tuple[str, ...]
    strategies: tuple[StrategyOutcome, ...]
    """Of a search, what it searched; its best, where it found one."""
    bytes: int


def listed(output: str) -> list[Listed]:
    """All that lies in a folder, oldest first.

    Raises:
        BadInput: the folder cannot be read.
    """
    from lsbench.store.listing import list_runs
    from lsbench.tuning.listing import best_of, list_tunes

    found = [
        Listed(
            "run", run.run_id, run.path, run.created, run.status, run.model, run.tasks,
            strategy_outcomes(run.path, run.strategies), folder_bytes(run.path),
        )
        for run in list_runs(output)
    ]  # fmt: skip
    found += [
        Listed(
            "search", tune.tune_id, tune.path, tune.created, tune.status, tune.model, tune.tasks,
            (best_of(tune),), folder_bytes(tune.path),
        )
        for tune in list_tunes(output)
    ]  # fmt: skip
    return sorted(found, key=lambda each: (each.created.timestamp() if each.created else 0.0, each.id))


def as_json(runs: list[Listed]) -> str:
    """An array of objects; times are ISO 8601, sizes bytes."""
    return json.dumps([_fields(run) for run in runs], indent=2)


def show(console: Console, runs: list[Listed]) -> None:
    """A few lines each, the newest last: where a terminal ends up."""
    from rich.table import Table
    from rich.text import Text

    from lsbench.report import figures

    for run in runs:
        about = (
            f"{run.created:%Y-%m-%d %H:%M}" if run.created else "",
            f"search, {run.status}" if run.kind == "search" else run.status.replace("_", " "),
            run.model or "",
            ", ".join(run.tasks),
            figures.size(run.bytes),
        )
        console.print(Text(run.id, "bold"), soft_wrap=True)
        console.print(Text("  " + " · ".join(filter(None, about))), soft_wrap=True)
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(overflow="fold")  # gives way on a narrow terminal
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        for outcome in run.strategies:
            said = outcome.verdict or ("too few prompts to tell" if outcome.speedup is not None else "")
            table.add_row("  ", Text(outcome.label), figures.ratio(outcome.speedup, outcome.ci95), said)
        console.print(table)


def _fields(run: Listed) -> dict[str, Any]:
    fields = asdict(run)
    return {
        **fields,
        "path": str(run.path),
        "created": run.created.isoformat() if run.created else None,
        "strategies": [asdict(outcome) for outcome in run.strategies],
    }
