"""Text that a model or a stranger wrote, made harmless before it is shown anywhere."""

from __future__ import annotations

import re
import unicodedata

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MARKDOWN = re.compile(r"([\\`*\[\]|~])")
_LONE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ASCII = str.maketrans(
    {
        "×": "x", "→": "->", "–": "-", "—": "-", "−": "-", "↓": "(lower is better)", "±": "+-",
        "≤": "<=", "≥": ">=", "÷": "/", "·": "-", "…": "...", "’": "'",
    }
)  # fmt: skip


def printable(text: str) -> str:
    """``text`` without escape sequences, control or direction-changing characters, save breaks and tabs."""
    text = _ESCAPE_SEQUENCE.sub("", text.replace("\r\n", "\n"))
    return "".join(
        char
        for char in text
        if char in "\n\t" or (unicodedata.category(char) not in ("Cc", "Cs") and char not in _BIDI)
    )


def one_line(text: str) -> str:
    """``printable`` text with every run of white space made one space."""
    return " ".join(printable(text).split())


def markdown(text: str) -> str:
    """``text`` on one line, with what Markdown or HTML would take as markup escaped."""
    text = _MARKDOWN.sub(r"\\\1", one_line(text))
    text = _LONE_UNDERSCORE.sub(r"\\_", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def ascii_only(text: str) -> str:
    """The signs of our own reports spelled in ASCII, for a terminal that has nothing else."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")
