"""Numbers as a person reads them: two or three digits, the interval beside the value, "—" for none."""

from __future__ import annotations

import math

from lsbench.metrics import Interval, Percentiles

NONE = "—"
MINUS = "−"


def significant(value: float | None, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, never in exponent form above 1e-6."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) < 1e-6:
        return _minus(f"{value:.{digits - 1}e}")
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return _minus(f"{value:,.{decimals}f}")


def ratio(value: float | None, ci95: Interval | None = None) -> str:
    """A speedup such as ``0.93× (0.91–0.95)``.

    Close to 1 a third decimal is given, so that an interval that leaves 1 out never prints as 1.00.
    """
    if value is None:
        return NONE
    numbers = (value, *(ci95 or ()))
    near_one = any(number != 1 and f"{number:.2f}" == "1.00" for number in numbers)
    decimals = 3 if near_one or value < 0.1 else 2 if value < 10 else 1
    text = f"{value:.{decimals}f}×"
    return f"{text} ({ci95[0]:.{decimals}f}–{ci95[1]:.{decimals}f})" if ci95 else text


def share(value: float | None, ci95: Interval | None = None) -> str:
    """A share in [0, 1] as percent, such as ``71% (69–73%)``; 0% and 100% only when exact."""
    if value is None:
        return NONE
    text = f"{_percent(value)}%"
    return f"{text} ({_percent(ci95[0])}–{_percent(ci95[1])}%)" if ci95 else text


def milliseconds(seconds: float | None) -> str:
    """Seconds shown in milliseconds, three significant digits and no decimals from 100 ms on."""
    return NONE if seconds is None else f"{significant(seconds * 1000)} ms"


def percentiles(seconds: Percentiles | None) -> str:
    """Median and 95th percentile, in milliseconds."""
    if seconds is None:
        return NONE
    return f"{significant(seconds.p50 * 1000)} / {milliseconds(seconds.p95)}"


def size(count: int | None) -> str:
    """Bytes in the largest binary unit that leaves at least 1."""
    if count is None:
        return NONE
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{significant(value)} {unit}"
        value /= 1024
    return f"{significant(value)} GiB"


def rate(bytes_per_second: float | None) -> str:
    """A bandwidth in gigabytes (10^9 bytes) a second."""
    return NONE if bytes_per_second is None else f"{significant(bytes_per_second / 1e9)} GB/s"


def decimals_for(*values: float) -> int:
    """How many decimals a task metric deserves: 3 below 10, 2 below 100, 1 above."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 3 if largest < 10 else 2 if largest < 100 else 1


def score(value: float, stderr: float | None, decimals: int) -> str:
    """A task metric with its standard error, such as ``0.250 ± 0.098``."""
    text = _minus(f"{value:.{decimals}f}")
    return text if stderr is None else f"{text} ± {stderr:.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    """A difference with its sign; one that rounds to zero has none."""
    text = f"{value:+.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else _minus(text)


def duration(seconds: float) -> str:
    """A waiting time such as ``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _percent(value: float) -> str:
    percent = value * 100
    if percent in (0, 100):
        return f"{percent:.0f}"
    if 99 < percent < 100:
        return ">99.9" if percent >= 99.95 else f"{percent:.1f}"
    if 0 < percent < 1:
        return "<0.1" if percent < 0.05 else f"{percent:.1f}"
    return _minus(f"{percent:.0f}")


def _minus(text: str) -> str:
    return text.replace("-", MINUS, 1) if text.startswith("-") else text
