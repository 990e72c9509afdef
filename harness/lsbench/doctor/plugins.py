"""The strategies that are registered here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from lsbench.doctor.finding import Finding

_NEEDED = ("autoregressive", "dynamic_skip")
"""What `make run` runs."""


def strategies() -> Iterator[Finding]:
    """Every package's strategies, and each that cannot be used with the reason."""
    from lsbench.strategy.registry import list_strategies

    entries = list_strategies()
    usable = sorted((entry.distribution, entry.name) for entry in entries if entry.strategy is not None)
    for distribution, found in groupby(usable, key=lambda pair: pair[0]):
        yield Finding("strategies", "ok", f"{', '.join(name for _, name in found)} ({distribution})")
    for entry in entries:
        if entry.strategy is None:
            yield Finding(
                "strategies",
                "missing" if entry.name in _NEEDED else "limited",
                f"{entry.name} ({entry.distribution}) cannot be used: {entry.error}",
                "install it again, or remove it",
            )
    absent = [name for name in _NEEDED if name not in {entry.name for entry in entries}]
    if absent:
        yield Finding(
            "strategies",
            "missing",
            f"{', '.join(absent)} not registered",
            "install lsbench again: pip install -e .",
        )
