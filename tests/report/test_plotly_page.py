import base64
import gzip
import hashlib
import json
import re
from html import unescape

import pytest
from plotly.graph_objects import Bar, Figure
from plotly.offline import get_plotlyjs

from lsbench.report.plotly_page import chart_text, figure_html, plotly_script, script_policy


def test_a_figure_is_data_in_an_element_and_nothing_ends_it_early():
    figure = Figure(Bar(x=["'></div><script>alert(1)</script>"], y=[1]), {"height": 200})
    html = figure_html(figure, "a'b", 'words "with" <marks>')
    assert html.count("<") == 2
    assert "<script" not in html
    data = re.search(r"data-figure='([^']*)'", html)
    assert data is not None
    drawn = json.loads(unescape(data[1]))
    assert drawn["data"][0]["x"] == ["'></div><script>alert(1)</script>"]
    assert drawn["layout"]["template"]["layout"]["font"]["color"] == "var(--ink)"
    assert "min-height: 200px" in html


def test_the_policy_names_the_scripts_of_the_page_and_no_others():
    packed, drawing = re.findall(r"<script[^>]*>(.*?)</script>", plotly_script(), re.DOTALL)
    library = gzip.decompress(base64.b64decode(packed)).decode()
    assert library == get_plotlyjs()
    expected = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (drawing, library, "one()")
    ]
    assert re.findall(r"'sha256-([^']*)'", script_policy("one()")) == expected
    assert "unsafe-eval" not in script_policy()
    assert "script-src 'unsafe-inline'" not in script_policy()


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("a\n<b>&amp;", None, "a &lt;b&gt;&amp;amp;"),
        ("name:one=1,two=2", 10, "name:<br>one=1,<br>two=2"),
        ("abcdefgh", 3, "abc<br>def<br>gh"),
    ],
)
def test_text_in_a_chart_is_only_text(text, width, shown):
    assert chart_text(text, width) == shown
