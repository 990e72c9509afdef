"""What a report says about the run itself: asked for what, on which machine, with which versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.report import figures

if TYPE_CHECKING:
    from lsbench.store.machine import GitState, Hardware
    from lsbench.store.manifest import Manifest, ModelFacts

Named = tuple[tuple[str, str], ...]
"""Names with their values, in the order they are shown."""


@dataclass(frozen=True)
class RunFacts:
    """The part of a manifest that reports show, already as text."""

    started: str | None = None
    """When the run began."""
    settings: Named = ()
    """What was asked: tasks, limit, seed, threads, ..."""
    machine: Named = ()
    """What it ran on."""
    versions: Named = ()
    """Packages that could change the figures."""
    notes: tuple[str, ...] = ()
    """What the run itself noted, besides ``Metrics.notes``."""
    manifest: str = ""
    """The whole manifest as indented JSON, for whoever wants to run it again."""


def run_facts(manifest: Manifest) -> RunFacts:
    """What reports show of ``manifest``."""
    spec, hardware = manifest.spec, manifest.hardware
    asked = spec.model_dump(mode="json", exclude_defaults=True, exclude={"strategies", "tasks", "output"})
    settings = [
        ("strategies", ", ".join(choice.label for choice in spec.strategies)),
        ("tasks", ", ".join(spec.tasks)),
        *((name.replace("_", " "), str(value)) for name, value in asked.items()),
        ("seed", str(spec.seed)),
    ]
    machine = machine_facts(hardware, manifest.threads)
    if manifest.placements:
        latest = manifest.placements[-1]
        machine += [("processes", latest.words), ("hosts", latest.hosts_in_words)]
    if manifest.products is not None:
        machine.append(("few-row products", manifest.products.words))
    if manifest.bandwidth is not None:
        machine.append(("memory bandwidth", figures.rate(manifest.bandwidth.bytes_per_second)))
    if manifest.load_average is not None:
        machine.append(("load before the run", f"{manifest.load_average[0]:.1f}"))
    if manifest.sandbox is not None:
        machine.append(("sandbox for generated code", manifest.sandbox))
    versions = version_facts(manifest.versions, manifest.git, manifest.model)
    return RunFacts(
        started=f"{manifest.created:%Y-%m-%d %H:%M} UTC",
        settings=tuple(dict(settings).items()),
        machine=tuple(machine),
        versions=tuple(versions),
        notes=manifest.notes,
        manifest=manifest.model_dump_json(by_alias=True, indent=2),
    )


def machine_facts(hardware: Hardware, threads: int | None) -> list[tuple[str, str]]:
    """What it ran on."""
    return [
        ("processor", f"{hardware.cpu}, {hardware.cores} cores"),
        *(("accelerator", gpu) for gpu in hardware.gpus),
        ("memory", figures.size(hardware.memory_bytes)),
        ("system", hardware.system),
        ("threads", figures.NONE if threads is None else str(threads)),
    ]


def version_facts(
    installed: Mapping[str, str | None], git: GitState | None, model: ModelFacts | None
) -> list[tuple[str, str]]:
    """Packages, source and weights."""
    versions = [(name, version or "not installed") for name, version in installed.items()]
    if git is not None:
        versions.append(("source", git.commit[:12] + (", with changes" if git.dirty else "")))
    if model is not None:
        versions.append(("weights (SHA-256)", model.sha256))
    return versions
