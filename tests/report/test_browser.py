"""The pages in a real browser: nothing is refused, everything is drawn, nothing overflows a phone."""

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from lsbench.measurement.comparison import compare
from lsbench.metrics import AcceptanceAt, Speculation, TimeShares
from lsbench.report.comparison_pages import comparison_html
from lsbench.report.html import html_report
from lsbench.report.inspect_page import inspect_page
from lsbench.report.tune_folder import StoredTune
from lsbench.report.tune_report import tune_html
from lsbench.store.stored_run import read_run
from support.inspection import LAYERS, inspection
from support.stored_runs import Made, make_run
from support.tune_folder import finalists, grid_trials, skipping_trials, write_search

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1000, "height": 800}
ATTACK = "</script><script>document.title = 'taken over'</script><img src=x onerror=\"document.title='img'\">"
LONG = "self_speculative:draft=dynamic_skip,draft.max_skip_ratio=0.4,num_speculations=6"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # Nothing here may depend on how busy the machine is.
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"], timeout=500_000)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Open a file; gives the page and the list that its console messages and requests go to."""

    def open_page(path, viewport):
        page = browser.new_page(viewport=viewport, color_scheme="light")
        page.set_default_timeout(500_000)
        seen = []
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url))
        page.goto(path.as_uri())
        assert seen.pop(0) == path.as_uri()
        pages.append(page)
        return page, seen

    pages = []
    yield open_page
    for page in pages:
        page.close()


def width_of(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth")


@pytest.fixture
def report(tmp_path, metrics_of, slower, record_of):
    """A run of two strategies with everything known, of which one prompt was hostile."""
    speculation = Speculation(
        drafted=30,
        accepted=12,
        acceptance_rate=0.4,
        mean_accepted_length=1.5,
        verify_passes=20,
        acceptance_by_position=(AcceptanceAt(position=1, drafted=20, accepted=10),),
    )
    shares = TimeShares(layers=0.7, head=0.2, other=0.1)
    drafting = {"label": LONG, "options": {"draft": "x" * 90}, "speculation": speculation}
    strategies = [slower.model_copy(update=more | {"time_shares": shares}) for more in ({}, drafting)]
    pieces = ("def", " f", "()", ":\n", " <b>", ATTACK)
    known = {"token_ids": tuple(range(6)), "token_texts": pieces, "token_s": (0.1, 0.2, 0.2, 0.3, 0.4, 0.5)}
    records = [
        record_of(label, "".join(pieces), doc_id=doc_id, prompt="y" * 500 + ATTACK, **known, **more)
        for doc_id in range(3)
        for label, more in (
            ("autoregressive", {"layers_run": (30.0,) * 6}),
            ("dynamic_skip", {"layers_run": (30.0, *(12.0,) * 5), "confidences": (None, *(0.25,) * 5)}),
            (LONG, {"layers_run": (30.0,) * 6, "drafted_tokens": (False, True, True, False, False, True)}),
        )
    ]
    path = tmp_path / "report.html"
    path.write_text(html_report(metrics_of(*strategies, notes=(ATTACK,)), None, records))
    return path


def test_a_run_is_drawn_and_its_samples_are_read_token_by_token(report, opened):
    page, seen = opened(report, DESK)
    page.wait_for_selector("html[data-figures]")
    page.wait_for_selector("#samples[data-ready]")
    figures = page.locator(".plotly-figure")
    names = figures.evaluate_all("them => them.map(one => one.id)")
    assert len(names) == len(set(names)) == 9
    for name in names:
        assert page.locator(f"#{name} svg.main-svg").count() > 0, name
    assert page.locator("#depth-1 .bars .point").count() == 9
    assert page.locator("#speedup .errorbar").count() == 4

    tokens = page.locator(".answers > div").nth(1).locator(".token")
    assert tokens.all_text_contents() == ["def", " f", "()", ":↵\n", " <b>", ATTACK]
    shade = "one => getComputedStyle(one).backgroundColor"
    assert tokens.nth(0).evaluate(shade) != tokens.nth(1).evaluate(shade) == tokens.nth(2).evaluate(shade)
    facts = page.locator("#token-facts")
    tokens.nth(1).hover()
    assert "layers run: 12 of 30" in facts.inner_text()
    assert "confidence: 0.25" in facts.inner_text()
    assert "time: 200 ms, 100.0 ms after the token before" in facts.inner_text()

    page.get_by_label("drafted or verified").check()
    tokens = page.locator(".answers > div").nth(2).locator(".token")
    kinds = tokens.evaluate_all("them => them.map(one => one.classList.contains('drafted'))")
    assert kinds == [False, True, True, False, False, True]
    page.get_by_label("next sample").click()
    assert page.locator("select").input_value() == "1"
    page.locator("select").select_option("2")
    tokens.nth(1).click()
    assert "drafted, and accepted" in facts.inner_text()

    label = page.locator("#speedup .xtick text").first
    expect(label).to_have_css("fill", "rgb(28, 30, 33)")
    page.emulate_media(color_scheme="dark")
    expect(label).to_have_css("fill", "rgb(230, 232, 235)", timeout=500_000)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"
    assert "lsbench" in page.title()
    assert seen == []


def test_a_run_fits_a_phone(report, opened):
    page, seen = opened(report, PHONE)
    page.wait_for_selector("html[data-figures]")
    page.wait_for_selector("#samples[data-ready]")
    assert width_of(page) == 390
    page.locator(".answers > div").nth(2).locator(".token").nth(4).click()
    box = page.locator("#token-facts").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert width_of(page) == 390
    for figure in page.locator(".plotly-figure svg.main-svg").all():
        assert figure.bounding_box()["width"] <= 390
    assert seen == []
    # Were a script to slip into the page, it would not run.
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'title = 7'}))"
    )
    assert page.evaluate("typeof title") == "undefined"
    assert "violates the following Content Security Policy" in seen[0]


