"""Where to look, as people write it: ``--space NAME=LOW..HIGH``, ``--space NAME=a,b,c`` and
``--fix NAME=VALUE``, or the same in a YAML file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import JsonValue

from lsbench.errors import BadInput, unknown
from lsbench.option_text import read_value, write_value
from lsbench.tuning.domains import Domain, Real, Whole, among

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*")
_RANGE_KEYS = frozenset({"low", "high"})


def read_spaces(texts: Iterable[str]) -> dict[str, Domain]:
    """What ``--space`` was given, by option.

    A range of whole numbers is one of whole numbers only where the option is: ``0..1`` of a threshold is all
    between.

    Raises:
        BadInput: another spelling, an option given twice, or an empty range.
    """
    found: dict[str, Domain] = {}
    for text in texts:
        name, value = _split(text, "--space", "NAME=LOW..HIGH or NAME=a,b,c")
        if name in found:
            raise BadInput(f"--space {name} is given twice")
        matched = _RANGE.fullmatch(value)
        if matched:
            found[name] = _range(name, read_value(matched[1]), read_value(matched[2]))
            continue
        try:
            values = read_value(f"[{value}]")
        except ValueError as error:
            raise BadInput(f"--space {name}: cannot read {value!r}; write LOW..HIGH or a,b,c") from error
        found[name] = _values(name, values)
    return found


def read_fixes(texts: Iterable[str]) -> dict[str, JsonValue]:
    """What ``--fix`` was given, by option.

    Raises:
        BadInput: another spelling, or an option given twice.
    """
    found: dict[str, JsonValue] = {}
    for text in texts:
        name, value = _split(text, "--fix", "NAME=VALUE")
        if name in found:
            raise BadInput(f"--fix {name} is given twice")
        try:
            found[name] = read_value(value)
        except ValueError as error:
            raise BadInput(f"--fix {name}: cannot read the value {value!r}") from error
    return found


def read_space_file(path: Path) -> tuple[dict[str, Domain], dict[str, JsonValue]]:
    """A file of what to search and what to fix.

    Raises:
        BadInput: it cannot be read, or says something else.
    """
    import yaml

    try:
        content: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"--space {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"--space {path} is not YAML") from error
    if not isinstance(content, dict):
        raise BadInput(f"--space {path} holds no options; write lines such as `threshold: 0.5..0.95`")
    return read_mapping({str(name): value for name, value in content.items()})


def read_mapping(content: Mapping[str, JsonValue]) -> tuple[dict[str, Domain], dict[str, JsonValue]]:
    """What to search and what to fix, by option.

    A list is searched, value by value, and so is ``0.5..0.95`` or ``{low: 0.5, high: 0.95}``; anything else
    is fixed. ``{fix: [4, 8]}`` fixes an option to a list.

    Raises:
        BadInput: a range that is none, or a mapping of other keys.
    """
    spaces: dict[str, Domain] = {}
    fixed: dict[str, JsonValue] = {}
    for name, value in content.items():
        matched = _RANGE.fullmatch(value) if isinstance(value, str) else None
        if matched:
            spaces[name] = _range(name, read_value(matched[1]), read_value(matched[2]))
        elif isinstance(value, list):
            spaces[name] = _values(name, value)
        elif isinstance(value, dict):
            if value.keys() == {"fix"}:
                fixed[name] = value["fix"]
                continue
            for key in value:
                if key not in _RANGE_KEYS:
                    raise unknown(f"key in the space of {name!r}", key, [*_RANGE_KEYS, "fix"])
            spaces[name] = _range(name, value.get("low"), value.get("high"))
        else:
            fixed[name] = value
    return spaces, fixed


def _split(text: str, flag: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise BadInput(f"{flag} {text!r} is not of the form {form}")
    return name.strip(), value.strip()


def _range(name: str, low: JsonValue, high: JsonValue) -> Domain:
    if not _is_number(low) or not _is_number(high):
        raise BadInput(f"The space of {name!r} needs a low and a high number, not {low} and {high}")
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    if low >= high:
        hint = f"; to give it one value, write --fix {name}={write_value(low)}" if low == high else ""
        raise BadInput(f"The space of {name!r} is empty: {low:g}..{high:g}{hint}")
    if isinstance(low, int) and isinstance(high, int):
        return Whole(low, high)
    return Real(float(low), float(high))


def _values(name: str, values: JsonValue) -> Domain:
    if not isinstance(values, list) or not values:
        raise BadInput(f"The space of {name!r} holds no value")
    return among(values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
