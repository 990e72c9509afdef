"""A search from its spec to its result: the one entry to this room, as ``pipeline.run`` is of a run.

spec -> requests -> split -> space -> trials (predicted, then timed) -> finals -> outcome -> best.yaml
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsbench.errors import EXIT_DONE, BadInput, Interrupted, LsbenchError
from lsbench.spec import GenerateRequest, RunSpec, StrategyChoice
from lsbench.tuning.outcome import Outcome, best_yaml, decide
from lsbench.tuning.result import BEST, OptionShares, TuneResult, make_result, write_result
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.split import Split, split_documents

if TYPE_CHECKING:
    from lsbench.evaluation.requests import RequestSet
    from lsbench.execution.cluster.backend import ClusterBackend
    from lsbench.execution.cluster.bench import Bench
    from lsbench.execution.setup import Setup
    from lsbench.store.manifest import ModelFacts
    from lsbench.tuning.folder import TuneFolder
    from lsbench.tuning.proposals import Proposal, Proposals
    from lsbench.tuning.runner import Court, Runner
    from lsbench.tuning.spaces import Space
    from lsbench.tuning.trials import Trial
    from lsbench.tuning.view import TuneView

TUNING_DOCUMENTS = 8
"""Of each task, where ``limit`` is not given."""
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
        self.calibration: str | None = None

    def run(self) -> TuneOutcome:
        from lsbench import pipeline
        from lsbench.catalog import resolve_model
        from lsbench.engine.loading import load_tokenizer, model_facts, resolve_device, resolve_dtype
        from lsbench.evaluation.own_data import check_unchanged, file_hashes
        from lsbench.evaluation.requests import build_requests
        from lsbench.execution import leftovers
        from lsbench.execution.cluster.backend import ClusterBackend
        from lsbench.execution.machine import devices, model_bytes
        from lsbench.execution.plan import place
        from lsbench.execution.setup import Setup
        from lsbench.execution.shards import check_shardable
        from lsbench.store.manifest import ModelFacts
        from lsbench.store.naming import ensure_writable
        from lsbench.tuning.calibrating import divide
        from lsbench.tuning.checks import check_space
        from lsbench.tuning.folder import TuneFolder

        spec, view, run = self.spec, self.view, self.spec.run
        check_space(spec)
        if run.backend == "local":
            raise BadInput("--backend local: Ray places the trials of a search; leave it out")
        if spec.concurrency is not None and run.replicas not in (1, spec.concurrency):
            raise BadInput(
                f"--replicas {run.replicas} and --concurrency {spec.concurrency}: a search has as many "
                "replicas as trials at a time; give one of the two"
            )
        baseline = StrategyChoice(name=run.baseline)
        pipeline.check(run.model_copy(update={"strategies": (baseline,)}))
        if self.resumed is not None:
            check_unchanged(self.resumed.tune_id, run, self.resumed.manifest.files_sha256)
        files = file_hashes(run)
        leftovers.clean(view.note)
        ensure_writable(Path(run.output))
        device = resolve_device(run.device)
        dtype = resolve_dtype(run.dtype, device)

        def check_against(model: Path) -> None:
            if run.tensor_parallel > 1:
                check_shardable(model, run.tensor_parallel)
            self.space = self._space(model_facts(model).num_layers, ())

        source = resolve_model(run.model, run.revision, view, check_against)
        facts = model_facts(source.path)
        check_against(source.path)
        tokenizer = load_tokenizer(source.path)
        view.stage("Reading tasks")
        everything = run.model_copy(update={"limit": None})
        requests = build_requests(everything, tokenizer, facts.context_length, facts.eos_token_ids)
        split = self._split(requests)
        self.tuning, self.final = _divided(requests.generations, split)
        self.held: list[GenerateRequest] = []
        if spec.risk is not None:
            self.held, self.final = divide(self.final, spec.risk, spec.delta)
        model = ModelFacts(
            id=source.id,
            path=str(source.path),
            sha256=source.sha256,
            num_layers=facts.num_layers,
            dtype=dtype,
        )
        each_device = max(1, len(devices(device)) // run.tensor_parallel)
        at_once = spec.concurrency or (run.replicas if run.replicas > 1 else each_device)
        backend = ClusterBackend(
            place(_placed(spec, at_once)), view, address=run.ray_address, max_retries=run.max_retries
        )
        with backend:
            placement = backend.connect(device, model_bytes(source.path, dtype))
            threads = placement.threads_per_rank
            self.folder = self.resumed or TuneFolder.create(spec, devices(device), threads)
            with self.folder:
                self._check_same(model, split)
                self.folder.update(model=model, split=split, threads=threads, files_sha256=files)
                self.folder.note(*requests.notes, *self._remarks())
                for text in self.folder.manifest.notes:
                    view.note(text)
                segment = self.folder.manifest.segments - 1
                setup = Setup.of(run, [baseline], model, device, threads, segment)
                return self._on(backend, setup, model)

    def _on(self, backend: ClusterBackend, setup: Setup, model: ModelFacts) -> TuneOutcome:
        """With everything there but the replicas."""
        from lsbench.report.tune_report import write_tune_reports

        try:
            self.view.stage(f"Loading {model.id} in {model.dtype}")
            backend.start(setup, self.tuning[:1], self.folder.path)
            return self._searched(backend, model)
        except KeyboardInterrupt as error:
            self._stop()
            self.folder.update(status="interrupted", search_s=self._spent_s())
            self._keep_best_so_far()
            write_tune_reports(self.folder.path)
            raise Interrupted(
                "interrupted; every finished trial is kept, and best.yaml holds the best so far. "
                f"Go on with: lsbench tune --resume {self.folder.reference}"
            ) from error
        except LsbenchError:
            self._stop()
            self.folder.update(status="failed", search_s=self._spent_s())
            raise

    def _searched(self, backend: ClusterBackend, model: ModelFacts) -> TuneOutcome:
        from lsbench.tuning.finals import time_finalists
        from lsbench.tuning.proposing import proposals_of, proposed
        from lsbench.tuning.runner import Runner

        spec, view, benches = self.spec, self.view, backend.benches()
        self.runner = runner = Runner(spec, self.folder, self.tuning, view)
        if spec.skip_sets != "off":
            self.space = self._space(model.num_layers, self._parts(benches[0]))
        proposals = proposals_of(spec, self.space, proposed(self.folder.trials))
        earlier = [trial for trial in self.folder.trials if trial.documents == "tuning"]
        view.begin(spec.trials, spec.time_budget_s, self.before_s, earlier)
        runner.court = self._court(benches, model)
        self._search(runner, proposals, benches)
        finalists = self._finalists(runner)
        if spec.risk is not None and finalists:
            finalists = [self._calibrated(benches[0], runner, finalists[0], model), *finalists[1:]]
        if not finalists:
            return self._concluded(decide(()), None)
        view.phase("timed", "final", len(finalists))
        until = None if spec.time_budget_s is None else self.begun - self.before_s + spec.time_budget_s
        finals = time_finalists(
            benches[0], self.folder, finalists, self.final, view, until, spec.run.max_retries
        )
        self.folder.note(*backend.remarks())
        outcome = decide(finals.trials, spec.min_quality, finals.swing or 0.0, finals.over_default)
        return self._concluded(outcome, finals)

    def _stop(self) -> None:
        if self.runner is not None:
            self.runner.stop()

    # -- before the first trial -----------------------------------------------------------------------

    def _space(self, num_layers: int, parts: Sequence[tuple[str, float, float]]) -> Space:
        from lsbench.tuning.narrowing import read_mapping
        from lsbench.tuning.skip_sets import SkipSets, ranking
        from lsbench.tuning.space_building import build_space

        narrowed, fixed = read_mapping(self.spec.space)
        skipping = None
        if parts and self.spec.skip_sets != "off":
            skipping = SkipSets(ranking(parts), self.spec.skip_sets)
        return build_space(self.spec.with_fixed(fixed), num_layers, narrowed, skipping)

    def _parts(self, bench: Bench) -> tuple[tuple[str, float, float], ...]:
        """What skip sets are searched among; measured once for all processes of the search."""
        from lsbench.tuning import ranks

        known = self.folder.manifest.skip_ranking
        if not known:
            self.view.stage("Measuring what each sub-layer changes")
            known = tuple(bench.ask(ranks.parts_of_model))
            self.folder.update(skip_ranking=known)
        return known

    def _split(self, requests: RequestSet) -> Split:
        documents: dict[str, list[int]] = {}
        for request in requests.generations:
            documents.setdefault(request.task, []).append(request.doc_id)
        silent = [task.name for task in requests.tasks if task.name not in documents]
        if silent:
            raise BadInput(
                f"Task {silent[0]!r} generates nothing, so that no speed can be measured on it; tune on a "
                "task that does"
            )
        tuning = self.spec.run.limit or TUNING_DOCUMENTS
        return split_documents(documents, tuning, self.spec.final_limit, self.spec.seed)

    def _check_same(self, model: ModelFacts, split: Split) -> None:
        """Whether a resumed search asks the same of the same weights.

        Raises:
            BadInput: it does not.
        """
        manifest = self.folder.manifest
        if manifest.model is not None and manifest.model.sha256 != model.sha256:
            raise BadInput(
                f"Cannot resume {self.folder.tune_id}: the weights of {model.id!r} are others now than when "
                "the search began. Restore them, or begin another search."
            )
        if manifest.split is not None and manifest.split != split:
            raise BadInput(
                f"Cannot resume {self.folder.tune_id}: its tasks have other documents now than when the "
                "search began. Restore them, or begin another search."
            )

    def _remarks(self) -> list[str]:
        from lsbench.strategy.registry import load_strategy

        lossless = load_strategy(self.spec.strategy.name).lossless
        if self.spec.min_quality is None and not lossless:
            return [
                "No --min-quality was given: what is found may be fast because it writes something else than "
                "the full model does. The front of speed against quality shows how far it does."
            ]
        return []

    def _court(self, benches: Sequence[Bench], model: ModelFacts) -> Court | None:
        """What trials are predicted with, where that can be done."""
        from lsbench.tuning import ranks
        from lsbench.tuning.runner import Court

        run, folder = self.spec.run, self.folder
        if run.tensor_parallel > 1 or run.batch_size > 1 or not all(r.sampling.greedy for r in self.tuning):
            folder.note(
                "Every trial was timed: predictions are made for greedy decoding of one prompt at a time, by "
                "one process."
            )
            return None
        if not folder.manifest.costs:
            self.view.stage("Measuring what a layer costs")
            typical = sorted(self.tuning, key=lambda request: len(request.prompt_tokens))
            folder.update(costs=tuple(benches[0].ask(ranks.measure, typical[len(typical) // 2])))
        self.view.stage("Writing what candidates are judged by")
        costs = folder.manifest.costs

        def prepare(bench: Bench) -> object:
            return bench.ask(ranks.prepare_to_judge, self.tuning, model.sha256, folder.path, costs)

        # They write the same, each for itself: the references are as large as what they stand for.
        if not all(prepare(bench) for bench in benches):
            return None
        return Court(prepare, {bench.starts for bench in benches})

    # -- the trials -----------------------------------------------------------------------------------

    def _search(self, runner: Runner, proposals: Proposals, benches: Sequence[Bench]) -> None:
        from lsbench.tuning.runner import best_predicted
        from lsbench.tuning.search import search

        spec = self.spec

        def attempt(bench: Bench, proposal: Proposal) -> float:
            value = runner.attempt(bench, proposal)
            self.folder.update(search_s=self._spent_s())
            return value

        kind = "timed" if runner.court is None else "predicted"
        share = _SEARCH_SHARE if kind == "timed" else _SEARCH_SHARE * _PREDICTING_SHARE
        self.view.phase(kind, "tuning", spec.trials)
        search(proposals, benches, attempt, self.folder.path / "logs" / "tune", lambda: self._over(share))
        worth_timing = best_predicted(self.folder.trials, spec.timed)
        if worth_timing:
            self.view.phase("timed", "tuning", len(worth_timing))
        for trial in worth_timing:
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

    def _calibrated(self, bench: Bench, runner: Runner, winner: Trial, model: ModelFacts) -> Trial:
        """The winner with a threshold that a guarantee holds of; as it is where there is none."""
        from lsbench.tuning.calibrating import calibrated
        from lsbench.tuning.proposals import Proposal

        self.view.stage("Calibrating the threshold")
        found = calibrated(bench, self.spec, self.space, winner, self.held, model.sha256)
        self.calibration = found.words
        self.folder.note(found.words)
        self.view.note(found.words)
        if found.choice is None:
            return winner
        number = max(trial.number for trial in self.folder.trials) + 1
        changed = Proposal(number, {}, found.choice, "prediction")
        return runner.trial("timed", changed, 0.0, {"status": "ok"})

    # -- the end --------------------------------------------------------------------------------------

    def _concluded(self, outcome: Outcome, finals: object) -> TuneOutcome:
        from lsbench.tuning.finals import Finals

        self.folder.update(status="complete", search_s=self._spent_s())
        known = finals if isinstance(finals, Finals) else None
        result = make_result(
            self.folder.tune_id,
            outcome,
            self.folder.trials,
            self.folder.manifest.search_s,
            known.seconds_per_token if known else None,
            over_default=known.over_default if known else None,
            swing=known.swing if known else None,
            importance=self._importance(),
            calibration=self.calibration,
        )
        write_result(self.folder.path, result)
        if outcome.best is not None:
            self.folder.write(BEST, best_yaml(_plain(self.spec.run), outcome, self.folder.tune_id))
        self.view.finished(outcome.words)
        return TuneOutcome(self.folder.path, result, EXIT_DONE)

    def _importance(self) -> OptionShares | None:
        from lsbench.tuning.importance import option_importance
        from lsbench.tuning.proposing import proposed

        trials = [trial for trial in proposed(self.folder.trials) if trial.status == "ok" and trial.point]
        values = [trial.objective or 0.0 for trial in trials]
        found = option_importance(self.space, [trial.point for trial in trials], values, self.spec.seed)
        if found is None:
            return None
        return OptionShares(shares=found.shares, explained=found.explained, trials=found.trials)

    def _keep_best_so_far(self) -> None:
        best = self.runner.best if self.runner is not None else None
        if best is None:
            return
        words = "The best so far of a search that was interrupted: not judged on prompts that it never saw."
        outcome = Outcome(best, False, words, ())
        self.folder.write(BEST, best_yaml(_plain(self.spec.run), outcome, self.folder.tune_id))


def _placed(spec: TuneSpec, at_once: int) -> RunSpec:
    return spec.run.model_copy(update={"backend": "ray", "replicas": at_once})


def _plain(run: RunSpec) -> RunSpec:
    """A run of what was found is one process, unless it was tuned for more."""
    return run.model_copy(update={"replicas": 1})


def _divided(
    requests: Sequence[GenerateRequest], split: Split
) -> tuple[list[GenerateRequest], list[GenerateRequest]]:
    """Requests of the tuning documents, and of the final ones in the order of the split's own seed."""
    import hashlib

    def place(request: GenerateRequest) -> bytes:
        return hashlib.sha256(f"final|{split.seed}|{request.task}|{request.doc_id}".encode()).digest()

    tuning = [each for each in requests if each.doc_id in split.tuning.get(each.task, ())]
    final = [each for each in requests if each.doc_id in split.final.get(each.task, ())]
    return tuning, sorted(final, key=lambda each: (place(each), each.repeat))
