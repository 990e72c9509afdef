"""Whether a transformers folder is whole, and what its weights are, by hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import RootModel, ValidationError

from lsbench.catalog.fingerprint import Fingerprint, fingerprint
from lsbench.errors import BadInput
from lsbench.user_cache import cache_folder

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt")


class _Known(RootModel[dict[str, Fingerprint]]):
    """Fingerprints of files by their absolute path."""


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that hold a folder's weights, in order of name, once the folder is found whole.

    Safetensors are read as far as their header, which tells a truncated file; ``pytorch_model*.bin``
    counts only where there are none.

    Raises:
        BadInput: no readable ``config.json``, no weights, a part of them missing or truncated, or no
            tokenizer.
    """
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"Model folder {str(folder)!r} has no readable config.json ({error}).") from error
    files = _named_files(folder)
    if missing := [file.name for file in files if not file.is_file()]:
        raise BadInput(f"Model folder {str(folder)!r} lacks the weights {', '.join(missing)}.")
    for file in files:
        _check_header(file)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise BadInput(
            f"Model folder {str(folder)!r} holds no tokenizer; expected one of {', '.join(_TOKENIZER_FILES)}."
        )
    return files


def weights_sha256(folder: Path) -> str:
    """SHA-256 that identifies a folder's weights: of the file, or of all files' names and hashes.

    Hashes are remembered in the user's cache and taken from there while a file's size and time stay.

    Raises:
        BadInput: the folder is not whole, as for ``weight_files``.
    """
    files = weight_files(folder)
    hashes = remembered_sha256(files)
    if len(files) == 1:
        return hashes[files[0]]
    lines = "".join(f"{hashes[file]}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def remembered_sha256(files: tuple[Path, ...]) -> dict[Path, str]:
    """SHA-256 of each file, read again only where size or time differ from the last time.

    Raises:
        BadInput: a file cannot be read.
    """
    names = [str(file.absolute()) for file in files]
    key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
    memory = cache_folder() / "hashes" / f"{key}.json"
    try:
        known = _Known.model_validate_json(memory.read_bytes()).root
    except (OSError, ValidationError):
        known = {}
    try:
        now = {name: fingerprint(file, known.get(name)) for name, file in zip(names, files, strict=True)}
    except OSError as error:
        raise BadInput(f"Cannot read the model file {error.filename!r}: {error.strerror}.") from error
    if now != known:
        _write(memory, _Known(now))
    return {file: now[name].sha256 for name, file in zip(names, files, strict=True)}


def _named_files(folder: Path) -> tuple[Path, ...]:
    """The files that transformers would load, whether or not all are there."""
    for whole in ("model.safetensors", "pytorch_model.bin"):
        if (folder / whole).is_file():
            return (folder / whole,)
        index = folder / f"{whole}.index.json"
        if index.is_file():
            try:
                parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadInput(f"Cannot read the index of weights {str(index)!r} ({error}).") from error
            return tuple(folder / part for part in sorted(parts))
    raise BadInput(
        f"Model folder {str(folder)!r} holds no weights: no model.safetensors, no pytorch_model.bin, "
        "and no index of either."
    )


def _check_header(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors":
        return
    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise BadInput(f"Weights {str(file)!r} are damaged or cut short ({error}).") from error


def _write(memory: Path, known: _Known) -> None:
    import tempfile

    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=memory.parent, suffix=".tmp", delete=False) as file:
            file.write(known.model_dump_json(indent=1))
        Path(file.name).replace(memory)
    except OSError:
        return  # remembering only saves time
