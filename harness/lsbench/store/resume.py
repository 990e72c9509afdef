"""Whether a stopped run may be gone on with: only if the same is asked, of the same weights."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lsbench.errors import BadInput
from lsbench.records import Products
from lsbench.spec import RunSpec, StrategyChoice
from lsbench.store import machine
from lsbench.store.manifest import Manifest

_WHERE_ONLY = {"output", "backend", "ray_address", "max_retries", "replicas"}
"""Fields that say where results go and where a run takes place, not what is measured: speed is paired within
one replica of one segment only. Shards are another matter: their sums are rounded differently, so
``tensor_parallel`` must stay."""


def check_resumable(
    manifest: Manifest,
    spec: RunSpec,
    model_sha256: str | None = None,
    data_sha256: Mapping[str, str] | None = None,
) -> None:
    """Refuse to mix two questions in one folder.

    Args:
        manifest: of the stopped run.
        spec: what the resuming command asks.
        model_sha256: hash of the weights the resuming command would run; None when not known yet.
        data_sha256: by task, the hash of what it asks now; None when not known yet.

    Raises:
        BadInput: naming every field that differs, with both values, or what else has changed.
    """
    differing = [
        f"{name} was {_text(getattr(manifest.spec, name))}, now {_text(getattr(spec, name))}"
        for name in RunSpec.model_fields
        if name not in _WHERE_ONLY and getattr(manifest.spec, name) != getattr(spec, name)
    ]
    if differing:
        raise BadInput(
            f"Cannot resume {manifest.run_id}: {'; '.join(differing)}. "
            "Give the run's own options, or start a new run without --resume."
        )
    stored = manifest.model.sha256 if manifest.model else None
    if stored and model_sha256 and stored != model_sha256:
        raise BadInput(
            f"Cannot resume {manifest.run_id}: the weights of {manifest.spec.model!r} had SHA-256 "
            f"{stored}, now {model_sha256}. Restore them, or start a new run without --resume."
        )
    for task, asked in manifest.data_sha256.items():
        if data_sha256 is not None and data_sha256.get(task) != asked:
            raise BadInput(
                f"Cannot resume {manifest.run_id}: task {task!r} asks something else now than when the run "
                "began (its data, its file or the tokenizer has changed). Restore it, or start a new run "
                "without --resume."
            )


def changes_since(manifest: Manifest, segment: int, products: Products | None = None) -> list[str]:
    """Versions, hardware and products that are not as they were when the run began, in words.

    They do not stop a resume: speed is paired within a segment only.

    Args:
        manifest: of the run.
        segment: the one that begins now.
        products: that serve now; None where that is not known.
    """
    now = machine.versions()
    changed = [
        f"{name} {manifest.versions.get(name)} then, {version} now"
        for name, version in now.items()
        if manifest.versions.get(name) != version
    ]
    cpu = machine.hardware().cpu
    if cpu != manifest.hardware.cpu:
        changed.append(f"processor {manifest.hardware.cpu} then, {cpu} now")
    if products is not None and products != manifest.products:
        before = "torch's own" if manifest.products is None else manifest.products.words
        changed.append(f"few-row products: {before} then, {products.words} now")
    return [f"Resumed (segment {segment}) with {change}." for change in changed]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if isinstance(value, StrategyChoice):
        return value.label
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)
