"""A search in figures that a script reads: ``lsbench tune --json``."""

from __future__ import annotations

from typing import Any

from lsbench.report.tune_folder import StoredTune, best_first
from lsbench.report.tune_words import verdict
from lsbench.tuning.result import BEST
from lsbench.tuning.trials import Trial

SCHEMA = 1


def tune_summary(tune: StoredTune) -> dict[str, Any]:
    """What ``--json`` prints. A value that does not apply is None; keys are never missing.

    ``best`` and ``default`` are as timed on the final documents; ``best_so_far``, of a search that has not
    ended, is of what it tried.
    """
    manifest, result = tune.manifest, tune.result
    so_far = best_first(tune.tuning)
    best_file = tune.folder / BEST
    return {
        "schema": SCHEMA,
        "tune_id": manifest.tune_id,
        "folder": str(tune.folder),
        "status": manifest.status,
        "verdict": verdict(tune)[0],
        "words": None if result is None else result.words,
        "beats_baseline": None if result is None else result.beats_baseline,
        "config": str(best_file) if best_file.exists() else None,
        "best": _trial(None if result is None else result.best),
        "best_so_far": _trial(so_far[0] if so_far and result is None else None),
        "default": _trial(None if result is None else result.default),
        "search": {
            "seconds": max(manifest.search_s, 0.0 if result is None else result.search_s),
            **{
                kind: _cost([trial for trial in tune.tuning if trial.kind == kind])
                for kind in ("predicted", "timed")
            },
            "final": _cost(tune.final),
        },
        "payback": _plain(None if result is None else result.payback),
        "agreement": _plain(None if result is None else result.agreement),
        "importance": _plain(None if result is None else result.importance),
        "calibration": None if result is None else result.calibration,
        "scores": _plain(None if result is None else result.scores),
    }


def _trial(trial: Trial | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    kept = {
        "kind", "documents", "number", "strategy", "options", "label", "predicted_speedup", "speedup",
        "speedup_ci95", "tpot_ratio", "quality", "quality_name", "quality_bound", "acceptance", "mean_layers",
        "prompts",
    }  # fmt: skip
    return trial.model_dump(mode="json", include=kept)


def _cost(trials: list[Trial]) -> dict[str, Any]:
    return {
        "trials": len(trials),
        "failed": sum(trial.status != "ok" for trial in trials),
        "seconds": sum(trial.seconds for trial in trials),
    }


def _plain(value: Any) -> Any:
    return None if value is None else value.model_dump(mode="json")
