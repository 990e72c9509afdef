"""``lsbench inspect`` from what was asked to what it leaves: rooms are joined here as a run joins them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsbench.errors import BadInput
from lsbench.insight.outcome import JSON, Inspection, ModelRead, Text
from lsbench.insight.spec import DEFAULT_NEW_TOKENS, InspectSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.loading import ModelFacts
    from lsbench.engine.stack import DecoderStack
    from lsbench.insight.findings import Findings
    from lsbench.spec import GenerateRequest
    from lsbench.tuning.references import Reference, References
    from lsbench.view import Progress


def check(spec: InspectSpec) -> None:
    """Refuse what can be known to be wrong without a model, a network or a folder.

    Raises:
        BadInput: an unknown model or task, an empty prompt, an output that cannot be written.
    """
    from lsbench.catalog import check_model_name
    from lsbench.evaluation.tasks import check_task_names
    from lsbench.store.naming import ensure_writable

    if any(not prompt.strip() for prompt in spec.prompts):
        raise BadInput("The prompt is empty; write some text, or name a task with --tasks NAME")
    if spec.run.max_new_tokens == 1:
        raise BadInput(
            "--max-new-tokens 1: the first token comes from the prompt's own pass, which no strategy "
            "shortens; give 2 or more"
        )
    check_model_name(spec.run.model)
    ensure_writable(Path(spec.run.output))
    if spec.run.tasks:
        check_task_names(spec.run.tasks, spec.run.include_path)


def inspect(spec: InspectSpec, view: Progress) -> tuple[Inspection, Path]:
    """Look inside a model.

    Args:
        spec: what was asked.
        view: is told of progress.

    Returns:
        what came of it, and the folder where it was written as ``inspect.json``.

    Raises:
        BadInput: anything that was asked wrongly, before the weights are loaded where it can be known then;
            or nothing was written that could be looked at.
    """
    from lsbench.catalog import resolve_model
    from lsbench.engine.loading import load_tokenizer, model_facts, resolve_device, resolve_dtype
    from lsbench.execution.costs import measure_costs
    from lsbench.execution.machine import use_threads
    from lsbench.execution.step_widths import DRAFTING_WIDTHS
    from lsbench.insight.findings import find
    from lsbench.insight.words import about_costs, follows
    from lsbench.measurement.bounds import steady
    from lsbench.store.atomic import write_atomically
    from lsbench.tuning.references import make_references

    check(spec)
    about_load = _about_machine()
    run = spec.run
    device = resolve_device(run.device)
    dtype = resolve_dtype(run.dtype, device)
    source = resolve_model(run.model, run.revision, view)
    facts = model_facts(source.path)
    tokenizer = load_tokenizer(source.path)
    requests, notes = _requests(spec, source.path, facts, tokenizer)
    threads = use_threads(run.threads)
    stack, remarks = _load(source.path, dtype, device, facts, view)
    view.stage("Writing the model's own continuations")
    references = make_references(stack, tokenizer, requests, source.sha256)
    if not references.references:
        raise BadInput(
            "The model wrote a single token after every prompt, and so there is nothing to look at; give "
            "another prompt, or --apply-chat-template"
        )
    view.stage("Measuring what a layer costs")
    typical = sorted(references.references, key=lambda each: each.prompt_length)
    median = typical[len(typical) // 2].request.prompt_tokens
    costs = measure_costs(stack, median, DRAFTING_WIDTHS)
    view.stage("Looking at what each layer predicts")
    settled = steady(costs)
    findings = find(references, settled)
    now = datetime.now(UTC)
    folder = _new_folder(Path(run.output), spec, now)
    model = ModelRead(
        id=source.id,
        sha256=source.sha256,
        num_layers=facts.num_layers,
        dtype=dtype,
        device=device,
        threads=threads,
    )
    unfinished = Inspection(
        schema=1,
        inspect_id=folder.name,
        created=now,
        model=model,
        texts=_texts(references, findings, tokenizer),
        vocabulary=_vocabulary(references, findings, tokenizer),
        layers=findings.layers,
        similarity=tuple(tuple(row) for row in findings.similarity.tolist()),
        costs=settled,
        exits=findings.exits,
        first_reached=findings.first_reached,
        kept=findings.kept,
        skips=findings.skips,
        follows=(),
        notes=(*notes, *remarks, *about_load, *about_costs(costs, settled)),
    )
    made = unfinished.model_copy(update={"follows": tuple(follows(unfinished))})
    write_atomically(folder / JSON, made.model_dump_json(indent=1, by_alias=True) + "\n")
    return made, folder


def _requests(
    spec: InspectSpec, path: Path, facts: ModelFacts, tokenizer: PreTrainedTokenizerBase
) -> tuple[Sequence[GenerateRequest], Iterable[str]]:
    """What is to be continued, and what is to be said of it."""
    from lsbench.evaluation.requests import build_requests

    run = spec.run
    if spec.prompts:
        return _of_prompts(spec, path), ()
    made = build_requests(run, tokenizer, facts.context_length, facts.eos_token_ids)
    if not made.generations:
        raise BadInput(
            f"Task {run.tasks[0]!r} generates nothing, so that there is no continuation to look at; name one "
            "that does, or give a prompt"
        )
    # Of several repeats all begin alike.
    return [request for request in made.generations if request.repeat == 0], made.notes


def _of_prompts(spec: InspectSpec, path: Path) -> list[GenerateRequest]:
    from lsbench.completion import ChatTurn, Completer, CompletionSpec
    from lsbench.execution.worker import Contender
    from lsbench.spec import BASELINE, StrategyChoice
    from lsbench.strategy.registry import resolve

    run = spec.run
    asked = CompletionSpec(
        model=run.model,
        apply_chat_template=run.apply_chat_template,
        max_new_tokens=run.max_new_tokens or DEFAULT_NEW_TOKENS,
    )
    baseline = StrategyChoice(name=BASELINE)
    completer = Completer(asked, Contender(baseline, resolve(baseline)), path)
    requests = [completer.request([ChatTurn("user", prompt)]) for prompt in spec.prompts]
    return [request.model_copy(update={"doc_id": number}) for number, request in enumerate(requests)]


def _load(
    path: Path, dtype: str, device: str, facts: ModelFacts, view: Progress
) -> tuple[DecoderStack, list[str]]:
    """The model, and what a reader should know of how it is run."""
    import torch

    from lsbench.engine.loading import load_stack, weight_type
    from lsbench.engine.native import products_for
    from lsbench.execution.remarks import about_products, about_weights

    products = products_for(weight_type(dtype), torch.device(device), view.stage)
    said = [*about_weights(dtype, facts.has_experts), *about_products(products, device, dtype)]
    view.stage(f"Loading {path.name} in {dtype}")
    return load_stack(path, dtype, device), said


def _texts(
    references: References, findings: Findings, tokenizer: PreTrainedTokenizerBase
) -> tuple[Text, ...]:
    from lsbench.insight.findings import steps_of

    decoder: Any = tokenizer
    return tuple(
        Text(
            name=_name(reference),
            prompt=reference.request.prompt,
            prompt_tokens=reference.prompt_length,
            continuation=decoder.decode(list(reference.tokens)),
            steps=steps_of(reference, lens),
        )
        for reference, lens in zip(references.references, findings.lenses, strict=True)
    )


def _name(reference: Reference) -> str:
    request = reference.request
    return f"{request.task} {request.doc_id}"


def _vocabulary(
    references: References, findings: Findings, tokenizer: PreTrainedTokenizerBase
) -> dict[int, str]:
    """The text of every token that is named."""
    decoder: Any = tokenizer
    run = {token for reference in references.references for token in reference.tokens}
    chosen = {int(token) for lens in findings.lenses for token in lens.choices.ravel()}
    return {token: decoder.decode([token]) for token in sorted(run | chosen)}


def _about_machine() -> list[str]:
    from lsbench.measurement.notes import about_machine
    from lsbench.store.machine import hardware, load_average

    load = load_average()
    return about_machine(None, None if load is None else load[0], hardware().cores)


def _new_folder(output: Path, spec: InspectSpec, now: datetime) -> Path:
    """``YYYYMMDD-HHMMSS-inspect-<task or prompt>-<four hex digits>``, never one that exists.

    Raises:
        BadInput: it cannot be made.
    """
    about = spec.run.tasks[0] if spec.run.tasks else "prompt"
    kept = "".join(letter if letter.isalnum() or letter in "_." else "_" for letter in about)[:40]
    try:
        path = output / f"{now:%Y%m%d-%H%M%S}-inspect-{kept}-{secrets.token_hex(2)}"
        path.mkdir(parents=True)
    except OSError as error:
        raise BadInput(f"Cannot write results to {output}: {error.strerror or error}.") from error
    return path
