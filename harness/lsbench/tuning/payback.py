"""After how many generated tokens a search has paid for itself."""

from __future__ import annotations

import math


def tokens_to_pay_back(search_s: float, before_s: float, after_s: float) -> int | None:
    """How many tokens must be generated until what each saves makes up for the search.

    Args:
        search_s: seconds that the search took, all trials, loading and judging included.
        before_s: seconds a token takes without it: under the baseline, or the options one would have used.
        after_s: seconds a token takes with what it found.

    Returns:
        the least such number; None where nothing is saved, so that it never pays.

    Raises:
        ValueError: a time that is negative or no number.
    """
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in (search_s, before_s, after_s)):
        raise ValueError(f"times must be numbers of at least 0, not {search_s}, {before_s} and {after_s}")
    saved = before_s - after_s
    if saved <= 0:
        return None
    # Not one more over a rounding error: 600 s at 0.01 s a token are 60 000 tokens.
    tokens = search_s / saved * (1 - 1e-12)
    return math.ceil(tokens) if math.isfinite(tokens) else None


def payback_interval(
    search_s: float, before_s: float, speedup: tuple[float, float]
) -> tuple[int | None, int | None]:
    """The same at both ends of a speedup's interval: the fewest tokens, and the most (None: never).

    Args:
        search_s: as above.
        before_s: as above.
        speedup: its lower and upper end, each above 0.
    """
    low, high = speedup
    return (
        tokens_to_pay_back(search_s, before_s, before_s / high),
        tokens_to_pay_back(search_s, before_s, before_s / low),
    )


def payback_words(tokens: int | None, before_s: float) -> str:
    """One sentence.

    Args:
        tokens: as ``tokens_to_pay_back`` says.
        before_s: seconds a token took before, which says how much decoding that is.
    """
    if tokens is None:
        return "The search does not pay for itself: nothing is saved a token."
    return (
        f"The search pays for itself after {tokens:,} generated tokens "
        f"({_duration(tokens * before_s)} of decoding as before)."
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
