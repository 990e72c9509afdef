"""What a model's name refers to, found out without a network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lsbench.catalog.entries import CATALOGUE, ModelEntry, find_entry
from lsbench.errors import BadInput, nearest

WORKS_OFFLINE = (
    f"Without a network these work: {CATALOGUE[0].name} (once prepared), "
    "a local transformers folder, a .gguf file."
)

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True)
class Packaged:
    """A catalogue name whose file comes from the Python package index."""

    entry: ModelEntry


@dataclass(frozen=True)
class OnHub:
    """A model of the hub, by id."""

    id: str


@dataclass(frozen=True)
class Folder:
    """A local transformers folder."""

    path: Path


@dataclass(frozen=True)
class GgufFile:
    """A local GGUF file."""

    path: Path


Reference = Packaged | OnHub | Folder | GgufFile


def check_model_name(name: str) -> None:
    """Refuse a name that can be no model, before anything is loaded or fetched.

    Raises:
        BadInput: ``name`` is neither a name of the catalogue, nor a folder with ``config.json``, nor
            a GGUF file, nor of the form of a hub id; the message offers the nearest catalogue name.
    """
    refer(name)


def refer(name: str) -> Reference:
    """What ``name`` refers to. Catalogue names win over folders; write ``./name`` for such a folder.

    Raises:
        BadInput: as for ``check_model_name``.
    """
    if entry := find_entry(name):
        return Packaged(entry) if entry.kind == "package" else OnHub(entry.origin)
    path = Path(name).expanduser()
    if name.lower().endswith(".gguf"):
        return GgufFile(_checked_gguf(name, path))
    if name and path.is_dir():
        if not (path / "config.json").is_file():
            raise BadInput(f"Model folder {name!r} has no config.json; give a transformers model folder.")
        return Folder(path.absolute())
    if _HUB_ID.fullmatch(name):
        return OnHub(name)
    raise _unknown(name)


def _checked_gguf(name: str, path: Path) -> Path:
    try:
        with path.open("rb") as file:
            if file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC:
                return path.absolute()
    except FileNotFoundError:
        beside = [p.name for p in path.parent.glob("*.gguf")] if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        hint = f" Did you mean {str(path.with_name(close))!r}?" if close else ""
        raise BadInput(f"Model file {name!r} does not exist.{hint}") from None
    except OSError as error:
        raise BadInput(f"Model file {name!r} cannot be read: {error.strerror}.") from error
    raise BadInput(f"Model file {name!r} is not a GGUF file: it does not begin with 'GGUF'.")


def nearest_name(name: str) -> str | None:
    """The catalogue name that ``name`` resembles, whole or by a part such as ``llama3-8b``, or None."""
    forms: dict[str, str] = {}
    for entry in CATALOGUE:
        words = entry.name.split("-")
        for first in range(len(words)):
            for last in range(first + 1, len(words) + 1):
                forms.setdefault("-".join(words[first:last]), entry.name)
    close = nearest(name.rpartition("/")[2].lower(), [e.name for e in CATALOGUE]) or nearest(
        name.lower(), forms
    )
    return forms[close] if close else None


def _unknown(name: str) -> BadInput:
    close = nearest_name(name)
    hint = f" Did you mean {close!r}?" if close else ""
    return BadInput(
        f"Unknown model {name!r}.{hint} Give one of {', '.join(e.name for e in CATALOGUE)}, "
        "a hub id owner/name, a transformers folder with config.json, or a .gguf file."
    )
