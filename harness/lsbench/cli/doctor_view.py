"""The checklist of ``lsbench doctor``, and the roofline as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lsbench.report import figures
from lsbench.report.plain import ascii_only, one_line

if TYPE_CHECKING:
    from lsbench.doctor.finding import Finding, Status
    from lsbench.doctor.roofline import Roofline
    from lsbench.execution.roofline import PartCost, StepProfile

_MARKS: dict[Status, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "limited": ("limited", "yellow"),
    "missing": ("MISSING", "bold red"),
}
_MARK_WIDTH, _NAME_WIDTH = 7, 16
_HOW_TO_READ = (
    "%: what reading the weights once would take at that bandwidth, as a share of what it does take; 100% is "
    "all that memory allows. Keys and values are read besides. A rest below 0 says by how much the parts, "
    "which are timed by themselves, err."
)


def show_checklist(console: Console, findings: Iterable[Finding]) -> list[Finding]:
    """Show each finding as soon as it is there, then what they come to.

    Returns:
        all of them.
    """
    shown: list[Finding] = []
    for finding in findings:
        shown.append(finding)
        console.print(_line(console, finding))
    console.print()
    console.print(_text(console, _conclusion(shown), "bold"))
    return shown


def show_roofline(console: Console, roofline: Roofline) -> None:
    """Show memory bandwidth, then each dtype's steps: milliseconds, and the share of what memory allows."""
    bandwidth = roofline.bandwidth
    where = f"{roofline.threads} thread{'s' if roofline.threads != 1 else ''}"
    load = "" if roofline.load_average is None else f", load {roofline.load_average:.1f} before"
    said = (
        f"Memory bandwidth: {figures.rate(bandwidth.bytes_per_second)}, the best of several readers "
        f"({bandwidth.reader}); {roofline.device if bandwidth.threads is None else where}{load}"
    )
    console.print()
    console.print(_text(console, said))
    for dtype, profiles in roofline.profiles.items():
        model = f"{one_line(roofline.model)}, {roofline.num_layers} layers, {dtype}"
        title = f"{model}: milliseconds of a step after {profiles[0].context} positions"
        console.print()
        console.print(_text(console, title, "bold"))
        console.print(_steps(console, profiles, bandwidth.bytes_per_second))
    console.print(_text(console, _HOW_TO_READ, "dim"))


def _steps(console: Console, profiles: Sequence[StepProfile], bytes_per_second: float) -> Table:
    """Parts down, widths across."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("tokens together", no_wrap=True)
    for profile in profiles:
        table.add_column(str(profile.width), justify="right", no_wrap=True)
    for index, part in enumerate(profiles[0].parts):
        costs = [profile.parts[index] for profile in profiles]
        table.add_row(part.name, *(_cost(console, cost, bytes_per_second) for cost in costs))
    table.add_section()
    table.add_row("whole step", *(_cost(console, profile, bytes_per_second) for profile in profiles))
    alone = profiles[0].seconds
    ratios = (figures.ratio(profile.seconds / alone if alone else None) for profile in profiles)
    table.add_row(_text(console, "÷ one token's"), *(_text(console, ratio) for ratio in ratios))
    return table


def _cost(console: Console, cost: PartCost | StepProfile, bytes_per_second: float) -> Text:
    from lsbench.execution.roofline import bound_fraction

    share = bound_fraction(cost, bytes_per_second)
    text = _text(console, _milliseconds(cost.seconds))
    return text if share is None else text.append(f"\n{figures.share(share)}", "cyan")


def _line(console: Console, finding: Finding) -> Table:
    mark, style = _MARKS[finding.status]
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(width=_MARK_WIDTH)
    line.add_column(width=_NAME_WIDTH)
    line.add_column(overflow="fold")
    detail = _text(console, one_line(finding.detail))
    if finding.advice is not None:
        detail.append_text(_text(console, f"\n→ {one_line(finding.advice)}", style))
    line.add_row(Text(mark, style), Text(finding.name, "bold"), detail)
    return line


def _conclusion(findings: list[Finding]) -> str:
    missing, limited = (
        [finding.name for finding in findings if finding.status == status]
        for status in ("missing", "limited")
    )
    if missing:
        return f"`make run` cannot work here yet: {_listed(missing)}."
    if limited:
        return f"`make run` works here. Limited: {_listed(limited)}."
    return "Everything works here."


def _listed(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _milliseconds(seconds: float) -> str:
    """To three digits, but no finer than a microsecond, which no timing here resolves."""
    text = figures.significant(seconds * 1e3)
    return text if abs(seconds) >= 1e-3 else f"{seconds * 1e3:.2f}".replace("-", figures.MINUS)


def _text(console: Console, text: str, style: str = "") -> Text:
    return Text(ascii_only(text) if console.options.ascii_only else text, style)
