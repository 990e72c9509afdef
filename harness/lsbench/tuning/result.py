"""``outcome.json``: what a search came to, all figures worked out; its report is made from this and the
trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydantic_core
from pydantic import Field, ValidationError

from lsbench.errors import BadInput, DamagedResults
from lsbench.metrics import Interval, Measured, TaskScores
from lsbench.spec import Frozen
from lsbench.store.atomic import write_atomically
from lsbench.store.manifest import first_problem
from lsbench.tuning.outcome import Outcome
from lsbench.tuning.payback import payback_interval, payback_words, tokens_to_pay_back
from lsbench.tuning.trials import Trial

SCHEMA = 1
OUTCOME = "outcome.json"
BEST = "best.yaml"
MIN_PAIRS = 3
"""With fewer, a correlation says nothing."""


class Agreement(Frozen):
    """How well predictions foretold what was timed, over settings that were both predicted and timed."""

    pairs: int = Field(ge=MIN_PAIRS)
    rank_correlation: float | None
    """Spearman's, -1 to 1; None where all of one kind came out alike."""
    correlation: float | None
    """Pearson's, likewise."""
    median_error: float
    """Of predicted over measured speedup, less 1, without its sign."""


class OptionShares(Frozen):
    """What the options decided (``importance.Importance``)."""

    shares: dict[str, float]
    """By option, 0 to 1, the largest first."""
    explained: float
    """1 where unseen trials are foretold from their options, 0 where the shares mean nothing."""
    trials: int


class Payback(Frozen):
    """After how many generated tokens the search has paid for itself; None is never."""

    tokens: int | None
    fewest: int | None
    most: int | None
    """At the ends of the speedup's interval."""
    words: str


class FinalScores(Frozen):
    """What the tasks say of the texts that were timed on the final documents."""

    baseline: dict[str, dict[str, Measured]]
    """By task and metric."""
    strategies: dict[str, dict[str, TaskScores]]
    """By label and task, against the baseline."""


class TuneResult(Frozen):
    """The result of a search. A value that does not apply is None."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    tune_id: str
    words: str
    """The verdict, in one sentence."""
    beats_baseline: bool
    reasons: tuple[str, ...] = ()
    """One sentence on each finalist."""
    best: Trial | None = None
    default: Trial | None = None
    """The strategy as it is without a search, timed on the final documents."""
    over_default: Interval | None = None
    """95 % interval of the best one's speed over the default's."""
    swing: float | None = None
    """How far the machine's own speed went up and down, relative."""
    search_s: float = Field(ge=0)
    baseline_seconds_per_token: float | None = None
    payback: Payback | None = None
    agreement: Agreement | None = None
    importance: OptionShares | None = None
    calibration: str | None = None
    """What came of ``--risk``, in words."""
    scores: FinalScores | None = None
    """What the tasks say of the finalists' texts; None where they cannot be scored, and in older folders."""


def make_result(
    tune_id: str,
    outcome: Outcome,
    trials: Sequence[Trial],
    search_s: float,
    baseline_seconds_per_token: float | None = None,
    *,
    over_default: Interval | None = None,
    swing: float | None = None,
    importance: OptionShares | None = None,
    calibration: str | None = None,
    scores: FinalScores | None = None,
) -> TuneResult:
    """Work out what follows from what was decided and timed.

    Args:
        tune_id: of the search.
        outcome: what it concludes.
        trials: all of them.
        search_s: seconds that it took, loading and judging included.
        baseline_seconds_per_token: on the final documents.
        over_default: interval of the best one's speed over the default's.
        swing: of the machine's own speed meanwhile.
        importance: what the options decided.
        calibration: what came of calibrating a threshold, in words.
        scores: what the tasks say of the finalists' texts.
    """
    finals = [trial for trial in trials if trial.kind == "timed" and trial.documents == "final"]
    return TuneResult(
        tune_id=tune_id,
        words=outcome.words,
        beats_baseline=outcome.beats_baseline,
        reasons=outcome.reasons,
        best=outcome.best,
        default=next((trial for trial in finals if trial.origin == "default"), None),
        over_default=over_default,
        swing=swing,
        search_s=search_s,
        baseline_seconds_per_token=baseline_seconds_per_token,
        payback=_payback(outcome, search_s, baseline_seconds_per_token),
        agreement=agreement_of(trials),
        importance=importance,
        calibration=calibration,
        scores=scores,
    )


def agreement_of(trials: Sequence[Trial]) -> Agreement | None:
    """How well predictions foretold what was timed for tuning; None for fewer than ``MIN_PAIRS`` settings.

    A timed trial that carries its prediction is a pair by itself; another is paired by its label.
    """
    foretold = {trial.label: trial.predicted_speedup for trial in trials if trial.kind == "predicted"}
    pairs: list[tuple[float, float]] = []
    for trial in trials:
        if trial.kind != "timed" or trial.documents != "tuning" or trial.status != "ok":
            continue
        predicted = trial.predicted_speedup
        predicted = foretold.get(trial.label) if predicted is None else predicted
        if predicted is not None and trial.speedup:
            pairs.append((predicted, trial.speedup))
    if len(pairs) < MIN_PAIRS:
        return None
    predicted, measured = np.asarray(pairs, dtype=np.float64).T
    return Agreement(
        pairs=len(pairs),
        rank_correlation=_correlation(_ranks(predicted), _ranks(measured)),
        correlation=_correlation(predicted, measured),
        median_error=float(np.median(np.abs(predicted / measured - 1))),
    )


def write_result(folder: Path, result: TuneResult) -> None:
    """Put it in the search's folder.

    Raises:
        OSError: the folder cannot be written to.
    """
    text = pydantic_core.to_json(result.model_dump(by_alias=True), indent=2, inf_nan_mode="strings").decode()
    write_atomically(folder / OUTCOME, text + "\n")


def read_result(folder: Path) -> TuneResult | None:
    """Read it from a search's folder; None where the search has not come that far.

    Raises:
        BadInput: it is of another schema.
        DamagedResults: it is not what ``write_result`` writes.
    """
    path = folder / OUTCOME
    try:
        result = TuneResult.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedResults(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValidationError as error:
        raise DamagedResults(f"{path} is damaged: {first_problem(error)}.") from error
    if result.schema_ != SCHEMA:
        raise BadInput(f"{path} has schema {result.schema_}, this lsbench reads {SCHEMA}; update lsbench.")
    return result


def _payback(outcome: Outcome, search_s: float, before_s: float | None) -> Payback | None:
    """Of what may be claimed alone: without a winner nothing is saved for certain."""
    best = outcome.best
    if before_s is None or best is None or best.speedup is None:
        return None
    if not outcome.beats_baseline:
        return Payback(tokens=None, fewest=None, most=None, words=payback_words(None, before_s))
    tokens = tokens_to_pay_back(search_s, before_s, before_s / best.speedup)
    ends = (tokens, tokens)
    if best.speedup_ci95 is not None:
        ends = payback_interval(search_s, before_s, best.speedup_ci95)
    return Payback(tokens=tokens, fewest=ends[0], most=ends[1], words=payback_words(tokens, before_s))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, the mean rank where values are alike."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2)[places]


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])
