"""What can go wrong, said to a person: the field, the value, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_DONE = 0
EXIT_BAD_INPUT = 2
EXIT_CLAIM_FAILED = 3
EXIT_SAMPLES_FAILED = 4
EXIT_INTERRUPTED = 130


class LsbenchError(Exception):
    """Root of every error raised on purpose; its text is shown to the user without a traceback."""

    exit_code: int = 1


class BadInput(LsbenchError):
    """The user asked for something that cannot be done as asked; nothing was started."""

    exit_code = EXIT_BAD_INPUT


class UnsupportedModel(BadInput):
    """The checkpoint's architecture is not declared in ``engine/families``."""


class CannotRun(BadInput):
    """A method cannot run on this model or machine, where others can: a run goes on without it and says why.

    A strategy raises it from ``check_model`` or ``prepare``, with the reason in one line. Where nothing else
    is to be run it is an error like any other.
    """


class Unavailable(BadInput):
    """Something that must be fetched (package index, hub) cannot be reached and is not cached."""


class DamagedResults(BadInput):
    """A results folder holds a file that cannot be trusted."""


class Interrupted(LsbenchError):
    """The user stopped a run that can be resumed."""

    exit_code = EXIT_INTERRUPTED


class ReplayMiss(LsbenchError):
    """Scoring asked for a request that no stored record answers."""


class SandboxUnavailable(BadInput):
    """No mechanism of this machine confines generated code as strictly as was asked."""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name closest to ``name`` in spelling, or None when none resembles it."""
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(what: str, name: str, valid: Iterable[str]) -> BadInput:
    """A ``BadInput`` for an unknown name that offers the nearest valid one, and lists them if few.

    Args:
        what: what kind of thing was named, such as ``"strategy"``.
        name: the name that was given.
        valid: every name that would have been accepted.
    """
    names = sorted(valid)
    close = nearest(name, names)
    hint = f" Did you mean {close!r}?" if close else ""
    listed = f" Known: {', '.join(names)}." if names and len(names) <= 20 else ""
    return BadInput(f"Unknown {what} {name!r}.{hint}{listed}")