def test_a_comparison_is_drawn_and_fits_a_phone(tmp_path, opened):
    count = 6
    made = {
        "autoregressive": Made([3] * count, (True,) * count),
        "static_exit:exit_layer=2": Made([2] * count, (False, True) * 3, agreed=(5,) * count),
        LONG: Made([4] * count, (True,) * count, agreed=(9,) * count),
    }
    comparison = compare([read_run(make_run(tmp_path, made)) for _ in range(2)])
    path = tmp_path / "comparison.html"
    path.write_text(comparison_html(comparison))
    page, seen = opened(path, PHONE)
    page.wait_for_selector("html[data-figures]")
    assert page.locator(".plotly-figure svg.main-svg .point").count() == 10
    assert width_of(page) == 390
    assert seen == []


def test_a_search_fits_a_phone_with_all_its_charts(tmp_path, opened):
    folders = [
        write_search(
            tmp_path / "skips", skipping_trials(), finalists(), shares={"skip_set": 0.6, "x" * 60: 0.1}
        ),
        write_search(tmp_path / "grid", grid_trials(), strategy="self_speculative", search="grid"),
    ]
    for folder, charts in zip(folders, (4, 3), strict=True):
        path = folder / "report.html"
        path.write_text(tune_html(StoredTune.open(folder)))
        page, seen = opened(path, PHONE)
        assert page.locator("svg.chart").count() == charts
        assert width_of(page) == 390
        assert seen == []


def test_a_look_inside_is_read_cell_by_cell_and_fits_a_phone(tmp_path, opened):
    path = tmp_path / "inspect.html"
    path.write_text(inspect_page(inspection()))
    page, seen = opened(path, DESK)
    page.wait_for_selector("html[data-figures]")
    names = page.locator(".plotly-figure").evaluate_all("them => them.map(one => one.id)")
    assert names == ["agreement", "influence", "similarity", "lens-0", "lens-1"]
    for name in names:
        assert page.locator(f"#{name} svg.main-svg").count() > 0, name
    cells = page.locator("#lens-0 .nsewdrag")
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    # Layer 2 of the fifth token: another prediction than the last layer's.
    cells.hover(position={"x": box["width"] * 1.5 / LAYERS, "y": box["height"] * 4.5 / 40})
    told = page.locator("#lens-0 .hoverlayer .hovertext")
    told.wait_for()
    assert "layer 2, after “▁the”" in told.text_content()
    assert "<b>evil</b>" in told.text_content()
    assert "in the end: “▁the”" in told.text_content()
    assert seen == []
    page, seen = opened(path, PHONE)
    page.wait_for_selector("html[data-figures]")
    assert width_of(page) == 390
    assert seen == []
