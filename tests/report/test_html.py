import base64
import gzip
import json
import re
from html.parser import HTMLParser

from lsbench.metrics import AcceptanceAt, Speculation, TimeShares
from lsbench.report.facts import RunFacts
from lsbench.report.html import html_report

VOID = {"meta", "br", "wbr", "link", "img", "hr", "input"}
LOADING = {"src", "srcset", "href", "action", "data", "poster", "background", "xlink:href"}


class Page(HTMLParser):
    """Checks that every element is closed in order, and collects what the tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.figures: dict[str | None, dict] = {}
        """By id."""
        self.packed: dict[str | None, str] = {}
        """What is compressed in the page, by id."""
        self.script: list[str | None] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        named = dict(attrs)
        if "data-figure" in named:
            self.figures[named["id"]] = json.loads(named["data-figure"])
        if tag == "script":
            self.script.append(named.get("id"))
        if tag == "br":
            self.text += "\n"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "script":
            self.text += data
        elif self.script[-1] is not None and self.script[-1] != "plotly-library":
            self.packed[self.script[-1]] = gzip.decompress(base64.b64decode(data)).decode()


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
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.names)
    assert "url(" not in html
    assert "@import" not in html
    policy = next(value or "" for name, value in page.attributes if name == "content")
    assert re.fullmatch(
        r"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src( 'sha256-[^' ]+'){3}",
        policy,
    )


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
    assert "img" not in page.names
    assert page.script == ["plotly-library", None, "sample-data", None]
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 8
    assert "{{ 7*7 }}" in page.text
    assert json.loads(page.packed["sample-data"])["samples"][0]["answers"][1]["text"].startswith(
        "</pre></style>"
    )
    # Plotly takes some HTML in its labels.
    assert "&lt;script&gt;" in str(page.figures["speedup"])
    assert "<script" not in str(page.figures)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", html)


def test_every_sample_is_in_the_page(metrics_of, slower, record_of):
    records = [
        record_of(label, f"return {doc_id}", doc_id=doc_id)
        for doc_id in range(12)
        for label in ("autoregressive", "dynamic_skip")
    ]
    page = Page(html_report(metrics_of(slower), None, records))
    data = json.loads(page.packed["sample-data"])
    assert data["layers"] == 30
    assert [sample["answers"][0]["text"] for sample in data["samples"]] == [f"return {n}" for n in range(12)]
    assert "All 12 of the run." in page.text


def test_the_charts_show_what_the_metrics_say(metrics_of, slower, scores_only, record_of):
    speculation = Speculation(
        drafted=30,
        accepted=12,
        acceptance_rate=0.4,
        mean_accepted_length=1.5,
        verify_passes=20,
        acceptance_by_position=(
            AcceptanceAt(position=1, drafted=20, accepted=10),
            AcceptanceAt(position=2, drafted=10, accepted=2),
        ),
    )
    drafting = slower.model_copy(
        update={
            "label": "self_speculative",
            "speculation": speculation,
            "time_shares": TimeShares(draft_layers=0.25, layers=0.7, other=0.05),
        }
    )
    metrics = metrics_of(
        slower.model_copy(update={"no_time_shares": "its loop is its own"}), drafting, scores_only,
        time_shares=TimeShares(layers=1.02, other=-0.02),
    )  # fmt: skip
    records = [
        record_of(label, "abcdef", doc_id=doc_id, ttft_s=0.1 + doc_id, decode_s=0.5)
        for doc_id in range(3)
        for label in ("autoregressive", "dynamic_skip")
    ]
    page = Page(html_report(metrics, None, records))
    data = {name: figure["data"] for name, figure in page.figures.items()}

    speed = data["speedup"][0]
    assert (speed["x"], speed["y"]) == ([0.931], [0])
    assert (round(speed["error_x"]["array"][0], 3), round(speed["error_x"]["arrayminus"][0], 3)) == (
        0.018,
        0.019,
    )
    assert len(data["speedup"]) == 4
    axis = page.figures["speedup"]["layout"]["xaxis"]
    assert axis["type"] == "log"
    assert axis["ticktext"] == ["0.92", "0.94", "0.96", "0.98", "1"]

    (quality,) = [name for name in data if name.startswith("quality")]
    assert [point["x"] for point in data[quality]] == [[0.089]] * 3
    assert "humaneval_bpb bits_per_byte ↓: the strategy's score less the baseline's" in words(page)
    assert data["agreement"][0]["x"] == [0.71]

    depths = data["depth-1"][0]
    assert depths["x"] == [20, 21, 22, 23, 24, 25, 26, 27, 30]
    assert (depths["y"][3], depths["hovertext"][3]) == (340 / 1675, "23 layers: 340 tokens, 20%")
    assert "half of the 1,675 tokens ran 24 layers or fewer, 1% ran all 30." in words(page)

    assert [trace["y"] for trace in data["acceptance-by-position"]] == [[0.5, 0.2]]
    assert {trace["name"]: [round(ms, 2) for ms in trace["x"]] for trace in data["costs"]} == {
        "layers": [40.59, 29.95],
        "layers, drafting": [10.7],
        "Python, and what was not measured": [-0.8, 2.14],
    }
    assert "dynamic_skip: its loop is its own" in words(page)
    assert data["time-per-token"][0]["x"] == [100, 100, 100]
    assert [trace["x"] for trace in data["time-to-first-token"]] == [[100, 1100, 2100]] * 2


def test_a_run_without_strategies_or_speed_is_still_a_page(metrics_of, scores_only):
    assert "Only the baseline was run." in Page(html_report(metrics_of())).text
    metrics = metrics_of(
        scores_only, tokens_per_second=None, ttft_s=None, tpot_s=None, generated_tokens=0, memory=None
    )
    text = Page(html_report(metrics)).text
    assert "no speed to compare" in text
    assert "How fast" not in text
