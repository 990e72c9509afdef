import re
from html.parser import HTMLParser

from lsbench.report.facts import RunFacts
from lsbench.report.html import html_report

VOID = {"meta", "br", "link", "img", "hr", "input"}
LOADING = {"src", "srcset", "href", "action", "data", "poster", "background", "xlink:href"}


class Page(HTMLParser):
    """Checks that every element is closed in order, and collects what the tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        if tag == "br":
            self.text += "\n"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_the_verdict_comes_first_then_doubt_then_figures(metrics_of, slower):
    facts = RunFacts(
        started="2026-01-01 12:00 UTC",
        settings=(("tasks", "humaneval"),),
        machine=(("processor", "Z80, 1 cores"),),
        versions=(("torch", "2.13"),),
        notes=("limits only",),
        manifest='{"schema": 1}',
    )
    text = words(Page(html_report(metrics_of(slower, notes=("Two halves differ by 20%.",)), facts)))
    places = [
        "dynamic_skip: slower here, 0.93× (0.91–0.95)",
        "Believe it?",
        "differ by 20%",
        "limits only",
        "How fast",
        "0.93× (0.91–0.95) slower",
        "121 / 310 ms",
        "humaneval_bpb bits_per_byte ↓",
        "+0.089 (+0.070 to +0.108) worse",
        "71% (69–73%)",
        "How deep tokens ran",
        "Z80, 1 cores",
        '{"schema": 1}',
    ]
    after = 0
    for place in places:
        assert place in text[after:], f"{place!r} is missing, or too early"
        after = text.index(place, after)
    assert "None" not in text


def test_the_page_loads_nothing(metrics_of, slower, record_of):
    records = [record_of("autoregressive", "see https://example.org/x.js")]
    html = html_report(metrics_of(slower), RunFacts(manifest="http://example.org"), records)
    page = Page(html)
    assert not [name for name, _ in page.attributes if name in LOADING]
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.names)
    assert "url(" not in html
    assert "@import" not in html
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_it_reads_on_a_phone_and_in_the_dark(metrics_of, slower):
    html = html_report(metrics_of(slower))
    assert ("content", "width=device-width, initial-scale=1") in Page(html).attributes
    assert "prefers-color-scheme: dark" in html
    assert re.search(r"@media \(max-width: \d+rem\)", html)


def test_generated_text_is_only_text(metrics_of, slower, record_of):
    attack = '</pre></style><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7*7 }}\x1b[31m\x00'
    hostile = slower.model_copy(
        update={
            "label": f"dynamic_skip:x={attack}",
            "options": {"x": attack},
            "tasks": {attack: slower.tasks["humaneval"]},
        }
    )
    records = [
        record_of("autoregressive", "a" + attack, prompt=attack, task=attack),
        record_of(hostile.label, attack, task=attack),
        record_of("autoregressive", "", doc_id=1, text=None, token_ids=None, error=attack),
    ]
    facts = RunFacts(settings=((attack, attack),), notes=(attack,), manifest=attack)
    html = html_report(metrics_of(hostile, notes=(attack + " again",)), facts, records)
    page = Page(html)
    assert not {"script", "img"} & set(page.names)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "{{ 7*7 }}" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", html)


def test_samples_are_shown_beside_each_other(metrics_of, slower, record_of):
    records = [record_of("autoregressive", "return 13"), record_of("dynamic_skip", "return 12")]
    html = html_report(metrics_of(slower), None, records)
    assert "<pre>return 13</pre>" in html
    assert "<pre>return 1<mark>2</mark></pre>" in html
    assert "def f():" in html


def test_the_histogram_has_a_bar_for_every_depth(metrics_of, slower, scores_only):
    html = html_report(metrics_of(slower, scores_only))
    page = Page(html)
    assert page.names.count("svg") == 1
    assert page.names.count("rect") == 31
    heights = [float(value) for name, value in page.attributes if name == "height"]
    assert max(heights) == 1
    assert heights[23] == 340 / 500
    assert "half of the 1,675 tokens ran 24 layers or fewer, 1% ran all 30." in words(page)
    assert "23 layers: 340 tokens, 20%" in html


def test_a_run_without_strategies_or_speed_is_still_a_page(metrics_of, scores_only):
    assert "Only the baseline was run." in Page(html_report(metrics_of())).text
    metrics = metrics_of(
        scores_only, tokens_per_second=None, ttft_s=None, tpot_s=None, generated_tokens=0, memory=None
    )
    text = Page(html_report(metrics)).text
    assert "no speed to compare" in text
    assert "How fast" not in text
