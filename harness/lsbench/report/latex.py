"""Tables for a paper: LaTeX with booktabs and no other package, every sign that means something escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lsbench.comparison import Comparison
from lsbench.metrics import Metrics
from lsbench.report.comparison_content import grids, machines, title, warning
from lsbench.report.content import Cell, Row, model_line, sections
from lsbench.report.facts import RunFacts
from lsbench.report.plain import one_line
from lsbench.report.verdict import claim_failed

_PREAMBLE = "% In the preamble: \\usepackage{booktabs}\n"
_SIGNS = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%",
    "_": "\\_", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}",
    ">": "\\textgreater{}", "|": "\\textbar{}", '"': "{''}", "`": "{`}", "'": "{'}",
    # At the beginning of a row these would belong to the end of the one before.
    "[": "{[}", "]": "{]}", "*": "{*}",
    "×": "$\\times$", "÷": "$\\div$", "−": "$-$", "±": "$\\pm$", "–": "--", "—": "---", "→": "$\\rightarrow$",
    "↓": "$\\downarrow$", "≤": "$\\leq$", "≥": "$\\geq$", "·": "$\\cdot$", "…": "\\ldots{}", "’": "{'}",
    "“": "``", "”": "{''}",
    "µ": "$\\mu$", "ß": "\\ss{}", "æ": "\\ae{}", "ø": "\\o{}", "ł": "\\l{}", "œ": "\\oe{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0308": '"',
    "\u030a": "r", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
_HOW_TO_READ = (
    "Speedup: the baseline's time per token ÷ the strategy's over the same prompts, paired in one process."
)
_BRACKETS = "In brackets, 95% intervals (bootstrap over prompts); ±, the standard error."
_SHOWN = ("speedup", "end-to-end speedup", "layers per token", "drafts accepted", "token agreement")
"""Rows of a report that a paper's table has, beside the tasks' scores."""
_NARROWER = re.compile(r",? (?=\(|p [<=]|±)|(?<=no significant) (?=difference)|(?<=cannot tell) (?=them)")
"""Where a figure goes on below itself: a page of a paper is narrow."""
_BREAKS = re.compile(r"(?<=[:,=/])(?=[^\s])")


def tex(text: str) -> str:
    """``text`` on one line as LaTeX shows it literally, by pdfTeX or any later engine.

    Letters that pdfTeX has no glyph for without more packages are spelt in ASCII, or become a question mark.
    """
    # Two hyphens alike would be drawn as one dash.
    parts = re.split(r"(?<=-)(?=-)", one_line(text))
    return "{}".join("".join(map(_sign, part)) for part in parts)


def run_latex(metrics: Metrics, facts: RunFacts | None = None) -> str:
    """A run as one table: strategies down, figures across, model and machine in the caption."""
    quality = "What it costs in quality"
    kept = [
        row
        for section in sections(metrics)
        for row in section.rows
        if row.name in _SHOWN or section.title == quality
    ]
    labels = [one_line(metrics.baseline.strategy) + " (baseline)"]
    labels += [one_line(strategy.label) for strategy in metrics.strategies]
    rows = [(Cell((label,)), *_column(kept, place)) for place, label in enumerate(labels)]
    caption = [model_line(metrics), *_prompts(metrics), *_machine(facts or RunFacts())]
    said = [f"{'; '.join(caption)}; lsbench run {metrics.run_id}.", _HOW_TO_READ, _BRACKETS]
    said += [
        f"{one_line(strategy.label)} claims to be lossless and is not."
        for strategy in metrics.strategies
        if claim_failed(strategy)
    ]
    said += [
        f"{one_line(strategy.label)} cannot run here: {one_line(strategy.unavailable).removesuffix('.')}."
        for strategy in metrics.strategies
        if strategy.unavailable is not None
    ]
    if metrics.status != "complete":
        said.insert(0, f"This run is {metrics.status.replace('_', ' ')}.")
    heads = ("strategy", *(row.name for row in kept))
    return _PREAMBLE + _table(heads, rows, " ".join(said), f"tab:lsbench-{metrics.run_id}")


def comparison_latex(comparison: Comparison) -> str:
    """A comparison as tables: speed, quality, and one against the other."""
    loud = warning(comparison)
    runs = "; ".join(f"{run.key} is lsbench run {one_line(run.run_id)}" for run in comparison.runs)
    parts = [_PREAMBLE]
    if loud is not None:
        parts.append(f"% {one_line(loud)}\n")
    for grid in grids(comparison):
        if grid.name != "runs":
            said = [loud or "", f"{grid.title}. {title(comparison)}; {machines(comparison)}; {runs}."]
            said += [grid.meaning, _BRACKETS]
            label = f"tab:lsbench-{grid.name}"
            parts.append(_table(grid.heads, grid.rows, " ".join(filter(None, said)), label))
    return "\n".join(parts)


def _sign(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    if sign.isascii():
        return sign
    base, *marks = unicodedata.normalize("NFKD", sign)
    if not base.isascii():
        return "?"
    spelt = _SIGNS.get(base, base)
    for mark in marks:
        if mark in _ACCENTS:
            spelt = f"\\{_ACCENTS[mark]}{{{spelt}}}"
        elif not unicodedata.combining(mark):
            spelt += _sign(mark)
    return spelt


def _column(rows: Sequence[Row], place: int) -> list[Cell]:
    """The figures of one strategy; 0 is the baseline."""
    return [row.baseline if place == 0 else row.strategies[place - 1] for row in rows]


def _prompts(metrics: Metrics) -> list[str]:
    counts = {strategy.speed.pairs for strategy in metrics.strategies if strategy.speed is not None}
    if not counts:
        return []
    return [
        f"n = {min(counts)} prompts" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)} prompts"
    ]


def _machine(facts: RunFacts) -> list[str]:
    machine, versions = dict(facts.machine), dict(facts.versions)
    said = [value for name, value in facts.machine if name in ("processor", "accelerator")]
    if "threads" in machine:
        said.append(f"threads: {machine['threads']}")
    return [*said, *(f"{name} {versions[name]}" for name in ("torch", "lsbench") if name in versions)]


def _table(heads: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str, label: str) -> str:
    """One ``table`` environment; the first column, of names, breaks lines."""
    columns = "@{}p{0.2\\linewidth}" + "l" * (len(heads) - 1) + "@{}"
    lines = [
        "\\begin{table}",
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}",
        f"\\caption{{{tex(caption)}}}",
        f"\\label{{{re.sub('[^A-Za-z0-9:.+-]', '-', label)}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & ".join(_stacked(_head_lines(head)) for head in heads) + " \\\\",
        "\\midrule",
        *(f"{_name(row[0])} & {' & '.join(_stacked(cell.lines) for cell in row[1:])} \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _name(cell: Cell) -> str:
    """A name that may be broken where a label has its marks."""
    broken = "\\allowbreak{}".join(map(tex, _BREAKS.split(cell.text)))
    return f"\\raggedright {broken}"


def _head_lines(head: str) -> tuple[str, ...]:
    """Words under each other: heads are longer than what stands below them."""
    return tuple(head.split(" "))


def _stacked(lines: Sequence[str]) -> str:
    narrow = [part for line in lines for part in _NARROWER.split(line)]
    if len(narrow) == 1:
        return tex(narrow[0])
    inside = " \\\\ ".join(map(tex, narrow))
    return f"\\begin{{tabular}}[t]{{@{{}}l@{{}}}}{inside}\\end{{tabular}}"
