"""A look inside a model as it is shown: in a terminal, and as a page."""

from __future__ import annotations

import json
import re
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from rich.cells import cell_len
from rich.console import Console

from lsbench.insight.outcome import Inspection
from lsbench.report.inspect_grid import state_of, token_text
from lsbench.report.inspect_page import inspect_page
from lsbench.report.inspect_screen import InspectionScreen
from support.inspection import LAYERS, step_of
from support.inspection import inspection as made


@pytest.fixture(scope="module")
def inspection() -> Inspection:
    return made()


def _printed(inspection, width=80, **options) -> str:
    stream = StringIO()
    Console(file=stream, width=width, **options).print(InspectionScreen(inspection))
    return stream.getvalue()


def test_eighty_columns_hold_it(inspection):
    shown = _printed(inspection)
    lines = shown.splitlines()
    assert max(map(cell_len, lines)) <= 80
    rows = [line for line in lines if line.startswith("▁the ")]
    # Tokens 0 and 4, there for good from layers 1 and 5 on; a cell is two columns.
    assert rows[0].split()[1] == "█" * 60
    assert rows[1].split()[1] == "▒" * 2 + "·" * 6 + "█" * 52
    assert "16 more tokens and 1 more text" in shown
    assert "evil" in shown
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown


def test_narrow_and_plain_terminals_are_told_the_same(inspection):
    narrow = _printed(inspection, width=60)
    assert max(map(len, narrow.splitlines())) <= 60
    stream = TextIOWrapper(BytesIO(), encoding="ascii")
    Console(file=stream, width=80).print(InspectionScreen(inspection))
    stream.flush()
    plain = stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "_the           ############" in plain
    assert "?" not in plain.replace("?" * 10, "")  # but for a token of ten signs that ASCII does not have


def test_a_cell_says_what_its_layer_says():
    step = step_of(4)
    assert [state_of(step, layer) for layer in (1, 2, 4, 5, 30)] == [
        "reached",
        "other",
        "other",
        "kept",
        "kept",
    ]
    assert token_text(" a\n") == "▁a↵"
    assert token_text(" a\n", plain=True) == "_a\\n"
    assert token_text("abcdef", 4) == "abc…"
    assert token_text("\u202e") == "∅"


@pytest.mark.slow  # the chart library is packed
def test_the_page_holds_every_figure_and_runs_nothing_that_a_model_wrote(inspection):
    page = inspect_page(inspection)
    assert "At layer 15 the model predicts its own final token 8% of the time." in page
    assert "<script>alert" not in page
    assert "<b>evil" not in page
    names = re.findall(r'class="plotly-figure" id="([^"]+)"', page)
    assert names == ["agreement", "influence", "similarity", "lens-0", "lens-1"]
    (data,) = re.findall(r"id=\"lens-0\"[^>]*data-figure='([^']*)'", page)
    figure = json.loads(data.replace("&lt;", "<").replace("&#39;", "'").replace("&amp;", "&"))
    heatmap = figure["data"][0]
    assert (len(heatmap["z"]), len(heatmap["z"][0])) == (40, LAYERS)
    # Token 4: another prediction at layer 2, the final one at layer 5; one below 0, the other above.
    assert heatmap["z"][4][1] == pytest.approx(-2 / LAYERS, abs=1e-3)
    assert heatmap["z"][4][4] == pytest.approx(5 / LAYERS, abs=1e-3)
    assert heatmap["customdata"][4][4][:3] == ["“▁the”", "“▁the”", "17%"]
    assert "&lt;b&gt;evil" in heatmap["customdata"][4][1][0]
