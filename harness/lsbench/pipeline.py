"""A run from its spec to its report: the one place where the rooms are joined.

spec -> requests -> plan -> worker (engine, strategy) -> records -> store -> scores -> metrics -> report
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lsbench.errors import (
    EXIT_CLAIM_FAILED,
    EXIT_DONE,
    EXIT_SAMPLES_FAILED,
    BadInput,
    CannotRun,
    Interrupted,
    unknown,
)
from lsbench.metrics import Metrics, Status
from lsbench.records import UNTIMED
from lsbench.spec import RunSpec, StrategyChoice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.evaluation.requests import RequestSet
    from lsbench.evaluation.sandbox import Sandbox
    from lsbench.execution.backend import Backend
    from lsbench.execution.setup import Setup
    from lsbench.execution.worker import Contender
    from lsbench.records import Products, SampleRecord
    from lsbench.spec import GenerateRequest
    from lsbench.store.run_folder import RunFolder
    from lsbench.view import View


@dataclass(frozen=True)
class RunOutcome:
    """A finished run.

    Attributes:
        folder: where its results are.
        metrics: what it concludes.
        exit_code: 0; 3 when a lossless strategy was not; 4 when some samples failed.
    """

    folder: RunFolder
    metrics: Metrics
    exit_code: int


def check(spec: RunSpec) -> tuple[Contender, ...]:
    """Refuse what can be known to be wrong without a model, a network or a folder.

    Returns:
        the baseline, then every strategy that is not the baseline itself, options checked.

    Raises:
        BadInput: unknown names, bad options, two strategies alike, more than can be placed, an environment
            variable that says nothing.
    """
    from lsbench.catalog import check_model_name
    from lsbench.engine.native.library import graphs_wanted
    from lsbench.evaluation.own_data import check_data
    from lsbench.evaluation.tasks import check_task_names
    from lsbench.execution.plan import place
    from lsbench.execution.worker import Contender
    from lsbench.strategy.registry import resolve

    place(spec)
    graphs_wanted()  # reads the environment variables of both kinds of products
    if not spec.strategies:
        raise BadInput("No strategy given; add --strategy NAME (`lsbench ls strategies` lists them)")
    labels = [choice.label for choice in spec.strategies]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise BadInput(f"--strategy {twice} is given twice; leave one out")
    contenders = (
        _baseline(spec.baseline),
        *(Contender(choice, resolve(choice)) for choice in spec.strategies if choice.label != spec.baseline),
    )
    check_model_name(spec.model)
    check_data(spec)
    check_task_names(spec.tasks, spec.include_path)  # last: lm-eval's own index takes seconds to read
    return contenders


def run(spec: RunSpec, view: View, resume: RunFolder | None = None) -> RunOutcome:
    """Run, score and report; every finished request is on the disk before the next begins.

    Args:
        spec: what was asked.
        view: is told of progress.
        resume: the folder of a stopped run to go on with.

    Raises:
        BadInput: anything that was asked wrongly, before the weights are loaded where it can be known then.
        Interrupted: the user stopped it; the folder is marked so and can be resumed.
    """
    from lsbench.catalog import resolve_model
    from lsbench.engine.loading import load_tokenizer, model_facts, resolve_device, resolve_dtype
    from lsbench.evaluation.own_data import check_unchanged, file_hashes
    from lsbench.evaluation.requests import build_requests
    from lsbench.execution import leftovers
    from lsbench.execution.backend import backend_for
    from lsbench.execution.machine import devices, model_bytes, use_threads
    from lsbench.execution.remarks import about_products, about_turns, about_weights
    from lsbench.execution.setup import Setup, check_left
    from lsbench.execution.shards import check_shardable
    from lsbench.store.manifest import ModelFacts
    from lsbench.store.naming import ensure_writable
    from lsbench.store.resume import check_resumable
    from lsbench.store.run_folder import RunFolder

    contenders = check(spec)
    backend = backend_for(spec, view)
    leftovers.clean(view.note)
    if resume is None:
        ensure_writable(Path(spec.output))
    else:
        check_resumable(resume.manifest, spec)
        check_unchanged(resume.run_id, spec, resume.manifest.files_sha256)
        resume.records()  # a damaged file is told now, not after the model has loaded
    files = file_hashes(spec)
    device = resolve_device(spec.device)
    dtype = resolve_dtype(spec.dtype, device)

    unavailable: dict[str, str] = {}

    def check_against(model: Path) -> None:
        if spec.tensor_parallel > 1:
            check_shardable(model, spec.tensor_parallel)
        configured = model_facts(model)
        for contender in contenders:
            contender.strategy.check(configured.num_layers)
            try:
                contender.strategy.check_model(configured.model_type)
            except CannotRun as error:
                if contender is contenders[0]:
                    raise
                unavailable[contender.label] = str(error)
        check_left([contender.label for contender in contenders[1:]], unavailable)

    source = resolve_model(spec.model, spec.revision, view, check_against)
    facts = model_facts(source.path)
    tokenizer = load_tokenizer(source.path)
    view.stage("Reading tasks")
    requests = build_requests(spec, tokenizer, facts.context_length, facts.eos_token_ids)
    data = requests.data_hashes()
    if resume is not None:
        check_resumable(resume.manifest, spec, source.sha256, data)
    sandbox = _sandbox(spec, requests)
    model = ModelFacts(
        id=source.id, path=str(source.path), sha256=source.sha256, num_layers=facts.num_layers, dtype=dtype
    )
    with backend:
        placement = backend.connect(device, model_bytes(source.path, dtype))
        threads = use_threads(placement.threads_per_rank)
        products = _products(dtype, device, view)
        folder = resume or RunFolder.create(
            spec.output, spec, gpus=devices(device), threads=threads, products=products
        )
        with folder:
            segment = folder.resume(products) if resume is not None else 0
            folder.update_manifest(
                model=model,
                unavailable=unavailable,
                lossless={contender.label: contender.strategy.lossless for contender in contenders},
                data_sha256=data,
                files_sha256=files,
                sandbox=sandbox.mechanism if sandbox else None,
            )
            warning = sandbox.warning if sandbox is not None else None
            folder.add_notes(
                *requests.notes,
                *([warning] if warning else []),
                *about_turns([each for each in contenders if each.label not in unavailable], spec.batch_size),
                *about_weights(dtype, facts.has_experts),
                *about_products(products, device, dtype),
            )
            for text in folder.manifest.notes:
                view.note(text)
            choices = [contender.choice for contender in contenders]
            setup = Setup.of(spec, choices, model, device, placement.threads_per_rank, segment)
            setup = setup.without(unavailable)
            try:
                view.stage(f"Loading {model.id} in {dtype}")
                _execute(spec, folder, backend, setup, requests, view)
                return conclude(folder, tokenizer, sandbox, view)
            except KeyboardInterrupt as error:
                folder.update_manifest(status="interrupted")
                raise Interrupted(
                    "interrupted; every finished request is kept. "
                    f"Go on with: lsbench run --resume {folder.reference}"
                ) from error
            except BadInput:
                folder.discard_if_empty()
                raise


def conclude(
    folder: RunFolder,
    tokenizer: PreTrainedTokenizerBase | None,
    sandbox: Sandbox | None,
    view: View,
    stopped_early: bool = False,
) -> RunOutcome:
    """Score a folder's records, write its metrics and reports; no weights are needed.

    Args:
        folder: held for writing.
        tokenizer: the model's; needed only for runs with a chat template.
        sandbox: needed only by tasks that run generated programs.
        view: is told of progress.
        stopped_early: the run has requests that were never finished.
    """
    from lsbench.evaluation.own_data import check_unchanged
    from lsbench.evaluation.scores import ScoredTask, score_records
    from lsbench.measurement.summary import context_of, summarise
    from lsbench.report.folder import write_reports
    from lsbench.store.scores import write_scores
    from lsbench.strategy.registry import load_strategy

    spec, records = folder.manifest.spec, folder.records()
    check_unchanged(folder.run_id, spec, folder.manifest.files_sha256)
    by_label: defaultdict[str, list[SampleRecord]] = defaultdict(list)
    for record in records:
        by_label[record.label].append(record)
    scored: dict[str, dict[str, ScoredTask]] = {}
    for label, own in by_label.items():
        view.stage(f"Scoring {label}")
        scored[label] = score_records(spec, own, tokenizer, sandbox)
    claims = folder.manifest.lossless
    told = {label: own for label, own in by_label.items() if label not in claims}
    lossless = {**claims, **{label: load_strategy(own[0].strategy).lossless for label, own in told.items()}}
    failed = any(record.error is not None for record in records)
    status: Status = "interrupted" if stopped_early else "failed_samples" if failed else "complete"
    metrics = summarise(replace(context_of(folder.manifest), status=status), records, scored, lossless)
    write_scores(folder, scored)
    folder.write_metrics(metrics)
    folder.update_manifest(status=status)
    write_reports(folder)
    return RunOutcome(folder, metrics, _exit_code(metrics, failed))


def rescore(folder: RunFolder, view: View) -> RunOutcome:
    """Score a stored run again, from its records alone: neither the model nor the strategies are needed.

    Raises:
        BadInput: the run holds nothing to score, or its chat template's tokenizer is gone.
    """
    from lsbench.engine.loading import load_tokenizer
    from lsbench.evaluation.sandbox import Sandbox

    manifest = folder.manifest
    if manifest.model is None or not folder.records():
        raise BadInput(
            f"Run {folder.run_id} holds no finished request to score; "
            f"`lsbench run --resume {folder.reference}` goes on with it"
        )
    tokenizer = load_tokenizer(Path(manifest.model.path or "")) if manifest.spec.apply_chat_template else None
    sandbox = Sandbox.detect(manifest.spec.sandbox) if manifest.sandbox is not None else None
    with folder:
        folder.hold()
        stopped_early = manifest.status in ("running", "interrupted")
        return conclude(folder, tokenizer, sandbox, view, stopped_early)


def reread(folder: RunFolder) -> RunOutcome:
    """Write the reports of a stored run again, from its metrics and records as they are.

    Raises:
        BadInput: the run has no metrics yet, or its folder cannot be written to.
    """
    from lsbench.report.folder import write_reports

    write_reports(folder)
    metrics = folder.metrics()
    assert metrics is not None  # write_reports refuses a folder without
    return RunOutcome(folder, metrics, EXIT_DONE)


def _exit_code(metrics: Metrics, failed: bool) -> int:
    """A claim that failed weighs more than samples that did."""
    for strategy in metrics.strategies:
        if strategy.parity is not None and strategy.parity.violations:
            return EXIT_CLAIM_FAILED
        if strategy.certificate is not None and strategy.certificate.refuted:
            return EXIT_CLAIM_FAILED
    return EXIT_SAMPLES_FAILED if failed else EXIT_DONE


def _baseline(name: str) -> Contender:
    """What everything is compared with, and so must give the full model's own output."""
    from lsbench.execution.worker import Contender
    from lsbench.strategy.registry import list_strategies, resolve, strategy_names

    if ":" in name:
        raise BadInput(f"--baseline {name!r}: a baseline is named without options")
    if name in strategy_names():
        contender = Contender(choice := StrategyChoice(name=name), resolve(choice))
        if contender.strategy.lossless:
            return contender
    fitting = [entry.name for entry in list_strategies() if entry.strategy and entry.strategy.lossless]
    if name not in strategy_names():
        raise unknown("--baseline", name, fitting)
    raise BadInput(
        f"--baseline {name}: a baseline gives the full model's own output, and {name} does not claim to; "
        f"choose one of {', '.join(fitting)}"
    )


