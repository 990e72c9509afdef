"""Plotly figures in a page that loads nothing: the figures as data, the library once, in the page itself.

A page holds ``plotly_script()`` once, ``figure_html`` for each figure, and in its head a policy made by
``script_policy``, under which no script runs but those whose text it was given. Colours are the page's own
variables (``"var(--ink)"``), looked up by the browser, so figures are dark where the page is.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from lsbench.report.plain import one_line

if TYPE_CHECKING:
    from markupsafe import Markup
    from plotly.graph_objects import Figure

_DEFAULT_HEIGHT = 320
_AXIS: dict[str, Any] = {
    "automargin": True,
    # A finger that moves over a chart scrolls the page.
    "fixedrange": True,
    "gridcolor": "var(--line)",
    "linecolor": "var(--quiet)",
    "zerolinecolor": "var(--line)",
    "title": {"font": {"size": 13}, "standoff": 8},
}
_LOOK: dict[str, Any] = {
    "colorway": [f"var(--series-{number})" for number in range(1, 7)],
    "dragmode": False,
    "font": {"color": "var(--ink)", "family": "system-ui, sans-serif", "size": 13},
    "hoverlabel": {
        "align": "left",
        "bgcolor": "var(--panel)",
        "bordercolor": "var(--quiet)",
        "font": {"color": "var(--ink)", "family": "system-ui, sans-serif", "size": 13},
    },
    "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
    "margin": {"b": 40, "l": 10, "r": 10, "t": 10},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "xaxis": _AXIS,
    "yaxis": _AXIS,
}


def figure_html(figure: Figure, name: str, words: str = "") -> Markup:
    """A figure as an element without a script, to be drawn by ``plotly_script``.

    The page's look (transparent, its own colours, the six ``--series-N`` in turn) is put beneath what the
    figure sets itself. Text that a stranger wrote must have gone through ``chart_text``.

    Args:
        figure: a height of its own or 320 pixels; its width is the page's.
        name: the element's ``id``, unique in the page.
        words: what the figure shows, in a sentence, for who cannot see it.
    """
    from markupsafe import Markup, escape
    from plotly.io.json import to_json_plotly

    height = figure.layout["height"] or _DEFAULT_HEIGHT
    drawn = figure.to_plotly_json()
    # Set here and not in the figure, which would take most of a page's time to check what is always the same.
    drawn["layout"]["template"] = {"layout": _LOOK}
    # In single quotes, as JSON is full of double ones.
    data = str(to_json_plotly(drawn)).replace("&", "&amp;").replace("'", "&#39;").replace("<", "&lt;")
    return Markup(
        f'<div class="plotly-figure" id="{escape(one_line(name))}" role="img" '
        f'aria-label="{escape(one_line(words or name))}" style="min-height: {height:g}px" '
        f"data-figure='{data}'></div>"
    )


@functools.cache
def plotly_script() -> Markup:
    """The library, compressed to two fifths, and what draws the page's figures with it; once in a page, after
    them. Browsers since 2023 can unpack it; another shows a sentence in the place of each figure."""
    from markupsafe import Markup

    return packed("plotly-library", _library()) + Markup(f"\n<script>{_drawing()}</script>")


def packed(name: str, text: str) -> Markup:
    """Any text, compressed, in an element with that ``id``; a script after ``plotly_script`` has it from
    ``await unpacked(name)``."""
    from markupsafe import Markup, escape

    data = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return Markup(f'<script type="application/gzip" id="{escape(name)}">{data}</script>')


def page_script(name: str) -> str:
    """The text of a script that lies beside this module, such as ``samples.js``."""
    return resources.files("lsbench.report").joinpath(name).read_text(encoding="utf-8")


def script_policy(*scripts: str) -> str:
    """The content security policy of a page with ``plotly_script``, for its ``<meta http-equiv>``.

    Args:
        scripts: the text of every other script that the page has, exactly as between its tags.
    """
    # The library is put into the page by the script that unpacks it.
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in (_drawing(), _library(), *scripts))
    # Plotly draws heatmaps as images, within the page.
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}"


def chart_text(text: str, width: int | None = None) -> str:
    """Text as Plotly shows it literally, on one line, or broken into lines of about ``width`` characters.

    Plotly takes a small part of HTML in every title, label and hover text.
    """
    lines = [one_line(text)] if width is None else _broken(one_line(text), width)
    escaped = (line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in lines)
    return "<br>".join(escaped)


def _broken(text: str, width: int) -> list[str]:
    """At blanks and behind the marks that part a label's options, where that leaves no line too long."""
    lines = [""]
    for piece in _pieces(text):
        for start in range(0, len(piece), width):
            part = piece[start : start + width]
            if len(lines[-1]) + len(part) > width and lines[-1]:
                lines.append("")
            lines[-1] += part
    return [line.rstrip() for line in lines]


def _pieces(text: str) -> list[str]:
    pieces = [""]
    for character in text:
        pieces[-1] += character
        if character in " ,:":
            pieces.append("")
    return pieces


@functools.cache
def _library() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


@functools.cache
def _drawing() -> str:
    return page_script("plotly_page.js")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
