"""Runs trials on benches: predicted where that can be done, timed otherwise; whatever happens is a trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lsbench.errors import BadInput
from lsbench.execution.cluster.bench import Bench, Late, Refused
from lsbench.execution.cluster.failure import Lost
from lsbench.spec import GenerateRequest, StrategyChoice
from lsbench.tuning import measuring, ranks
from lsbench.tuning.folder import TuneFolder
from lsbench.tuning.proposals import Proposal
from lsbench.tuning.quality import Assess, agreement
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.trials import Trial
from lsbench.tuning.view import TuneView

Kind = Literal["predicted", "timed"]
_WARM_UP = 1
"""Prompts of which a few tokens are run under a strategy before it is timed."""


class Stopped(Exception):
    """The search has ended, and a trial is still in hand."""


@dataclass
class Court:
    """What is needed to predict, and who is ready to.

    Attributes:
        prepare: has a bench made ready.
        ready: ``starts`` of the benches that are.
    """

    prepare: Callable[[Bench], object]
    ready: set[tuple[int, int]]


class Runner:
    """Tries settings, and keeps what came of each.

    Args:
        spec: what was asked.
        folder: that trials are kept in.
        requests: the tuning prompts.
        view: is told of every trial.
        court: None where nothing can be predicted.
        assess: the quality of what is timed.
    """

    def __init__(
        self,
        spec: TuneSpec,
        folder: TuneFolder,
        requests: Sequence[GenerateRequest],
        view: TuneView,
        court: Court | None = None,
        assess: Assess = agreement,
    ) -> None:
        self._spec, self._folder, self._requests, self._view = spec, folder, tuple(requests), view
        self.court, self._assess = court, assess
        self._best: dict[Kind, Trial] = {}
        self._stopped = False
        for trial in folder.trials:
            self._is_best(trial)

    def stop(self) -> None:
        """Keep nothing any more: what fails from now on fails because its replica is ended."""
        self._stopped = True

    def attempt(self, bench: Bench, proposal: Proposal) -> float:
        """Try one setting that the searcher proposed, the cheap way where there is one.

        Raises:
            LsbenchError: no replica can be started any more, or the disk is full.
        """
        trial = self._predicted(bench, proposal) if self.court is not None else None
        if trial is None:
            trial = self.timed(bench, proposal)
        assert trial is not None
        assert trial.objective is not None
        return trial.objective

    def timed(self, bench: Bench, proposal: Proposal, predicted_speedup: float | None = None) -> Trial | None:
        """Time one setting beside the baseline on the tuning prompts.

        Args:
            bench: where.
            proposal: the setting.
            predicted_speedup: of it, where it was among the best predicted.

        Raises:
            LsbenchError: as ``attempt``.
        """

        def measure() -> dict[str, Any]:
            return {**self._time(bench, proposal.choice), "predicted_speedup": predicted_speedup}

        if predicted_speedup is not None and proposal.origin != "default":
            proposal = replace(proposal, origin="prediction")
        return self._tried("timed", proposal, measure)

    def _predicted(self, bench: Bench, proposal: Proposal) -> Trial | None:
        found: list[ranks.Unjudged] = []

        def predict() -> dict[str, Any]:
            judged = self._judge(bench, proposal.choice)
            if isinstance(judged, ranks.Unjudged):
                found.append(judged)
                return {}
            return measuring.of_prediction(judged, self._spec.min_quality)

        return self._tried("predicted", proposal, predict, unless=found)

    def judge(self, bench: Bench, choice: StrategyChoice) -> ranks.Judged | ranks.Unjudged:
        """What a setting is predicted to be.

        Raises:
            Lost: the replica was.
            Refused: the strategy raised an error.
        """
        return self._judge(bench, choice)

    def _judge(self, bench: Bench, choice: StrategyChoice) -> ranks.Judged | ranks.Unjudged:
        assert self.court is not None
        if bench.starts not in self.court.ready:
            self.court.prepare(bench)
            self.court.ready.add(bench.starts)
        return bench.ask(ranks.judge, choice, within_s=self._spec.trial_timeout_s)

    def _time(self, bench: Bench, choice: StrategyChoice) -> dict[str, Any]:
        begun, limit = time.monotonic(), self._spec.trial_timeout_s
        bench.change([choice], self._requests[:_WARM_UP], within_s=limit)
        until = None if limit is None else begun + limit
        records = list(bench.run(self._requests, until))
        baseline, floor = self._spec.run.baseline, self._spec.min_quality
        return measuring.of_records(records, baseline, choice.label, floor, self._assess)

    def _tried(
        self,
        kind: Kind,
        proposal: Proposal,
        attempt: Callable[[], dict[str, Any]],
        unless: Sequence[object] = (),
    ) -> Trial | None:
        """Keep what came of an attempt, an error too; None where ``unless`` says that it was none."""
        self._view.trial_started(kind, "tuning", proposal.number, proposal.choice.label)
        begun = time.monotonic()
        try:
            fields = attempt()
        except Late as late:
            limit = self._spec.trial_timeout_s
            told = late.reason if limit is None else f"it took longer than {limit:g} seconds"
            fields = measuring.failed(told, "timed_out")
        except Lost as lost:
            fields = measuring.failed(lost.reason)
        except (BadInput, Refused) as error:
            fields = measuring.failed(str(error))
        if unless:
            return None
        if self._stopped:
            raise Stopped
        trial = self.trial(kind, proposal, time.monotonic() - begun, fields)
        self._folder.add(trial)
        # Either may be where the user's interruption is heard.
        better = self._is_best(trial)
        self._view.trial_done(trial)
        if better:
            self._view.best(trial)
        return trial

    def trial(self, kind: Kind, proposal: Proposal, seconds: float, fields: dict[str, Any]) -> Trial:
        """A row."""
        choice = proposal.choice
        return Trial(
            number=proposal.number,
            kind=kind,
            strategy=choice.name,
            options=choice.options,
            label=choice.label,
            point=proposal.point,
            origin=proposal.origin,
            seconds=seconds,
            seed=self._spec.seed,
            **fields,
        )

    def _is_best(self, trial: Trial) -> bool:
        """What was timed counts before what was predicted."""
        if trial.documents != "tuning" or trial.status != "ok" or trial.objective is None:
            return False
        best = self._best.get(trial.kind)
        if best is not None and best.objective is not None and best.objective >= trial.objective:
            return False
        self._best[trial.kind] = trial
        return trial.kind == "timed" or "timed" not in self._best

    @property
    def timed_any(self) -> bool:
        """Whether one was timed, and did not fail."""
        return "timed" in self._best

    @property
    def best(self) -> Trial | None:
        """The best of what was timed for tuning; of what was predicted where nothing was timed."""
        return self._best.get("timed", self._best.get("predicted"))