def _execute(
    spec: RunSpec, folder: RunFolder, backend: Backend, setup: Setup, requests: RequestSet, view: View
) -> None:
    """Run what is not finished, and keep each record as it comes; in the end nothing of the model is left."""
    from lsbench.execution.setup import check_left
    from lsbench.measurement.depth import mean_layers
    from lsbench.measurement.so_far import SpeedSoFar
    from lsbench.measurement.timing import tokens_per_second

    backend.start(setup, requests.generations[: spec.warmup * spec.batch_size], folder.path)
    unavailable = {**folder.manifest.unavailable, **backend.unavailable()}
    folder.update_manifest(unavailable=unavailable)
    for label, why in unavailable.items():
        view.note(f"{label} cannot run here: {why}")
    setup = setup.without(unavailable)
    check_left([choice.label for choice in setup.others], unavailable)
    folder.update_manifest(placements=(*folder.manifest.placements, *backend.facts()))
    typical = requests.typical
    if typical is not None and not folder.manifest.costs:
        view.stage("Measuring what a layer costs")
        folder.update_manifest(costs=backend.costs(typical), bandwidth=backend.bandwidth())
        folder.update_manifest(loop_times=backend.loop_times(typical))
        _warn(backend, folder, typical, view)
    records, finished = folder.records(), folder.finished()
    total = len(requests.requests) * len(setup.choices)
    view.start(total, sum(key.kind not in UNTIMED for key in finished))
    speed = SpeedSoFar(spec.baseline, [choice.label for choice in setup.others], records)
    for record in backend.run(requests.requests, finished, folder.attempts(), records):
        folder.append(record)
        if record.kind in UNTIMED:
            continue
        speed.add(record)
        view.request_done(
            record.task,
            record.doc_id,
            record.label,
            tokens_per_second([record]),
            speed.of(record.label),
            mean_layers([record]),
            record.error is not None,
        )
    folder.add_notes(*backend.remarks())
    backend.close()


def _warn(backend: Backend, folder: RunFolder, typical: GenerateRequest, view: View) -> None:
    """Tell of strategies that have nothing to hope for here, before their first timed request."""
    from lsbench.measurement.outlook import about_outlooks

    manifest = folder.manifest
    assert manifest.model is not None  # known before anything runs
    warnings = about_outlooks(
        backend.outlooks(),
        manifest.costs,
        manifest.model.num_layers,
        greedy=typical.sampling.greedy,
        alone=manifest.spec.batch_size == 1,
    )
    folder.add_notes(*warnings)
    for text in warnings:
        view.note(text)


def _products(dtype: str, device: str, view: View) -> Products:
    """What will multiply a few rows with weights; built before the model loads, if it has not been."""
    import torch

    from lsbench.engine.loading import weight_type
    from lsbench.engine.native import products_for

    return products_for(weight_type(dtype), torch.device(device), view.stage)


def _sandbox(spec: RunSpec, requests: RequestSet) -> Sandbox | None:
    """What will confine generated programs, tried out before the model loads; None when no task has any."""
    from lsbench.evaluation.sandbox import Sandbox

    return Sandbox.detect(spec.sandbox) if any(task.unsafe_code for task in requests.tasks) else None
