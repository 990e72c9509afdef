"""A JSON Lines file of prompts, read strictly: what cannot be used is named by its line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PROMPT = "prompt"
REFERENCE = "reference"
"""The fields that are read unless others are named."""
NO_REFERENCE = "none"
"""In the place of a field's name: the lines have no references, and nothing is scored."""
SHOWN = 5
"""Bad lines that are described; the others are counted."""

_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


class BadLines(ValueError):
    """A file cannot be used; the text says where and why, in one line, without the file's name."""


@dataclass(frozen=True)
class Line:
    """One prompt."""

    number: int
    """Of the line in its file, from 1."""
    prompt: str
    references: tuple[str, ...]
    """Texts that would each be right; empty where the file has no references."""


def read_lines(path: Path, prompt: str = PROMPT, reference: str = REFERENCE) -> list[Line]:
    """Every line of a file; empty lines are passed over.

    Args:
        path: of a file with one JSON object a line, in UTF-8.
        prompt: which field is the prompt, a text.
        reference: which field is what would be right, a text or a list of texts; ``NO_REFERENCE`` for none.

    Raises:
        BadLines: a line is no such object, or there is none.
        OSError: the file cannot be read.
    """
    lines: list[Line] = []
    found: list[tuple[int, dict[str, object]]] = []
    bad: list[tuple[int, str]] = []
    fields = [prompt] if reference == NO_REFERENCE else [prompt, reference]
    for number, raw in _raw(path):
        if not found and not bad and raw.lstrip().startswith(b"["):
            raise BadLines("the file holds a JSON list; write one JSON object a line")
        try:
            content = _parsed(raw)
            found.append((number, content))
            lines.append(_line(number, content, *fields))
        except BadLines as error:
            bad.append((number, str(error)))
    if not found and not bad:
        raise BadLines("it holds no line; write one JSON object a line")
    for field in fields:
        if found and all(field not in content for _, content in found):
            raise BadLines(f"every line: {_absent(field, found[0][1])}")
    if bad:
        _complain(bad, len(lines) + len(bad))
    return lines


def divided(
    path: Path, prompt: str, reference: str, examples: int, example_path: Path | None
) -> tuple[list[Line], list[Line]]:
    """The lines to evaluate, and the examples that stand before each of them; no prompt is both.

    Args:
        path: the file to evaluate.
        prompt: its field, in both files.
        reference: likewise.
        examples: how many are wanted.
        example_path: the file whose first lines they are; None sets the first lines of ``path`` aside.

    Raises:
        BadLines: as ``read_lines``; there are too few lines, or a prompt would be example and evaluated.
        OSError: a file cannot be read.
    """
    lines = read_lines(path, prompt, reference)
    if not examples:
        return lines, []
    if reference == NO_REFERENCE:
        raise BadLines("examples need references, and the reference field is 'none'")
    if example_path is None:
        shown, lines = lines[:examples], lines[examples:]
        if not lines:
            raise BadLines(
                f"it has {len(shown)} lines, and {examples} set aside as examples leave none to evaluate"
            )
        of_which = "the same file"
    else:
        try:
            shown = read_lines(example_path, prompt, reference)[:examples]
        except BadLines as error:
            raise BadLines(f"of the examples in {example_path}: {error}") from error
        if len(shown) < examples:
            raise BadLines(f"{examples} examples are wanted, but {example_path} has {len(shown)} lines")
        of_which = str(example_path)
    numbers = {line.prompt: line.number for line in shown}
    for line in lines:
        if line.prompt in numbers:
            raise BadLines(
                f"line {line.number} has the prompt of the example in line {numbers[line.prompt]} of "
                f"{of_which}: a prompt that is shown with its answer cannot be evaluated"
            )
    return lines, shown


def _raw(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            content = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if content.strip():
                yield number, content


def _parsed(raw: bytes) -> dict[str, object]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLines(
            f"not UTF-8 (byte 0x{raw[error.start]:02x} at {error.start + 1}); save the file as UTF-8"
        ) from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadLines(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise BadLines("not JSON that can be read (nested too deeply)") from error
    if not isinstance(content, dict):
        raise BadLines(f"{_kind(content)}, not an object")
    return content


def _line(number: int, content: Mapping[str, object], prompt: str, reference: str | None = None) -> Line:
    text = _text(prompt, _field(prompt, content))
    if reference is None:
        return Line(number, text, ())
    given = _field(reference, content)
    if not isinstance(given, list):
        return Line(number, text, (_text(reference, given),))
    if not given:
        raise BadLines(f"{reference!r} is an empty list")
    return Line(number, text, tuple(_text(reference, each) for each in given))


def _field(name: str, content: Mapping[str, object]) -> object:
    if name not in content:
        raise BadLines(_absent(name, content))
    return content[name]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadLines(f"{name!r} is {_kind(value)}, not a text")
    if not value.strip():
        raise BadLines(f"{name!r} is empty")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadLines(f"{name!r} holds half of a surrogate pair, which is no character")
    return value


def _absent(name: str, content: Mapping[str, object]) -> str:
    """The missing field, with the one that was perhaps meant."""
    close = _nearest(name, content)
    hint = f" (did you mean {close!r}?)" if close else ""
    return f"no field {name!r}{hint}; fields: {', '.join(map(repr, content)) or 'none'}"


def _nearest(name: str, valid: Iterable[str]) -> str | None:
    """In any case of its letters."""
    by_lower = {field.lower(): field for field in valid}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a number")


def _complain(bad: Sequence[tuple[int, str]], lines: int) -> NoReturn:
    described = "; ".join(f"line {number}: {reason}" for number, reason in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    raise BadLines(f"{len(bad)} of {lines} lines cannot be used: {described}{more}")
