"""What a search of some kind tries: who proposes, and what it begins with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lsbench.tuning.proposals import Origin, Proposals
from lsbench.tuning.searchers import Drawn, Grid, Searcher, TreeParzen
from lsbench.tuning.spaces import Space
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.trials import Trial

_STARTS = 4
_DRAWN = 6
"""Trials before the first that rests on what came of others, at most: of sixty, more would be lost to it
(tests/benchmarks/tpe_skip_set.py)."""
_ORIGINS: dict[str, Origin] = {"hyperopt": "searcher", "random": "random", "grid": "grid"}


def proposals_of(spec: TuneSpec, space: Space, earlier: Iterable[Trial] = ()) -> Proposals:
    """The default first; where the search learns, points that are known to be good; then the searcher's.

    Args:
        spec: what was asked.
        space: of its strategy.
        earlier: one trial of each number that earlier processes finished.
    """
    starts = space.starting_points(most=max(2, min(_STARTS, spec.trials // 5)))
    searcher: Searcher
    if spec.search == "hyperopt":
        searcher = TreeParzen(space, spec.seed, min(_DRAWN, max(len(starts) + 1, spec.trials // 3)))
    elif spec.search == "grid":
        searcher = Grid(space, spec.grid_points)
    else:
        searcher = Drawn(space, spec.seed)
    return Proposals(
        space,
        searcher,
        starts if spec.search == "hyperopt" else (),
        spec.trials,
        _ORIGINS[spec.search],
        space.default(),
        earlier,
    )


def proposed(trials: Sequence[Trial]) -> list[Trial]:
    """One trial of each number: what the searcher was told of it."""
    found: dict[int, Trial] = {}
    for trial in trials:
        if trial.documents == "tuning" and trial.origin != "prediction":
            found.setdefault(trial.number, trial)
    return [found[number] for number in sorted(found)]
