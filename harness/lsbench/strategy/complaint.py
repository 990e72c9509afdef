"""What an option takes, in words, and what was wrong with the value it was given."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import JsonValue, ValidationError
from pydantic.fields import FieldInfo

from lsbench.errors import nearest
from lsbench.option_text import write_value

_LONGEST = 80
"""Characters of a value that a message repeats."""


def complaint(
    error: ValidationError, fields: Mapping[str, FieldInfo], given: Mapping[str, JsonValue], prefix: str = ""
) -> str:
    """One line on the first option that is wrong.

    Args:
        error: of the options model.
        fields: its fields.
        given: what was validated.
        prefix: what stands before an option's name where a person wrote it.
    """
    first = error.errors()[0]
    message = (first["msg"].splitlines() or [""])[0]
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    name = str(first["loc"][0]) if first["loc"] else ""
    if name not in fields:
        return f"{prefix}{name}: {message}" if name else message
    field, value = fields[name], given.get(name)
    name = f"{prefix}{name}"
    if first["type"] == "missing":
        return f"{name} is required ({field.description})"
    written = write_value(value)
    written = written if len(written) <= _LONGEST else written[: _LONGEST - 3] + "..."
    if first["type"] in ("value_error", "assertion_error"):
        return f"{name}={written}: {message}"
    taken = _alternatives(field.annotation, field.metadata)
    if not taken:
        return f"{name}: {message} (got {written})"
    words = _words(field.annotation)
    close = nearest(value, words) if isinstance(value, str) else None
    hint = f". Did you mean {close}?" if close else ""
    return f"{name} must be {_listed(taken)}, not {written}{hint}"


def _alternatives(annotation: Any, metadata: Iterable[Any], plural: bool = False) -> list[str]:
    """Each thing that a type takes; nothing when there are no words for it. None is left unsaid."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _alternatives(arguments[0], _flat(arguments[1:]), plural)
    if origin in (Union, types.UnionType):
        each = [
            _alternatives(argument, metadata, plural) for argument in arguments if argument is not type(None)
        ]
        return [words for alternatives in each for words in alternatives] if all(each) else []
    if origin is Literal:
        return [write_value(value) for value in arguments]
    if (origin is tuple and arguments[1:] == (Ellipsis,)) or origin is list:
        items = _alternatives(arguments[0], (), plural=True)
        return [f"{'lists' if plural else 'a list'} of {_listed(items)}"] if items else []
    if annotation is bool:
        return ["true", "false"]
    if annotation is str:
        return ["texts" if plural else "text"]
    if annotation in (int, float):
        noun = ("whole " if annotation is int else "") + "number"
        return [(f"{noun}s" if plural else f"a {noun}") + _range(metadata)]
    return []


def _words(annotation: Any) -> list[str]:
    """The texts among the values that a type names one by one."""
    if get_origin(annotation) is Literal:
        return [value for value in get_args(annotation) if isinstance(value, str)]
    if get_origin(annotation) in (Union, types.UnionType):
        return [word for argument in get_args(annotation) for word in _words(argument)]
    return []


def _range(metadata: Iterable[Any]) -> str:
    """`` of at least 1``, `` above 0 and below 1``, ...; empty without bounds."""
    bounds = {
        key: getattr(item, key) for item in metadata for key in ("ge", "gt", "le", "lt") if hasattr(item, key)
    }
    if bounds.keys() == {"ge", "le"}:
        return f" from {bounds['ge']:g} to {bounds['le']:g}"
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    parts = [f"{words[key]} {bound:g}" for key, bound in sorted(bounds.items())]
    return " " + " and ".join(parts) if parts else ""


def _flat(metadata: Iterable[Any]) -> list[Any]:
    """Bounds given through ``Field`` lie one level deeper."""
    return [
        item for entry in metadata for item in (entry.metadata if isinstance(entry, FieldInfo) else [entry])
    ]


def _listed(parts: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``; with a comma before the last when a part has an "or" of its own."""
    if len(parts) == 1:
        return parts[0]
    last = ", or " if any(" or " in part for part in parts) else " or "
    return ", ".join(parts[:-1]) + last + parts[-1]
