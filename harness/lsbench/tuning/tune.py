"""A search from its spec to its result: the one entry to this room, as ``pipeline.run`` is of a run.

spec -> requests -> split -> space -> trials (predicted, then timed) -> finals -> outcome -> best.yaml
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsbench.errors import EXIT_DONE, Interrupted, LsbenchError
from lsbench.spec import RunSpec, StrategyChoice
from lsbench.tuning.quality import AGREEMENT
from lsbench.tuning.result import TuneResult
from lsbench.tuning.spec import TuneSpec

if TYPE_CHECKING:
    from lsbench.execution.cluster.backend import ClusterBackend
    from lsbench.execution.cluster.bench import Bench
    from lsbench.execution.setup import Setup
    from lsbench.tuning.calibrating import Calibrated
    from lsbench.tuning.folder import TuneFolder
    from lsbench.tuning.proposals import Proposal, Proposals
    from lsbench.tuning.runner import Court, Runner
    from lsbench.tuning.trials import Trial
    from lsbench.tuning.view import TuneView

_SEARCH_SHARE = 0.65
"""Of a time budget: the rest is for timing the winner and the default."""
_PREDICTING_SHARE = 0.5
"""Of the search's share: the rest is for timing what is predicted to be best."""


@dataclass(frozen=True)
class TuneOutcome:
    """A finished search.

    Attributes:
        folder: where its results are.
        result: what it concludes.
        exit_code: 0.
    """

    folder: Path
    result: TuneResult
    exit_code: int


def tune(spec: TuneSpec, view: TuneView, resume: TuneFolder | None = None) -> TuneOutcome:
    """Search, and judge what was found on documents that the search never saw.

    Args:
        spec: what was asked.
        view: is told of progress.
        resume: the folder of a stopped search to go on with, held; ``spec`` is then its own.

    Raises:
        BadInput: anything that was asked wrongly, before weights are loaded where it can be known then.
        Interrupted: the user stopped it; what was found so far is kept, and the search can be resumed.
        LsbenchError: no replica of the model can be started, or the disk is full.
    """
    return _Tuning(spec, view, resume).run()


