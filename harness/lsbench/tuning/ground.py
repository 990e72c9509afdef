"""What a search stands on before anything runs: the model's files, the documents, and who scores texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsbench.errors import BadInput
from lsbench.spec import GenerateRequest, StrategyChoice
from lsbench.tuning.quality import AGREEMENT, TaskJudge, check_metric
from lsbench.tuning.spaces import Space
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.split import Split, split_documents

if TYPE_CHECKING:
    from lsbench.evaluation.requests import RequestSet
    from lsbench.store.manifest import ModelFacts
    from lsbench.tuning.folder import TuneFolder
    from lsbench.tuning.view import TuneView

TUNING_DOCUMENTS = 8
"""Of each task, where ``limit`` is not given."""


@dataclass(frozen=True)
class Ground:
    """All that was found.

    Attributes:
        model: the weights, and the precision they are run in.
        device: resolved.
        split: of the documents.
        tuning: requests that trials run.
        final: those that the result is judged on, in the order of the split's own seed.
        held: those that a threshold is calibrated on; none without ``risk``.
        files: SHA-256 of the user's own data files.
        judge: scores what was written.
        notes: what a reader must know.
    """

    model: ModelFacts
    device: str
    split: Split
    tuning: tuple[GenerateRequest, ...]
    final: tuple[GenerateRequest, ...]
    held: tuple[GenerateRequest, ...]
    files: dict[str, str]
    judge: TaskJudge
    notes: tuple[str, ...]


def find_ground(spec: TuneSpec, view: TuneView, resumed: TuneFolder | None) -> Ground:
    """Find model and documents, and refuse what can be known to be wrong with what was asked of them.

    Args:
        spec: what was asked.
        view: is told of progress.
        resumed: of a search that goes on.

    Raises:
        BadInput: anything that was asked wrongly.
    """
    from lsbench import pipeline
    from lsbench.catalog import resolve_model
    from lsbench.engine.loading import load_tokenizer, model_facts, resolve_device, resolve_dtype
    from lsbench.evaluation.own_data import check_unchanged, file_hashes
    from lsbench.evaluation.requests import build_requests
    from lsbench.evaluation.sandbox import Sandbox
    from lsbench.execution import leftovers
    from lsbench.execution.shards import check_shardable
    from lsbench.store.manifest import ModelFacts
    from lsbench.store.naming import ensure_writable
    from lsbench.tuning.calibrating import divide

    run = spec.run
    _check_placement(spec)
    pipeline.check(run.model_copy(update={"strategies": (StrategyChoice(name=run.baseline),)}))
    if resumed is not None:
        check_unchanged(resumed.tune_id, run, resumed.manifest.files_sha256)
    files = file_hashes(run)
    leftovers.clean(view.note)
    ensure_writable(Path(run.output))
    device = resolve_device(run.device)
    dtype = resolve_dtype(run.dtype, device)

    def check_against(model: Path) -> None:
        if run.tensor_parallel > 1:
            check_shardable(model, run.tensor_parallel)
        search_space(spec, model_facts(model).num_layers)

    source = resolve_model(run.model, run.revision, view, check_against)
    facts = model_facts(source.path)
    check_against(source.path)
    tokenizer = load_tokenizer(source.path)
    view.stage("Reading tasks")
    everything = run.model_copy(update={"limit": None})
    requests = build_requests(everything, tokenizer, facts.context_length, facts.eos_token_ids)
    if spec.quality != AGREEMENT:
        check_metric(spec.quality, requests.tasks)
    split = _split(spec, requests)
    tuning, final = _divided(requests.generations, split)
    held: list[GenerateRequest] = []
    if spec.risk is not None:
        held, final = divide(final, spec.risk, spec.delta)
    confined = any(task.unsafe_code for task in requests.tasks)
    sandbox = Sandbox.detect(run.sandbox) if confined else None
    warnings = [sandbox.warning] if sandbox is not None and sandbox.warning else []
    return Ground(
        model=ModelFacts(
            id=source.id,
            path=str(source.path),
            sha256=source.sha256,
            num_layers=facts.num_layers,
            dtype=dtype,
        ),
        device=device,
        split=split,
        tuning=tuple(tuning),
        final=tuple(final),
        held=tuple(held),
        files=files,
        judge=TaskJudge(run, tokenizer, sandbox),
        notes=(*requests.notes, *warnings),
    )


def search_space(spec: TuneSpec, num_layers: int, parts: Sequence[tuple[str, float, float]] = ()) -> Space:
    """Where a search looks.

    Args:
        spec: what was asked.
        num_layers: L.
        parts: what skip sets are searched among (``ranks.parts_of_model``); none before they are measured.

    Raises:
        BadInput: a model of so many layers has no such space.
    """
    from lsbench.tuning.narrowing import read_mapping
    from lsbench.tuning.skip_sets import SkipSets, ranking
    from lsbench.tuning.space_building import build_space

    narrowed, fixed = read_mapping(spec.space)
    skipping = None
    if parts and spec.skip_sets != "off":
        skipping = SkipSets(ranking(parts), spec.skip_sets)
    return build_space(spec.with_fixed(fixed), num_layers, narrowed, skipping)


def check_same(folder: TuneFolder, ground: Ground) -> None:
    """Whether a resumed search asks the same of the same weights.

    Raises:
        BadInput: it does not.
    """
    manifest = folder.manifest
    if manifest.model is not None and manifest.model.sha256 != ground.model.sha256:
        raise BadInput(
            f"Cannot resume {folder.tune_id}: the weights of {ground.model.id!r} are others now than when "
            "the search began. Restore them, or begin another search."
        )
    if manifest.split is not None and manifest.split != ground.split:
        raise BadInput(
            f"Cannot resume {folder.tune_id}: its tasks have other documents now than when the search "
            "began. Restore them, or begin another search."
        )


def _check_placement(spec: TuneSpec) -> None:
    run = spec.run
    if run.backend == "local":
        raise BadInput("--backend local: Ray places the trials of a search; leave it out")
    if spec.concurrency is not None and run.replicas not in (1, spec.concurrency):
        raise BadInput(
            f"--replicas {run.replicas} and --concurrency {spec.concurrency}: a search has as many "
            "replicas as trials at a time; give one of the two"
        )


def _split(spec: TuneSpec, requests: RequestSet) -> Split:
    documents: dict[str, list[int]] = {}
    for request in requests.generations:
        documents.setdefault(request.task, []).append(request.doc_id)
    silent = [task.name for task in requests.tasks if task.name not in documents]
    if silent:
        raise BadInput(
            f"Task {silent[0]!r} generates nothing, so that no speed can be measured on it; tune on a "
            "task that does"
        )
    return split_documents(documents, spec.run.limit or TUNING_DOCUMENTS, spec.final_limit, spec.seed)


def _divided(
    requests: Sequence[GenerateRequest], split: Split
) -> tuple[list[GenerateRequest], list[GenerateRequest]]:
    """Requests of the tuning documents, and of the final ones in the order of the split's own seed."""

    def place(request: GenerateRequest) -> bytes:
        return hashlib.sha256(f"final|{split.seed}|{request.task}|{request.doc_id}".encode()).digest()

    tuning = [each for each in requests if each.doc_id in split.tuning.get(each.task, ())]
    final = [each for each in requests if each.doc_id in split.final.get(each.task, ())]
    return tuning, sorted(final, key=lambda each: (place(each), each.repeat))
