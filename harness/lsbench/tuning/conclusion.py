"""What is left in the folder when a search has ended, or was stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lsbench.errors import LsbenchError
from lsbench.spec import RunSpec
from lsbench.tuning.importance import option_importance
from lsbench.tuning.outcome import NOTHING_GUARANTEED, Outcome, best_yaml, decide
from lsbench.tuning.proposing import proposed
from lsbench.tuning.result import BEST, FinalScores, OptionShares, TuneResult, make_result, write_result
from lsbench.tuning.spaces import Space

if TYPE_CHECKING:
    from lsbench.tuning.calibrating import Calibrated
    from lsbench.tuning.finals import Finals
    from lsbench.tuning.folder import TuneFolder
    from lsbench.tuning.quality import TaskJudge
    from lsbench.tuning.trials import Trial


def conclude(
    folder: TuneFolder,
    space: Space,
    finals: Finals | None,
    calibration: Calibrated | None,
    judge: TaskJudge,
) -> TuneResult:
    """Decide, and write ``outcome.json`` and ``best.yaml``.

    Args:
        folder: of the search, its seconds up to date.
        space: that was searched.
        finals: what the final documents say; None where nothing could be timed on them.
        calibration: what came of a guarantee that was asked for.
        judge: scores what the finalists wrote.
    """
    spec = folder.manifest.spec
    outcome = _decided(folder, finals, calibration)
    result = make_result(
        folder.tune_id,
        outcome,
        folder.trials,
        folder.manifest.search_s,
        finals.seconds_per_token if finals else None,
        over_default=finals.over_default if finals else None,
        swing=finals.swing if finals else None,
        importance=_importance(folder, space),
        calibration=calibration.words if calibration is not None else None,
        scores=_scores(folder, finals, judge),
    )
    write_result(folder.path, result)
    if outcome.best is not None:
        guarantee = [calibration.words] if calibration is not None else []
        folder.write(BEST, best_yaml(_plain(spec.run), outcome, folder.tune_id, *guarantee))
    return result


def keep_best_so_far(folder: TuneFolder, best: Trial | None) -> None:
    """Leave a ``best.yaml`` of a search that was stopped; none where nothing was found."""
    if best is None:
        return
    words = "The best so far of a search that was interrupted: not judged on prompts that it never saw."
    outcome = Outcome(best, False, words, ())
    folder.write(BEST, best_yaml(_plain(folder.manifest.spec.run), outcome, folder.tune_id))


def _decided(folder: TuneFolder, finals: Finals | None, calibration: Calibrated | None) -> Outcome:
    if finals is None:
        return decide(())
    held = calibration.choice.label if calibration is not None and calibration.choice is not None else None
    floor, swing = folder.manifest.spec.min_quality, finals.swing or 0.0
    outcome = decide(finals.trials, floor, swing, finals.over_default, guaranteed=held)
    if calibration is not None and held is None:
        return replace(outcome, beats_baseline=False, words=NOTHING_GUARANTEED)
    return outcome


def _scores(folder: TuneFolder, finals: Finals | None, judge: TaskJudge) -> FinalScores | None:
    timed = [trial.label for trial in finals.trials if trial.status == "ok"] if finals is not None else []
    if not timed:
        return None
    try:
        return judge.scores(folder.samples, timed)
    except LsbenchError as error:
        folder.note(f"The tasks themselves could not score what was written: {error}")
        return None


def _importance(folder: TuneFolder, space: Space) -> OptionShares | None:
    trials = [trial for trial in proposed(folder.trials) if trial.status == "ok" and trial.point]
    values = [trial.objective or 0.0 for trial in trials]
    found = option_importance(space, [trial.point for trial in trials], values, folder.manifest.spec.seed)
    if found is None:
        return None
    return OptionShares(shares=found.shares, explained=found.explained, trials=found.trials)


def _plain(run: RunSpec) -> RunSpec:
    """A run of what was found is one process, unless it was tuned for more."""
    return run.model_copy(update={"replicas": 1})