class _Tuning:
    """One search on its way."""

    def __init__(self, spec: TuneSpec, view: TuneView, resume: TuneFolder | None) -> None:
        self.spec, self.view = spec, view
        self.begun = time.monotonic()
        self.before_s = resume.manifest.search_s if resume is not None else 0.0
        self.resumed = resume
        self.runner: Runner | None = None

    def run(self) -> TuneOutcome:
        from lsbench.execution.cluster.backend import ClusterBackend
        from lsbench.execution.machine import devices, model_bytes
        from lsbench.execution.plan import place
        from lsbench.execution.setup import Setup
        from lsbench.tuning.checks import check_space
        from lsbench.tuning.folder import TuneFolder
        from lsbench.tuning.ground import check_same, find_ground, search_space

        spec, view, run = self.spec, self.view, self.spec.run
        check_space(spec)
        self.ground = ground = find_ground(spec, view, self.resumed)
        self.space = search_space(spec, ground.model.num_layers)
        gpus = devices(ground.device)
        at_once = spec.concurrency or (
            run.replicas if run.replicas > 1 else max(1, len(gpus) // run.tensor_parallel)
        )
        backend = ClusterBackend(
            place(_placed(spec, at_once)), view, address=run.ray_address, max_retries=run.max_retries
        )
        with backend:
            bytes_ = model_bytes(Path(ground.model.path or ""), ground.model.dtype)
            placement = backend.connect(ground.device, bytes_)
            threads = placement.threads_per_rank
            self.folder = self.resumed or TuneFolder.create(spec, gpus, threads)
            with self.folder:
                check_same(self.folder, ground)
                self.folder.update(
                    model=ground.model, split=ground.split, threads=threads, files_sha256=ground.files
                )
                self.folder.note(*ground.notes, *self._remarks(placement.replicas, placement.shared_cores))
                for text in self.folder.manifest.notes:
                    view.note(text)
                segment = self.folder.manifest.segments - 1
                baseline = StrategyChoice(name=run.baseline)
                setup = Setup.of(run, [baseline], ground.model, ground.device, threads, segment)
                return self._on(backend, setup)

    def _on(self, backend: ClusterBackend, setup: Setup) -> TuneOutcome:
        """With everything there but the replicas."""
        from lsbench.report.tune_report import write_tune_reports
        from lsbench.tuning.conclusion import keep_best_so_far

        model = self.ground.model
        try:
            self.view.stage(f"Loading {model.id} in {model.dtype}")
            backend.start(setup, self.ground.tuning[:1], self.folder.path)
            return self._searched(backend)
        except KeyboardInterrupt as error:
            self._stop()
            self.folder.update(status="interrupted", search_s=self._spent_s())
            keep_best_so_far(self.folder, self.runner.best if self.runner is not None else None)
            write_tune_reports(self.folder.path)
            raise Interrupted(
                "interrupted; every finished trial is kept, and best.yaml holds the best so far. "
                f"Go on with: lsbench tune --resume {self.folder.reference}"
            ) from error
        except LsbenchError:
            self._stop()
            self.folder.update(status="failed", search_s=self._spent_s())
            raise

    def _searched(self, backend: ClusterBackend) -> TuneOutcome:
        from lsbench.tuning.conclusion import conclude
        from lsbench.tuning.finals import time_finalists
        from lsbench.tuning.ground import search_space
        from lsbench.tuning.proposing import proposals_of, proposed
        from lsbench.tuning.quality import agreement
        from lsbench.tuning.runner import Runner

        spec, view, ground, benches = self.spec, self.view, self.ground, backend.benches()
        assess = agreement
        if spec.quality != AGREEMENT and not self._lossless:
            assess = ground.judge.kept(spec.quality)
        self.runner = runner = Runner(spec, self.folder, ground.tuning, view, assess=assess)
        if spec.skip_sets != "off":
            self.space = search_space(spec, ground.model.num_layers, self._parts(benches[0]))
        proposals = proposals_of(spec, self.space, proposed(self.folder.trials))
        earlier = [trial for trial in self.folder.trials if trial.documents == "tuning"]
        view.begin(spec.trials, spec.time_budget_s, self.before_s, earlier)
        runner.court = self._court(benches)
        self._search(runner, proposals, benches)
        finalists, calibration = self._finalists(runner), None
        if spec.risk is not None and finalists:
            calibration, finalists[0] = self._calibrated(benches[0], runner, finalists[0])
        finals = None
        if finalists:
            view.phase("timed", "final", len(finalists))
            until = None if spec.time_budget_s is None else self.begun - self.before_s + spec.time_budget_s
            finals = time_finalists(
                benches[0],
                self.folder,
                finalists,
                ground.final,
                view,
                until,
                spec.run.max_retries,
                assess,
            )
            self.folder.note(*backend.remarks())
        view.stage("Scoring what was written")
        self.folder.update(status="complete", search_s=self._spent_s())
        result = conclude(self.folder, self.space, finals, calibration, ground.judge)
        view.finished(result.words)
        return TuneOutcome(self.folder.path, result, EXIT_DONE)

    def _stop(self) -> None:
        if self.runner is not None:
            self.runner.stop()

    @property
    def _lossless(self) -> bool:
        from lsbench.strategy.registry import load_strategy

        return load_strategy(self.spec.strategy.name).lossless

    # -- before the first trial -----------------------------------------------------------------------

    def _parts(self, bench: Bench) -> tuple[tuple[str, float, float], ...]:
        """What skip sets are searched among; measured once for all processes of the search."""
        from lsbench.tuning import ranks

        known = self.folder.manifest.skip_ranking
        if not known:
            self.view.stage("Measuring what each sub-layer changes")
            known = tuple(bench.ask(ranks.parts_of_model))
            self.folder.update(skip_ranking=known)
        return known

    def _remarks(self, at_once: int, shared: bool) -> list[str]:
        remarks: list[str] = []
        if at_once > 1 and shared:
            remarks.append(
                f"{at_once} trials run at a time and in each other's way: they share the memory that weights "
                "are read from, if not the cores, so that their timings are worth less than those of one "
                "trial at a time. The final timing runs alone; leave out --concurrency for trials that do."
            )
        if self.spec.min_quality is None and not self._lossless:
            remarks.append(
                "No --min-quality was given: what is found may be fast because it writes something else than "
                "the full model does. The front of speed against quality shows how far it does."
            )
        return remarks

    def _court(self, benches: Sequence[Bench]) -> Court | None:
        """What trials are predicted with, where that can be done."""
        from lsbench.tuning import ranks
        from lsbench.tuning.runner import Court

        run, folder, ground = self.spec.run, self.folder, self.ground
        if run.tensor_parallel > 1 or run.batch_size > 1 or not all(r.sampling.greedy for r in ground.tuning):
            folder.note(
                "Every trial was timed: predictions are made for greedy decoding of one prompt at a time, by "
                "one process."
            )
            return None
        if self.spec.quality != AGREEMENT and not self._lossless:
            folder.note(
                f"Every trial was timed: what a setting would score in {self.spec.quality} is not predicted."
            )
            return None
        if not folder.manifest.costs:
            self.view.stage("Measuring what a layer costs")
            typical = sorted(ground.tuning, key=lambda request: len(request.prompt_tokens))
            folder.update(costs=tuple(benches[0].ask(ranks.measure, typical[len(typical) // 2])))
        self.view.stage("Writing what candidates are judged by")
        costs = folder.manifest.costs

        def prepare(bench: Bench) -> object:
            return bench.ask(ranks.prepare_to_judge, ground.tuning, ground.model.sha256, folder.path, costs)

        # They write the same, each for itself: the references are as large as what they stand for.
        if not all(prepare(bench) for bench in benches):
            return None
        return Court(prepare, {bench.starts for bench in benches})

    # -- the trials -----------------------------------------------------------------------------------

    def _search(self, runner: Runner, proposals: Proposals, benches: Sequence[Bench]) -> None:
        from lsbench.tuning.search import search
        from lsbench.tuning.worth_timing import next_to_time, to_be_timed

        spec = self.spec

        def attempt(bench: Bench, proposal: Proposal) -> float:
            value = runner.attempt(bench, proposal)
            self.folder.update(search_s=self._spent_s())
            return value

        kind = "timed" if runner.court is None else "predicted"
        share = _SEARCH_SHARE if kind == "timed" else _SEARCH_SHARE * _PREDICTING_SHARE
        self.view.phase(kind, "tuning", spec.trials)
        search(proposals, benches, attempt, self.folder.path / "logs" / "tune", lambda: self._over(share))
        if left := to_be_timed(self.folder.trials, spec.timed):
            self.view.phase("timed", "tuning", left)
        while trial := next_to_time(self.folder.trials, spec.timed):
            if self._over(_SEARCH_SHARE) and runner.timed_any:
                break
            given = proposals.given(trial.number)
            runner.timed(benches[0], given, trial.predicted_speedup)
            self.folder.update(search_s=self._spent_s())

    def _over(self, share: float) -> bool:
        budget = self.spec.time_budget_s
        return budget is not None and self._spent_s() > share * budget

    def _spent_s(self) -> float:
        return self.before_s + time.monotonic() - self.begun

    def _finalists(self, runner: Runner) -> list[Trial]:
        """The best that was found, and the default."""
        tried = [trial for trial in self.folder.trials if trial.documents == "tuning"]
        best = runner.best
        default = next((trial for trial in reversed(tried) if trial.origin == "default"), None)
        finalists = [] if best is None else [best]
        if (
            default is not None
            and default.status == "ok"
            and all(t.label != default.label for t in finalists)
        ):
            finalists.append(default)
        return finalists

    def _calibrated(self, bench: Bench, runner: Runner, winner: Trial) -> tuple[Calibrated, Trial]:
        """The winner with a threshold that a guarantee holds of; as it is where there is none."""
        from lsbench.tuning.calibrating import calibrated
        from lsbench.tuning.proposals import Proposal

        self.view.stage("Calibrating the threshold")
        ground = self.ground
        found = calibrated(bench, self.spec, self.space, winner, ground.held, ground.model.sha256)
        self.folder.note(found.words)
        self.view.note(found.words)
        if found.choice is None:
            return found, winner
        number = max(trial.number for trial in self.folder.trials) + 1
        changed = Proposal(number, {}, found.choice, "prediction")
        return found, runner.trial("timed", changed, 0.0, {"status": "ok"})


def _placed(spec: TuneSpec, at_once: int) -> RunSpec:
    return spec.run.model_copy(update={"backend": "ray", "replicas": at_once})
