"""Option values as text: what ``key=value,...`` means, and how a value is written so that it reads back.

A value is a YAML flow scalar, list or mapping, with the scalars of YAML 1.2's core schema in decimal: only
``true`` and ``false`` are booleans (``on`` and ``no`` are words), ``1e-3`` is a number, ``12:30`` and
``2024-01-01`` are words. PyYAML on its own reads YAML 1.1, where each of these is something else.
"""

from __future__ import annotations

import json
import re

import yaml
from pydantic import JsonValue, TypeAdapter

_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
_PLAIN = re.compile(r"[A-Za-z0-9_./~+-][A-Za-z0-9_./~+=@%-]*")
"""Words that need no quotes wherever they stand, unless they read as something else (``12``, ``true``)."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with none of YAML 1.1's implicit types."""


_Loader.yaml_implicit_resolvers = {}


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = loader.construct_scalar(node).lower()
    if node.tag.endswith(":int"):
        return int(text)
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def read_value(text: str) -> JsonValue:
    """The value that ``text`` spells.

    Raises:
        ValueError: it is not YAML, or holds what JSON has no word for (bytes, dates, keys that are not text).
    """
    if not text.strip():
        return ""
    try:
        # A subclass of PyYAML's safe loader: it makes plain values only, never objects.
        return _JSON.validate_python(yaml.load(text, _Loader))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("not a value that YAML can read") from error


def write_value(value: JsonValue) -> str:
    """One line of printable text that ``read_value`` reads as ``value``, plain where that is unambiguous."""
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    if isinstance(value, list):
        return "[" + ",".join(write_value(item) for item in value) + "]"
    if isinstance(value, dict):
        items = (f"{_quoted(key)}: {write_value(item)}" for key, item in sorted(value.items()))
        return "{" + ",".join(items) + "}"
    return json.dumps(value).replace("Infinity", ".inf").replace("NaN", ".nan")


def split_options(text: str) -> list[str]:
    """The options of ``key=value,...``: split at commas that stand outside brackets and quotes.

    A quote or bracket counts only where a value begins: ``k=it's,l=1`` has two options.
    """
    parts, current, quote, depth, index = [], "", "", 0, 0
    while index < len(text):
        char, width = text[index], 1
        if quote:
            escaped = char == "\\" if quote == '"' else text[index : index + 2] == "''"
            width = 2 if escaped else 1
            quote = "" if char == quote and not escaped else quote
        elif char in "'\"" and _begins_value(current, depth):
            quote = char
        elif char in "[{(" and (depth or _begins_value(current, depth)):
            depth += 1
        elif char in "]})" and depth:
            depth -= 1
        elif char == "," and not depth:
            parts.append(current)
            current = ""
            index += 1
            continue
        current += text[index : index + width]
        index += width
    return [*parts, current]


def _begins_value(before: str, depth: int) -> bool:
    before = before.rstrip()
    if depth:
        return before.endswith(("[", "{", "(", ",", ":"))
    return before.endswith("=") and before.count("=") == 1


def _is_plain(text: str) -> bool:
    if not _PLAIN.fullmatch(text):
        return False
    try:
        return read_value(text) == text
    except ValueError:
        return False


def _quoted(text: str) -> str:
    """A double-quoted scalar; YAML's escapes are JSON's, but for characters beyond U+FFFF."""
    body = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escape(char) for char in body)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
