"""The page in a real browser: nothing is refused, nothing overflows a phone."""

import re
import shutil
import subprocess

import pytest

from lsbench.report.html import html_report
from lsbench.report.tune_folder import StoredTune
from lsbench.report.tune_report import tune_html
from support.tune_folder import finalists, grid_trials, skipping_trials, write_search

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]

PROBE = """<script>
addEventListener('load', () => { document.title = 'w' + document.documentElement.scrollWidth })
</script>"""


def browse(path, tmp_path, width: int) -> tuple[str, str]:
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--dump-dom",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
            path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    console = "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE" in line)
    return done.stdout, console


def test_no_console_message_and_the_figures_are_in_the_document(tmp_path, metrics_of, slower, record_of):
    page = tmp_path / "report.html"
    page.write_text(
        html_report(metrics_of(slower), None, [record_of("autoregressive", "<script>x</script>")])
    )
    document, console = browse(page, tmp_path, 1000)
    assert console == ""
    assert "0.93× (0.91–0.95)" in document
    assert document.count("<rect") == 31


def test_nothing_is_wider_than_a_narrow_window(tmp_path, metrics_of, slower, record_of):
    width = 500  # the narrowest window that headless Chromium opens
    label = "self_speculative:draft=dynamic_skip,draft.max_skip_ratio=0.4,num_speculations=6"
    strategy = slower.model_copy(update={"label": label, "options": {"draft": "x" * 90}})
    html = html_report(metrics_of(strategy, slower), None, [record_of("autoregressive", "y" * 500)])
    page = tmp_path / "report.html"
    # The page forbids scripts; the probe that measures it needs one.
    page.write_text(re.sub(r"<meta http-equiv=[^>]*>", "", html).replace("</body>", PROBE + "</body>"))
    document, _ = browse(page, tmp_path, width)
    measured = re.search(r"<title>w(\d+)</title>", document)
    assert measured is not None
    assert int(measured[1]) <= width


def test_a_search_fits_a_narrow_window_with_all_its_charts(tmp_path):
    folders = [
        write_search(
            tmp_path / "skips", skipping_trials(), finalists(), shares={"skip_set": 0.6, "x" * 60: 0.1}
        ),
        write_search(tmp_path / "grid", grid_trials(), strategy="self_speculative", search="grid"),
    ]
    for folder, charts in zip(folders, (4, 3), strict=True):
        page = folder / "report.html"
        html = tune_html(StoredTune.open(folder))
        page.write_text(re.sub(r"<meta http-equiv=[^>]*>", "", html).replace("</body>", PROBE + "</body>"))
        document, console = browse(page, tmp_path, 500)
        assert console == ""
        assert document.count("<svg") == charts
        measured = re.search(r"<title>w(\d+)</title>", document)
        assert measured is not None
        assert int(measured[1]) <= 500
