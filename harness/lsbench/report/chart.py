"""A chart with its words, and which colour stands for which strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.report.plotly_page import figure_html

if TYPE_CHECKING:
    from markupsafe import Markup
    from plotly.graph_objects import Figure

BASELINE_COLOUR = "var(--quiet)"
_COLOURS = 6


@dataclass(frozen=True)
class Key:
    """What a colour stands for; ``opacity`` as its marks have it."""

    colour: str
    words: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Chart:
    """One figure of a page.

    Attributes:
        subject: whom or what it is about; empty where its section says so.
        caption: what it shows, in a sentence.
        drawing: the figure, as the page has it.
        keys: its colours, where the rows or the caption do not say what they are.
    """

    subject: str
    caption: str
    drawing: Markup
    keys: tuple[Key, ...] = ()


def chart(name: str, figure: Figure, caption: str, subject: str = "", keys: tuple[Key, ...] = ()) -> Chart:
    """A figure as a chart; ``name`` is its element's, unique in the page."""
    return Chart(subject, caption, figure_html(figure, name, caption), keys)


def colour_of(place: int) -> str:
    """The colour of the strategy that stands ``place``-th in the run; 0 is the first."""
    return f"var(--series-{place % _COLOURS + 1})"
