"""A grid over two options, and its figures as comma-separated values."""

from __future__ import annotations

import csv
import io
from typing import TypeVar

from lsbench.report.tune_folder import StoredTune, best_first, speed_of
from lsbench.report.tune_maps import Grid

Value = TypeVar("Value")
_GIVEN_OR_NOT = "?"
"""Ends the key of a coordinate that says only whether an option is given."""
_COLUMNS = (
    "kind", "status", "speedup", "speedup_low", "speedup_high", "predicted_speedup", "quality",
    "quality_bound", "acceptance", "mean_layers", "seconds",
)  # fmt: skip


def grid_of(tune: StoredTune) -> Grid | None:
    """The speedups of a grid over two options; None for another search.

    All are measured or all predicted, whichever there are more of: a map of both would show their difference.
    """
    options = _two_options(tune)
    if options is None:
        return None
    x, y = options
    timed = best_first([trial for trial in tune.tuning if trial.kind == "timed"])
    predicted = best_first([trial for trial in tune.tuning if trial.kind == "predicted"])
    chosen = timed if len(timed) >= len(predicted) else predicted
    if not chosen:
        return None
    columns, rows = (_ordered({trial.point[key] for trial in chosen}) for key in (x, y))
    found = {(trial.point[y], trial.point[x]): speed_of(trial) for trial in reversed(chosen)}
    values = tuple(tuple(found.get((row, column)) for column in columns) for row in rows)
    return Grid(_name(x), _name(y), columns, rows, values, measured=chosen is timed)


def grid_csv(tune: StoredTune) -> str | None:
    """Every trial of a grid over two options; None for another search."""
    options = _two_options(tune)
    if options is None:
        return None
    x, y = options
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_name(x), _name(y), *_COLUMNS])
    ordered = _ordered({trial.point[x] for trial in tune.tuning if x in trial.point})
    others = _ordered({trial.point[y] for trial in tune.tuning if y in trial.point})
    inside = [trial for trial in tune.tuning if x in trial.point and y in trial.point]
    for trial in sorted(
        inside, key=lambda t: (t.kind, ordered.index(t.point[x]), others.index(t.point[y]), t.number)
    ):
        low, high = trial.speedup_ci95 or (None, None)
        writer.writerow(
            [
                trial.point[x], trial.point[y], trial.kind, trial.status, trial.speedup, low, high,
                trial.predicted_speedup, trial.quality, trial.quality_bound, trial.acceptance,
                trial.mean_layers, trial.seconds,
            ]
        )  # fmt: skip
    return text.getvalue()


def _two_options(tune: StoredTune) -> tuple[str, str] | None:
    """The keys of the coordinates that a grid went through, where they are two."""
    if tune.manifest.spec.search != "grid":
        return None
    points = [trial.point for trial in tune.tuning if trial.point]
    keys = dict.fromkeys(key for point in points for key in point)
    varied = [key for key in keys if len({(type(v), v) for p in points if (v := p.get(key)) is not None}) > 1]
    if len(varied) != 2 or any(key.endswith(_GIVEN_OR_NOT) for key in varied):
        return None
    return varied[0], varied[1]


def _ordered(values: set[Value]) -> tuple[Value, ...]:
    """Numbers as they count up, anything else by how it is written, after them."""

    def place(value: object) -> tuple[bool, float, str]:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return (not number, float(value) if number else 0.0, str(value))  # type: ignore[arg-type]

    return tuple(sorted(values, key=place))


def _name(key: str) -> str:
    """The option of a coordinate; what follows @ says only whose it is."""
    return key.split("@")[0]
