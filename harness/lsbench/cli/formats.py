"""Where a written form goes: which one is meant, and onto the terminal or into a file."""

from __future__ import annotations

import sys
from pathlib import Path

from lsbench.errors import BadInput, unknown

_SUFFIXES = {
    ".md": "markdown", ".markdown": "markdown", ".csv": "csv", ".html": "html", ".htm": "html",
    ".tex": "latex", ".txt": "rich",
}  # fmt: skip


def chosen_format(given: str | None, file: Path | None, known: tuple[str, ...]) -> str | None:
    """The form that was asked for by name, else by the file's ending; None where neither tells.

    Raises:
        BadInput: there is no such form, or the file's ending tells none.
    """
    if given is not None:
        if given not in known:
            raise unknown("--format", given, known)
        return given
    if file is None:
        return None
    found = _SUFFIXES.get(file.suffix.lower())
    if found not in known:
        raise BadInput(f"--output-file {file}: its ending tells no format; add --format {'|'.join(known)}")
    return found


def written_form(given: str | None, file: Path | None, known: tuple[str, ...], as_json: bool) -> str | None:
    """``chosen_format``, where ``--json`` leaves room for it and the file can be written to.

    Raises:
        BadInput: either does not hold, or there is no such form.
    """
    check_file(file)
    form = chosen_format(given, file, known)
    if as_json and form is not None and file is None:
        raise BadInput("--json and --format would both be on stdout; give one, or --output-file FILE")
    return form


def check_file(file: Path | None) -> None:
    """Refuse what cannot be written to before anything is made.

    Raises:
        BadInput: it is a folder, or lies in none.
    """
    if file is None:
        return
    if file.is_dir():
        raise BadInput(f"--output-file {file} is a folder; give a file (--output DIR says where runs are)")
    if not file.parent.is_dir():
        raise BadInput(f"--output-file {file}: there is no folder {file.parent}")


def put(text: str, file: Path | None) -> None:
    """Onto standard output, or into a file in place of what it held.

    Raises:
        BadInput: the file cannot be written.
    """
    if file is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
        return
    from lsbench.store.atomic import write_atomically

    try:
        write_atomically(file, text)
    except OSError as error:
        raise BadInput(f"Cannot write {file}: {error.strerror or error}.") from error
    print(f"lsbench: wrote {file}", file=sys.stderr)
