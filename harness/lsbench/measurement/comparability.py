"""Whether runs can be compared at all: what they must have alike, and have not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lsbench.comparison import Mismatch
from lsbench.measurement.pairing import Prompt, prompt_of
from lsbench.records import UNTIMED

if TYPE_CHECKING:
    from lsbench.store.manifest import Manifest
    from lsbench.store.stored_run import StoredRun

_SHOWN_HASH = 12
_UNFINISHED = ("running", "interrupted")


def mismatches(runs: Mapping[str, StoredRun]) -> tuple[Mismatch, ...]:
    """Everything in which runs differ that must be alike, the weightiest first; nothing for one run.

    What only could have made a difference (versions of torch, a commit) is told by ``remarks``.

    Args:
        runs: by their letters.
    """
    found = [_differing_weights(runs)]
    found += [_differing(what, {key: tell(run) for key, run in runs.items()}) for what, tell in _ALIKE]
    found += [_differing_data(runs), _differing_documents(runs), _differing_prompts(runs)]
    return tuple(mismatch for mismatch in found if mismatch is not None)


def remarks(runs: Mapping[str, StoredRun]) -> list[str]:
    """What runs differ in that does not forbid comparing them, in sentences."""
    said: list[str] = []
    for what, tell in _TOLD:
        differing = _differing(what, {key: tell(run.manifest) for key, run in runs.items()})
        if differing is not None:
            said.append(
                f"The runs differ in {differing.words}: a difference between them may come from that."
            )
    return said


def prompts_of(run: StoredRun) -> dict[Prompt, str]:
    """Every prompt that a run's baseline was asked, failed ones included, with a hash of what was asked."""
    asked: dict[Prompt, str] = {}
    for record in run.records:
        if record.label == run.manifest.spec.baseline and record.kind not in UNTIMED:
            text = f"{record.kind}\0{record.arguments_sha256}\0{record.prompt}"
            asked[prompt_of(record)] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return asked


def _differing(what: str, values: Mapping[str, str]) -> Mismatch | None:
    return Mismatch(what=what, values=dict(values)) if len(set(values.values())) > 1 else None


def _differing_weights(runs: Mapping[str, StoredRun]) -> Mismatch | None:
    """By their hash alone: one model may have been named in two ways."""
    if len({run.model.sha256 for run in runs.values()}) < 2:
        return None
    values = {key: f"{run.model.id} {run.model.sha256[:_SHOWN_HASH]}" for key, run in runs.items()}
    return Mismatch(what="weights", values=values)


def _differing_data(runs: Mapping[str, StoredRun]) -> Mismatch | None:
    """The documents of a task of the same name, by their hash."""
    tasks = set.intersection(*(set(run.manifest.data_sha256) for run in runs.values()))
    for task in sorted(tasks):
        values = {key: run.manifest.data_sha256[task][:_SHOWN_HASH] for key, run in runs.items()}
        found = _differing(f"data of {task}", values)
        if found is not None:
            return found
    return None


def _differing_documents(runs: Mapping[str, StoredRun]) -> Mismatch | None:
    """Which documents were asked for; a run that was stopped is no other for having fewer."""
    asked = {key: prompts_of(run) for key, run in runs.items()}
    finished = {
        key: frozenset(prompts)
        for key, prompts in asked.items()
        if runs[key].metrics.status not in _UNFINISHED
    }
    tasks = [frozenset(run.manifest.spec.tasks) for run in runs.values()]
    if len(set(tasks)) > 1 or len(set(finished.values())) < 2:
        return None  # other tasks are told as such
    shared = frozenset.intersection(*finished.values())
    documents = {key: f"{len({(task, doc) for task, doc, _ in prompts})}" for key, prompts in asked.items()}
    together = len({(task, doc) for task, doc, _ in shared})
    return Mismatch(what=f"documents, {together} of them shared", values=documents)


def _differing_prompts(runs: Mapping[str, StoredRun]) -> Mismatch | None:
    """What was asked about the same documents."""
    asked = {key: prompts_of(run) for key, run in runs.items()}
    shared = frozenset.intersection(*map(frozenset, asked.values()))
    other = [prompt for prompt in shared if len({prompts[prompt] for prompts in asked.values()}) > 1]
    if not other:
        return None
    digests = {
        key: hashlib.sha256("".join(prompts[prompt] for prompt in sorted(other)).encode()).hexdigest()
        for key, prompts in asked.items()
    }
    return Mismatch(
        what=f"prompts of {len(other)} of {len(shared)} documents",
        values={key: digest[:_SHOWN_HASH] for key, digest in digests.items()},
    )


def _sampling(run: StoredRun) -> str:
    """As asked; what tasks ask for themselves is among the arguments of their requests."""
    spec = run.manifest.spec
    named = {"temperature": spec.temperature, "top_p": spec.top_p, "top_k": spec.top_k}
    said = [f"{name}={value:g}" for name, value in named.items() if value is not None]
    draws = bool(spec.temperature) or any(record.kind == "certificate" for record in run.records)
    return " ".join([*said, *([f"seed={spec.seed}"] if draws else [])]) or "the tasks' own"


def _processor(run: StoredRun) -> str:
    hardware = run.manifest.hardware
    return ", ".join([f"{hardware.cpu}, {hardware.cores} cores", *hardware.gpus])


def _processes(run: StoredRun) -> str:
    spec = run.manifest.spec
    return f"{spec.replicas} x {spec.tensor_parallel}"


def _products(run: StoredRun) -> str:
    products = run.manifest.products
    return "torch's own" if products is None else f"{products.kind}: {products.detail}"


def _lm_eval(run: StoredRun) -> str:
    return run.manifest.versions.get("lm_eval") or "not installed"


_ALIKE: Sequence[tuple[str, Callable[[StoredRun], str]]] = (
    ("dtype", lambda run: run.model.dtype),
    ("baseline", lambda run: run.manifest.spec.baseline),
    ("tasks", lambda run: " ".join(sorted(run.manifest.spec.tasks))),
    ("few-shot examples", lambda run: _or_own(run.manifest.spec.num_fewshot)),
    ("chat template", lambda run: "yes" if run.manifest.spec.apply_chat_template else "no"),
    ("most new tokens", lambda run: _or_own(run.manifest.spec.max_new_tokens)),
    ("sampling", _sampling),
    ("hardware", _processor),
    ("threads", lambda run: str(run.manifest.threads)),
    ("few-row products", _products),
    ("batch size", lambda run: str(run.manifest.spec.batch_size)),
    ("replicas x ranks", _processes),
    ("lm-eval", _lm_eval),
)
"""What runs must have alike, and how each tells its own."""


def _or_own(value: int | None) -> str:
    return "the tasks' own" if value is None else str(value)


def _installed(package: str) -> Callable[[Manifest], str]:
    return lambda manifest: manifest.versions.get(package) or "not installed"


def _source(manifest: Manifest) -> str:
    if manifest.git is None:
        return "unknown"
    return manifest.git.commit[:_SHOWN_HASH] + (" with changes" if manifest.git.dirty else "")


_TOLD: Sequence[tuple[str, Callable[[Manifest], str]]] = (
    ("lsbench", _installed("lsbench")),
    ("source", _source),
    ("torch", _installed("torch")),
    ("transformers", _installed("transformers")),
    ("python", _installed("python")),
    ("system", lambda manifest: manifest.hardware.system),
)
